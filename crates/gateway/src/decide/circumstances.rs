//! What conditions may ask about a request (PC-24): when, from where, with which arguments.

use crate::known::caller::Caller;
use crate::message::call::{Aim, Call, OfTask};
use bytes::Bytes;
use portcullis_domain::condition::{Arguments, Circumstances, is_other_spelling};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

/// Where a request really comes from. Whoever accepts connections says it, never by a header that anybody can write. Without it
/// the address is not known, and conditions on addresses refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl Caller {
    /// Of this request; its arguments are not known.
    pub(crate) fn circumstances(&self) -> Circumstances<'static> {
        Circumstances { now: self.now, address: self.address, arguments: None }
    }
}

/// The arguments that stand in a message. It was read strictly before: no member stands in it twice.
pub(crate) struct InMessage(pub(crate) Bytes);

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: HashMap<Cow<'a, str>, &'a RawValue>,
}

impl Arguments for InMessage {
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let message: Message<'_> = serde_json::from_slice(&self.0).ok()?;
        let arguments = &message.params.arguments;
        // Which of two the upstream goes by is not known.
        if arguments.keys().any(|other| is_other_spelling(other, name)) {
            return None;
        }
        let value = arguments.get(name)?;
        serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned)
    }
}

/// What conditions on arguments look at: of a task, those of the call that made it.
pub(crate) fn arguments_of(call: &Call, body: &Bytes) -> InMessage {
    if let Aim::Task(OfTask { made_by: Some(made_by), .. }) = &call.aim {
        InMessage(made_by.message.clone().unwrap_or_default())
    } else {
        InMessage(body.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_24_an_argument_is_read_from_the_message_that_is_forwarded() {
        let text = |message: &'static str, name: &str| {
            InMessage(Bytes::from_static(message.as_bytes())).text(name).map(Cow::into_owned)
        };
        let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"p\u0061th":"/a\u002fb","n":1,"deep":{"path":"no"}},"path":"no"}}"#;
        assert_eq!(
            text(message, "path").as_deref(),
            Some("/a/b"),
            "escapes are read as every reader reads them"
        );
        assert_eq!(text(message, "n"), None, "a number is no text");
        assert_eq!(text(message, "deep"), None);
        assert_eq!(text(message, "Path"), None, "names are compared exactly");
        for other in ["Path", "PATH", "pa_th", "__proto__", "p\u{430}th"] {
            let message = format!(r#"{{"params":{{"arguments":{{"path":"/a","{other}":"/b"}}}}}}"#);
            assert_eq!(InMessage(message.into()).text("path"), None, "RPC-08: some reader goes by {other:?}");
        }
        for message in [r#"{"params":{}}"#, r#"{"params":{"arguments":[]}}"#, r#"{"params":[]}"#, "{}"] {
            assert_eq!(text(message, "path"), None, "{message}");
        }
    }
}
