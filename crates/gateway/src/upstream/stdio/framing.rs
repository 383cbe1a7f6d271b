//! Messages as lines, as they travel over stdio, and as events, as they travel over HTTP.

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// The text cannot stand on one line without changing what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOneLine;

/// The message without line terminators of any kind, and otherwise unchanged (decision 5): CR and LF between tokens
/// become spaces; U+0085, U+2028 and U+2029, where some readers split lines, are written as escapes. They stand inside
/// strings only, because the text is JSON.
pub(super) fn one_line(message: &Bytes) -> Result<Bytes, NotOneLine> {
    let text = std::str::from_utf8(message).map_err(|_| NotOneLine)?;
    if !text.bytes().any(may_need_rewriting) {
        return Ok(message.clone());
    }
    rewrite(text).map(Bytes::from)
}

fn may_need_rewriting(byte: u8) -> bool {
    byte < b' ' || byte == 0xC2 || byte == 0xE2
}

fn rewrite(text: &str) -> Result<String, NotOneLine> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut place = Place::Between;
    for character in text.chars() {
        place = match (place, character) {
            (Place::Between, '\r' | '\n') => {
                out.push(' ');
                Place::Between
            }
            (Place::InString, '\u{85}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(match character {
                    '\u{85}' => "\\u0085",
                    '\u{2028}' => "\\u2028",
                    _ => "\\u2029",
                });
                Place::InString
            }
            (Place::Between, '\t') => {
                out.push('\t');
                Place::Between
            }
            // JSON has none of these here (RFC 8259 s2, s7): whoever parsed the text should have refused it.
            (_, '\u{85}' | '\u{2028}' | '\u{2029}') => return Err(NotOneLine),
            (_, control) if control < ' ' => return Err(NotOneLine),
            (place, other) => {
                out.push(other);
                place.after(other)
            }
        };
    }
    Ok(out)
}

/// Where in a JSON text a character stands.
#[derive(Clone, Copy)]
enum Place {
    Between,
    InString,
    AfterBackslash,
}

impl Place {
    fn after(self, character: char) -> Self {
        match (self, character) {
            (Self::Between, '"') | (Self::AfterBackslash, _) => Self::InString,
            (Self::InString, '\\') => Self::AfterBackslash,
            (Self::InString, '"') | (Self::Between, _) => Self::Between,
            (Self::InString, _) => Self::InString,
        }
    }
}

/// A message as one server-sent event. What comes from a program is one line already, but for a CR, which ends a line
/// of an event stream too.
pub(super) fn event(message: &Bytes) -> Bytes {
    let line = one_line(message).unwrap_or_else(|NotOneLine| message.clone());
    let mut event = Vec::with_capacity(line.len() + 24);
    event.extend_from_slice(b"event: message\ndata: ");
    event.extend_from_slice(&line);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The other side closed, or broke; an unfinished line is worth nothing.
    End,
    /// A line without its terminator.
    Text(Vec<u8>),
    /// The line is longer than is borne; what was read of it is lost, and the next read goes on within it.
    TooLong,
}

/// The next line, holding no more than `most` bytes of it.
pub(super) async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), most: usize) -> Line {
    let mut line = Vec::new();
    loop {
        let Ok(available) = reader.fill_buf().await else {
            return Line::End;
        };
        if available.is_empty() {
            return Line::End;
        }
        let (part, ended) = match available.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&available[..at], true),
            None => (available, false),
        };
        let fits = line.len() + part.len() <= most;
        if fits {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(ended);
        reader.consume(used);
        if !fits {
            return Line::TooLong;
        }
        if ended {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Line::Text(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn rewritten(text: &str) -> Result<String, NotOneLine> {
        one_line(&Bytes::copy_from_slice(text.as_bytes()))
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
    }

    #[test]
    fn stdio_a_plain_message_is_forwarded_byte_for_byte() {
        let plain = r#"{"jsonrpc":"2.0", "id":1.10,"method":"tools/call","params":{"name":"é\n\u2028"}}"#;
        assert_eq!(rewritten(plain).unwrap(), plain);
        let body = Bytes::from_static(b"{\"id\":1}");
        assert_eq!(one_line(&body).unwrap().as_ptr(), body.as_ptr());
    }

    #[test]
    fn stdio_line_terminators_vanish_and_nothing_else_changes() {
        assert_eq!(
            rewritten("{\r\n\t\"a\" :\n\"x\u{2028}\u{2029}\u{85}\\\"\\\\\u{2028}é€\",\n \"b\":1.10 }\r\n")
                .unwrap(),
            "{  \t\"a\" : \"x\\u2028\\u2029\\u0085\\\"\\\\\\u2028é€\",  \"b\":1.10 }  ",
        );
    }

    #[test]
    fn stdio_what_is_not_json_is_not_made_to_look_like_it() {
        for text in ["{\"a\":\"x\ny\"}", "{\u{2028}}", "{\"a\"\u{b}:1}", "{\"a\":\"\\\n\"}", "\u{85}1"] {
            assert_eq!(rewritten(text), Err(NotOneLine), "{text:?}");
        }
        assert_eq!(one_line(&Bytes::from_static(b"\"\xff\"")), Err(NotOneLine));
    }

    #[test]
    fn stdio_an_event_is_one_event() {
        let event = event(&Bytes::from_static("{\"a\":\r\"x\u{2028}\"}".as_bytes()));
        assert_eq!(event, "event: message\ndata: {\"a\": \"x\\u2028\"}\n\n");
    }

    #[tokio::test]
    async fn stdio_lines_are_read_up_to_their_bound() {
        let mut reader: &[u8] = b"one\r\n\n12345\n123456\nrest";
        assert_eq!(read_line(&mut reader, 5).await, Line::Text(b"one".to_vec()));
        assert_eq!(read_line(&mut reader, 5).await, Line::Text(Vec::new()));
        assert_eq!(read_line(&mut reader, 5).await, Line::Text(b"12345".to_vec()));
        assert_eq!(read_line(&mut reader, 5).await, Line::TooLong);
        let mut unfinished: &[u8] = b"rest";
        assert_eq!(read_line(&mut unfinished, 5).await, Line::End);
    }

    /// Any JSON value, with strings that hold what lines are split at.
    fn values() -> impl Strategy<Value = Value> {
        let text = "[a-c\"\\\\/\u{85}\u{2028}\u{2029}\n\r\u{b}\u{c}\u{1c}é€😀]{0,8}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn stdio_rewriting_keeps_the_value_and_leaves_no_line_terminator(value in values(), gap in "[ \t\r\n]{0,3}") {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let text = format!("{gap}{}{gap}", pretty.replace('\n', &format!("\n{gap}")));
            let line = rewritten(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
            let terminators = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
            prop_assert!(!line.contains(terminators));
        }

        #[test]
        fn stdio_rewriting_never_fails_on_what_a_json_parser_takes(text in "[\\[\\]{}:,\"\\\\ntu0-9a \r\n\t\u{85}\u{2028}]{0,24}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let line = rewritten(&text).unwrap();
                prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
            }
        }
    }
}
