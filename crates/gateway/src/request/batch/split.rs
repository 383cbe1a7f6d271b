//! From an array to its messages.

use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::message::call::{Aim, Call, Kind, ParseRefusal, parse};
use crate::message::headers::{self, FIRST_WITH_HTTP, PROTOCOL_VERSION};
use bytes::Bytes;
use http::HeaderMap;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// Most messages of one batch.
const MOST: usize = 50;

/// One message, and its own bytes.
pub(super) struct Message {
    pub(super) call: Call,
    pub(super) body: Bytes,
}

/// Whether `body` is an array, and the request is of the revision that has batches: it is named, or none is, for that
/// revision has no such header.
pub(crate) fn is_batch(headers: &HeaderMap, body: &[u8]) -> bool {
    let named = headers::single(headers, &PROTOCOL_VERSION);
    matches!(named, Ok(None | Some(FIRST_WITH_HTTP))) && body.trim_ascii_start().starts_with(b"[")
}

/// The messages, each read as strictly as if it had come alone.
pub(super) fn split(body: &Bytes, token: &str, max_depth: usize) -> Result<Vec<Message>, Refused> {
    let refuse = |reason| Refused::from(Refusal::Unreadable(reason));
    let text = std::str::from_utf8(body).map_err(|_| refuse(ParseRefusal::Malformed))?;
    let Parts(parts) = serde_json::from_str(text).map_err(|error| {
        refuse(if error.is_data() { ParseRefusal::BatchForm } else { ParseRefusal::Malformed })
    })?;
    let mut messages = Vec::with_capacity(parts.len());
    for part in parts {
        let body = body.slice_ref(part.get().as_bytes());
        let call = parse(&body, token, max_depth).map_err(|bad| refuse(bad.reason))?;
        messages.push(Message { call, body });
    }
    if is_well_formed(&messages) { Ok(messages) } else { Err(refuse(ParseRefusal::BatchForm)) }
}

/// 2025-03-26, "Sending Messages": requests and notifications, or responses; "Lifecycle": no `initialize` among them. And
/// each id once, or nobody knows whose answer is whose.
fn is_well_formed(messages: &[Message]) -> bool {
    let responses = messages.iter().filter(|message| message.call.kind == Kind::Response).count();
    let mut ids = HashSet::new();
    let mut once = messages.iter().filter_map(|message| message.call.id.as_deref());
    !messages.is_empty()
        && (responses == 0 || responses == messages.len())
        && messages.iter().all(|message| message.call.aim != Aim::Initialize)
        && once.all(|id| {
            serde_json::from_str::<serde_json::Value>(id.get()).is_ok_and(|id| ids.insert(id.to_string()))
        })
}

/// The elements of an array as they stand, not more than may be.
struct Parts<'b>(Vec<&'b RawValue>);

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Parts<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = items.next_element()? {
            if parts.len() == MOST {
                return Err(A::Error::custom("too many"));
            }
            parts.push(part);
        }
        Ok(Parts(parts))
    }
}
