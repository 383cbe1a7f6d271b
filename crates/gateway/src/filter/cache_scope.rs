//! `cacheScope` of an answer (2026-07-28 "Caching"): what one caller was let read must not be kept for another, whatever the
//! upstream says, for it does not know our rules. Lists are rewritten by their filter; this is for other answers.

use crate::filter::list::Undecodable;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

const NAME: &str = "cacheScope";

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    result: Option<Cached<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached<'a> {
    #[serde(borrow, default)]
    cache_scope: Option<&'a RawValue>,
}

/// Whether the name stands in the text as it is.
pub(crate) fn names_scope(message: &[u8]) -> bool {
    memchr::memmem::find(message, NAME.as_bytes()).is_some()
}

/// The message anew, with the scope `private`; `None` where it has none, and is passed on byte for byte as it is.
pub(crate) fn private(message: &[u8]) -> Result<Option<Bytes>, Undecodable> {
    let text = std::str::from_utf8(message).map_err(|_| Undecodable::Garbled)?;
    // However it is spelled: letters of a name can be escaped in one way only (RFC 8259 s7).
    if !text.contains(NAME) && !text.contains("\\u") {
        return Ok(None);
    }
    // One that stands twice is an error here: readers could go by either.
    let answer: Answer<'_> = serde_json::from_str(text).map_err(|_| Undecodable::Garbled)?;
    let Some(scope) = answer.result.and_then(|result| result.cache_scope) else {
        return Ok(None);
    };
    let stated = scope.get();
    let at = stated.as_ptr().addr() - message.as_ptr().addr();
    let mut rewritten = BytesMut::with_capacity(message.len() + 2);
    rewritten.extend_from_slice(&message[..at]);
    rewritten.extend_from_slice(b"\"private\"");
    rewritten.extend_from_slice(&message[at + stated.len()..]);
    Ok(Some(rewritten.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_17_an_answer_is_private_and_otherwise_as_it_was() {
        let private = |text: &'static str| {
            private(text.as_bytes()).map(|anew| match anew {
                Some(anew) => String::from_utf8(anew.to_vec()).unwrap(),
                None => text.to_owned(),
            })
        };
        let read = r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"n":1.10}], "cacheScope" : "public" ,"ttlMs":5}}"#;
        assert_eq!(private(read).unwrap(), read.replace("\"public\"", "\"private\""));
        assert_eq!(
            private(r#"{"id":1,"result":{"cacheScope":7}}"#).unwrap(),
            r#"{"id":1,"result":{"cacheScope":"private"}}"#
        );
        assert_eq!(
            private(r#"{"id":1,"result":{"cache\u0053cope":"public"}}"#).unwrap(),
            r#"{"id":1,"result":{"cache\u0053cope":"private"}}"#
        );
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"text":"cacheScope","cacheScope":"public"}]}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"cacheScope":"public"}}"#,
        ] {
            assert_eq!(private(other).unwrap(), other);
        }
        for twice in [
            r#"{"id":1,"result":{"cacheScope":"private","cacheScope":"public"}}"#,
            r#"{"id":1,"result":{"cacheScope":"private","cache\u0053cope":"public"}}"#,
            r#"{"id":1,"result":{"cacheScope":"private"},"result":{}}"#,
        ] {
            assert_eq!(private(twice), Err(Undecodable::Garbled), "{twice}");
        }
    }
}
