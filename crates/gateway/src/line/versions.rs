//! Which revision a line speaks, by the answer to `initialize`.

use http::HeaderValue;
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    result: Agreed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Agreed {
    protocol_version: String,
}

/// What later messages must say in a header; none where the revision knows no such header (before 2025-06-18), so that
/// such a line is served as one of the first revision with Streamable HTTP.
pub(super) fn agreed(message: &[u8]) -> Option<HeaderValue> {
    let answer: Answer = serde_json::from_slice(message).ok()?;
    match &*answer.result.protocol_version {
        "2025-06-18" => Some(HeaderValue::from_static("2025-06-18")),
        "2025-11-25" => Some(HeaderValue::from_static("2025-11-25")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_the_revision_that_was_agreed_on_where_it_must_be_said() {
        let answer = |version: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"{version}","capabilities":{{}}}}}}"#
            )
        };
        for version in ["2025-06-18", "2025-11-25"] {
            assert_eq!(agreed(answer(version).as_bytes()).unwrap(), version);
        }
        for version in ["2024-11-05", "2025-03-26", "2026-07-28", "2025-11-25\r\nx: y"] {
            assert_eq!(agreed(answer(version).as_bytes()), None);
        }
        assert_eq!(agreed(br#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#), None);
    }
}
