//! `Mcp-Param-*`: arguments that are repeated in headers (2026-07-28 Streamable HTTP, "Custom Headers from Tool Parameters").
//!
//! Which argument a header repeats stands in the tool's schema, which is not ours to know. But each repeats some value of
//! the arguments that no list holds. One that repeats none says something else than what was decided about.

use super::{HeaderRefusal, decoded, single};
use http::{HeaderMap, HeaderName};
use serde_json::{Number, Value};

pub(crate) const PREFIX: &str = "mcp-param-";

/// The largest integer that every reader sees alike (2^53 - 1).
const SAFE: f64 = 9_007_199_254_740_991.0;

/// Whether the headers repeat arguments of this body. An argument of the header's own name must be the one that is
/// repeated; `by_name`: there must be such a one, since conditions look at arguments by name.
pub(crate) fn check(headers: &HeaderMap, body: &[u8], by_name: bool) -> Result<(), HeaderRefusal> {
    let mut names = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    let message: Option<Value> = serde_json::from_slice(body).ok();
    let arguments = message.as_ref().and_then(|message| message.pointer("/params/arguments"));
    for name in names {
        let Some(stated) = single(headers, name)? else { continue };
        let stated = decoded(name, stated)?;
        let agrees = arguments.is_some_and(|arguments| agree(name, &stated, arguments, by_name));
        if !agrees {
            return Err(HeaderRefusal::Mismatch(name.clone()));
        }
    }
    Ok(())
}

fn agree(name: &HeaderName, stated: &str, arguments: &Value, by_name: bool) -> bool {
    let Some(members) = arguments.as_object() else { return false };
    let short = name.as_str().strip_prefix(PREFIX).unwrap_or_default();
    // Names of headers have no case: which of several the upstream means is not known, so all of them have to agree.
    let mut named = members.iter().filter(|(name, _)| name.eq_ignore_ascii_case(short)).peekable();
    if named.peek().is_some() {
        return named.all(|(_, value)| repeats(stated, value));
    }
    !by_name && stands_in(stated, arguments)
}

/// Whether it is some value that objects alone lead to.
fn stands_in(stated: &str, value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(|value| stands_in(stated, value)),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
            repeats(stated, value)
        }
    }
}

/// "Value Encoding": texts as they are, integers by their value, `true` and `false`; nothing else is repeated.
fn repeats(stated: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => text == stated,
        Value::Bool(true) => stated == "true",
        Value::Bool(false) => stated == "false",
        Value::Number(number) => is_number(stated, number),
        Value::Array(_) | Value::Null | Value::Object(_) => false,
    }
}

fn is_number(stated: &str, number: &Number) -> bool {
    let is_plain = stated.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    let integer = |value: &f64| value.fract() == 0.0 && value.abs() <= SAFE;
    let stated = stated.parse::<f64>().ok().filter(integer).filter(|_| is_plain);
    let number = number.as_f64().filter(integer);
    stated.is_some() && stated == number
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(name: &'static str, value: &str, by_name: bool) -> Result<(), HeaderRefusal> {
        let body = r#"{"params":{"arguments":{"path":"/srv/a","n":42,"on":true,"none":null,"deep":{"City":"Köln"},"list":["in"]},"other":"x"}}"#;
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())]);
        super::check(&headers, body.as_bytes(), by_name)
    }

    #[test]
    fn hdr_04_parameters_repeat_arguments_and_say_nothing_else() {
        for (name, value) in [
            ("mcp-param-path", "/srv/a"),
            ("mcp-param-path", "=?base64?L3Nydi9h?="),
            ("mcp-param-n", "42"),
            ("mcp-param-n", "42.0"),
            ("mcp-param-on", "true"),
        ] {
            assert_eq!(check(name, value, true), Ok(()), "{name}: {value}");
        }
        for (name, value) in [("mcp-param-file", "/srv/a"), ("mcp-param-city", "=?base64?S8O2bG4=?=")] {
            assert_eq!(check(name, value, false), Ok(()), "a name that only the tool's schema tells");
            let mismatch = HeaderRefusal::Mismatch(HeaderName::from_static(name));
            assert_eq!(check(name, value, true), Err(mismatch), "conditions go by name");
        }
        for (name, value) in [
            ("mcp-param-path", "/etc/passwd"),
            ("mcp-param-path", "/SRV/a"),
            ("mcp-param-path", "42"),
            ("mcp-param-n", "43"),
            ("mcp-param-n", "4.2e1"),
            ("mcp-param-on", "True"),
            ("mcp-param-none", "null"),
            ("mcp-param-absent", "x"),
            ("mcp-param-absent", "in"),
            ("mcp-param-path", "=?base64?!?="),
            ("mcp-param-path", ""),
        ] {
            let mismatch = HeaderRefusal::Mismatch(HeaderName::from_static(name));
            assert_eq!(check(name, value, false), Err(mismatch), "{name}: {value}");
        }
        assert_eq!(check("accept", "anything", true), Ok(()));
    }
}
