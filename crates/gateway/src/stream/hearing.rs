//! What an upstream says on a stream, event by event: what is the caller's to hear is passed on, the rest is left out
//! (STRM-06). The answer to another request is somebody else's, and clients would take it for theirs (UPS-03).

use crate::message::answer::same_value;
use crate::message::events;
use crate::message::headers::Era;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a stream is for, and how far it has come.
pub(crate) struct Hearing {
    /// The request that it answers; a GET stream answers none.
    pub(crate) id: Option<Box<RawValue>>,
    pub(crate) era: Era,
    /// Whether whatever was missed is told again on it, answers included (`Last-Event-ID`).
    pub(crate) replays: bool,
    /// An event had an id: from there it can be gone on with.
    pub(crate) has_event_id: bool,
    /// Whether its events were made here: then nothing of it is left out.
    pub(crate) is_ours: bool,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The answer that the stream is for.
    Answer,
    /// Something that belongs on the stream before it.
    Meanwhile,
    /// Nothing that the caller asked for.
    Unasked,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<Params<'a>>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'a RawValue>,
}

impl Hearing {
    /// Of the answer to the request `id`.
    pub(crate) fn of_answer(id: Option<Box<RawValue>>, era: Era) -> Self {
        Self { id, era, replays: false, has_event_id: false, is_ours: false }
    }

    /// Of what a session says of itself.
    pub(crate) fn of_session(replays: bool) -> Self {
        Self { id: None, era: Era::Sessions, replays, has_event_id: false, is_ours: false }
    }

    /// Of what was put together here.
    pub(crate) fn of_ours() -> Self {
        Self { is_ours: true, ..Self::of_session(false) }
    }

    /// One whole event.
    pub(crate) fn hear(&mut self, event: &[u8]) -> Heard {
        if self.is_ours {
            return Heard::Meanwhile;
        }
        let said = events::read(event);
        let heard = if said.data.iter().all(u8::is_ascii_whitespace) {
            // A comment, or the event that only tells from where to go on.
            Heard::Meanwhile
        } else if said.is_message {
            serde_json::from_slice(&said.data).map_or(Heard::Unasked, |message| self.judge(&message))
        } else {
            Heard::Unasked
        };
        self.has_event_id |= said.has_id && heard != Heard::Unasked;
        heard
    }

    fn judge(&self, message: &Message<'_>) -> Heard {
        if message.jsonrpc != "2.0" {
            return Heard::Unasked;
        }
        match (message.method, message.result.is_some(), message.error.is_some()) {
            (None, true, false) | (None, false, true) => self.response(message),
            (Some(_), false, false) if self.may_say(message) => Heard::Meanwhile,
            (Some(_) | None, _, _) => Heard::Unasked,
        }
    }

    fn response(&self, message: &Message<'_>) -> Heard {
        let is_ours = match (&self.id, message.id) {
            (Some(id), Some(answered)) => same_value(answered, id),
            // JSON-RPC 2.0 s5: null where the id could not be read.
            (Some(_), None) => message.error.is_some(),
            (None, _) => false,
        };
        if is_ours {
            Heard::Answer
        } else if self.id.is_none() && self.replays {
            Heard::Meanwhile
        } else {
            Heard::Unasked
        }
    }

    /// 2026-07-28: servers send no requests, and what they notify of belongs to the subscription that it names.
    fn may_say(&self, message: &Message<'_>) -> bool {
        if self.era == Era::Sessions {
            return true;
        }
        let named = message.params.as_ref().and_then(|params| params.meta.as_ref()?.subscription);
        let is_ours = named.is_none_or(|named| self.id.as_deref().is_some_and(|id| same_value(named, id)));
        message.id.is_none() && is_ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hearing(id: Option<&str>, era: Era) -> Hearing {
        let id = id.map(|id| RawValue::from_string(id.to_owned()).unwrap());
        Hearing::of_answer(id, era)
    }

    fn heard(hearing: &mut Hearing, data: &str) -> Heard {
        hearing.hear(format!("data: {data}\n\n").as_bytes())
    }

    #[test]
    fn strm_06_only_the_answer_to_this_request_is_its_answer() {
        let mut one = hearing(Some("1"), Era::Sessions);
        for answer in [
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#,
        ] {
            assert_eq!(heard(&mut one, answer), Heard::Answer, "{answer}");
        }
        for other in [
            r#"{"jsonrpc":"2.0","id":2,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
            "half of it",
        ] {
            assert_eq!(heard(&mut one, other), Heard::Unasked, "{other}");
        }
    }

    #[test]
    fn strm_06_servers_ask_within_sessions_only_and_notify_their_own_subscription() {
        let request = r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}"#;
        let told = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let of = |id: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
            )
        };
        let mut sessions = hearing(Some("1"), Era::Sessions);
        assert_eq!(heard(&mut sessions, request), Heard::Meanwhile);
        let mut stateless = hearing(Some("1"), Era::Stateless);
        assert_eq!(heard(&mut stateless, request), Heard::Unasked);
        assert_eq!(heard(&mut stateless, told), Heard::Meanwhile);
        assert_eq!(heard(&mut stateless, &of("1")), Heard::Meanwhile);
        assert_eq!(heard(&mut stateless, &of("2")), Heard::Unasked);
    }

    #[test]
    fn strm_06_a_get_stream_answers_nothing_but_what_is_told_again() {
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        let mut listening = hearing(None, Era::Sessions);
        assert_eq!(heard(&mut listening, answer), Heard::Unasked);
        listening.replays = true;
        assert_eq!(heard(&mut listening, answer), Heard::Meanwhile);
    }

    #[test]
    fn strm_07_comments_and_primers_pass_and_other_kinds_of_events_do_not() {
        let mut one = hearing(Some("1"), Era::Sessions);
        assert_eq!(one.hear(b": ping\n\n"), Heard::Meanwhile);
        assert!(!one.has_event_id);
        let sly = b"event: endpoint\nid: 6\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
        assert_eq!(one.hear(sly), Heard::Unasked);
        assert!(!one.has_event_id);
        assert_eq!(one.hear(b"id: 7\nretry: 100\ndata:\n\n"), Heard::Meanwhile);
        assert!(one.has_event_id);
    }
}
