//! What a program says, read as far as needed to know for whom it is.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An id or token, compared as the laxest peer would: many read numbers as doubles, so two numbers that are one double
/// are one id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Number(u64),
    Text(String),
}

impl Key {
    /// `None`: neither a number nor a string.
    pub(super) fn of(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok().map(Self::Text),
            b'-' | b'0'..=b'9' => {
                let number: f64 = text.parse().ok()?;
                // Zero has two doubles.
                Some(Self::Number((number + 0.0).to_bits()))
            }
            _ => None,
        }
    }
}

/// What a line of a program is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// To the request with this id; `None` when the program could not tell to which.
    Answer { to: Option<Key>, good: bool },
    /// Says something; `about` which request, if it can be told.
    Notification { about: Option<About> },
    /// Asks the client.
    Request,
}

/// Which request a notification belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The one that gave this progress token.
    Progress(Key),
    /// The subscription that ends.
    Stopped(Key),
    /// The subscription with this request id.
    Subscription(Key),
}

/// The line is no JSON-RPC message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJsonRpc;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    result: bool,
    #[serde(default, deserialize_with = "present")]
    error: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'a RawValue>,
}

impl Message {
    /// Reads one line.
    pub(super) fn read(line: &[u8]) -> Result<Self, NotJsonRpc> {
        let text = std::str::from_utf8(line).map_err(|_| NotJsonRpc)?;
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| NotJsonRpc)?;
        if envelope.jsonrpc != "2.0" {
            return Err(NotJsonRpc);
        }
        match (envelope.method, envelope.id, envelope.result ^ envelope.error) {
            (Some(_), Some(_), false) => Ok(Self::Request),
            (Some(method), None, false) => Ok(Self::Notification { about: about(&method, envelope.params) }),
            (None, Some(id), true) => {
                Ok(Self::Answer { to: Some(Key::of(id).ok_or(NotJsonRpc)?), good: envelope.result })
            }
            (None, None, true) if envelope.error => Ok(Self::Answer { to: None, good: false }),
            _ => Err(NotJsonRpc),
        }
    }
}

fn about(method: &str, params: Option<&RawValue>) -> Option<About> {
    let params: Params<'_> = serde_json::from_str(params?.get()).ok()?;
    match method {
        "notifications/progress" => Key::of(params.progress_token?).map(About::Progress),
        "notifications/cancelled" => Key::of(params.request_id?).map(About::Stopped),
        _ => Key::of(params.meta?.subscription?).map(About::Subscription),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<Key> {
        Key::of(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn stdio_ids_that_one_peer_could_take_for_each_other_are_one() {
        assert_eq!(key("1"), key("1.0"));
        assert_eq!(key("1"), key("10e-1"));
        assert_eq!(key("0"), key("-0"));
        assert_eq!(key("9007199254740993"), key("9007199254740992"));
        assert_eq!(key(r#""a""#), key(r#""\u0061""#));
        assert_ne!(key("1"), key(r#""1""#));
        assert_ne!(key("1"), key("2"));
        for none in ["null", "true", "[1]", "{}", r#""\ud800""#] {
            assert_eq!(key(none), None, "{none}");
        }
    }

    #[test]
    fn stdio_messages_are_told_apart() {
        let read = |text: &str| Message::read(text.as_bytes());
        let answer = |good| Message::Answer { to: key("1"), good };
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(answer(true)));
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#), Ok(answer(false)));
        let unknown = Message::Answer { to: None, good: false };
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#), Ok(unknown));
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#), Ok(Message::Request));
        let about = |about| Ok(Message::Notification { about });
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#),
            about(None)
        );
        assert_eq!(
            read(
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#
            ),
            about(Some(About::Progress(Key::Text("t".to_owned())))),
        );
        assert_eq!(
            read(
                r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#
            ),
            about(key("1").map(About::Subscription)),
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#),
            about(key("1").map(About::Stopped)),
        );
    }

    #[test]
    fn stdio_what_is_no_message_is_none() {
        for text in [
            "hello",
            "",
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
            r#"{"id":1,"result":{}}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":[1],"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}} trailing"#,
        ] {
            assert_eq!(Message::read(text.as_bytes()), Err(NotJsonRpc), "{text}");
        }
    }
}
