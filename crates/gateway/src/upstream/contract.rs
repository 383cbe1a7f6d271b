//! What the gateway hands to an upstream over stdio, and what it gets back. Plain types: the contract with `stdio`.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use portcullis_domain::principal::Principal;
use portcullis_domain::registry::Server;
use serde_json::value::RawValue;
use std::sync::Arc;

use crate::settings::Program;

/// One message for a program.
pub(crate) struct StdioRequest {
    /// Which server.
    pub(crate) server: Arc<Server>,
    /// What runs it: looked up in the machine's own table.
    pub(crate) program: Program,
    /// For whom.
    pub(crate) principal: Principal,
    /// `Mcp-Session-Id`, already known to belong to the principal.
    pub(crate) session: Option<String>,
    /// Whether the message is of a revision without sessions (2026-07-28 and later).
    pub(crate) stateless: bool,
    /// What the message says about itself.
    pub(crate) call: CallInfo,
    /// The message, byte for byte as it came.
    pub(crate) body: Bytes,
}

/// What a message says about itself, as read by the one parse.
pub(crate) struct CallInfo {
    /// `method`; empty for a response.
    pub(crate) method: String,
    /// `id` as it stands in the text; `None` for a notification.
    pub(crate) id: Option<Box<RawValue>>,
    /// `params._meta.progressToken` as it stands in the text.
    pub(crate) progress_token: Option<Box<RawValue>>,
    /// The first message of a session.
    pub(crate) is_initialize: bool,
    /// An answer of the client to a request of the server.
    pub(crate) is_response: bool,
}

/// What a program said to one message.
pub(crate) enum StdioAnswer {
    /// Nothing is answered to a notification or a response.
    Accepted,
    /// Whole SSE events, the response last.
    Events {
        /// Each item is one whole event.
        stream: BoxStream<'static, Bytes>,
        /// `Mcp-Session-Id` of a session that just began.
        session: Option<String>,
    },
    /// One JSON-RPC response.
    Json {
        /// The message.
        body: Bytes,
        /// `Mcp-Session-Id` of a session that just began.
        session: Option<String>,
    },
}
