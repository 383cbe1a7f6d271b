//! How somebody is asked to connect an account, in the way of their revision.

use crate::message::call::Call;
use crate::message::headers::Era;

/// How a person is told that they have to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// As an elicitation that is required (2025-11-25, "URL Elicitation Required Error"), under this name.
    Elicitation(String),
    /// As input that is required (2026-07-28, "URL Mode Elicitation Requests").
    Input,
    /// In a sentence.
    Words,
}

impl Ask {
    /// As the client understands it. Earlier revisions know no elicitation of this kind; their clients read the sentence.
    pub(crate) fn of(call: &Call, era: Era, body: &[u8], unique: impl FnOnce() -> String) -> Self {
        match era {
            Era::Sessions => Self::Elicitation(unique()),
            Era::Stateless if may_require_input(&call.method) && opens_addresses(body) => Self::Input,
            Era::Stateless => Self::Words,
        }
    }
}

/// 2026-07-28, "Multi Round-Trip Requests": no other request is answered so.
fn may_require_input(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// Whether the client says that it does URL elicitation.
fn opens_addresses(body: &[u8]) -> bool {
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let meta = &message["params"]["_meta"];
    meta["io.modelcontextprotocol/clientCapabilities"]["elicitation"]["url"].is_object()
}
