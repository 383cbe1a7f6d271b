//! What the headers of a request say about its body, and whether the body agrees (2026-07-28 Streamable HTTP,
//! "Server Validation"). The body decides; headers that disagree are refused in every revision.

pub(crate) mod parameters;

use crate::message::call::{Aim, Call, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// W3C Trace Context s3.2 and s3.3.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Revisions that are served, newest first.
const SUPPORTED: &[&str] = &["2026-07-28", "2025-11-25", "2025-06-18", FIRST_WITH_HTTP];

/// Those that a request can name in itself, as `server/discover` lists them.
const STATELESS: &[&str] = &["2026-07-28"];

/// Those that begin with `initialize`, with the first of all, which knows HTTP+SSE only.
pub(crate) const WITH_SESSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", FIRST_WITH_HTTP, "2024-11-05"];

/// The first with Streamable HTTP: the only one with batches, and without a header for the version.
pub(crate) const FIRST_WITH_HTTP: &str = "2025-03-26";

/// The two ways of being connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2025-03-26, 2025-06-18 and 2025-11-25: `initialize`, sessions, GET streams.
    Sessions,
    /// 2026-07-28: each request says everything about itself.
    Stateless,
}

/// Why headers and body do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderRefusal {
    /// Says something else than the body.
    #[error("the {0} header does not agree with the body")]
    Mismatch(HeaderName),
    /// Needed, and not there.
    #[error("the {0} header is missing")]
    Missing(HeaderName),
    /// 2026-07-28, "_meta": the body lacks version or capabilities.
    #[error(
        "params._meta must hold io.modelcontextprotocol/protocolVersion and io.modelcontextprotocol/clientCapabilities"
    )]
    MissingMeta,
    /// On a connection that is one session: a message of a revision without sessions.
    #[error("this transport serves revisions that begin with initialize")]
    NeedsSession(Option<String>),
    /// More than once, or not text.
    #[error("the {0} header must stand once, in visible ASCII")]
    Repeated(HeaderName),
    /// A revision that is not served.
    #[error("Unsupported protocol version")]
    Unsupported {
        /// As it was asked for, if it looks like a version.
        requested: Option<String>,
        /// What can be asked for instead, in the same way.
        instead: &'static [&'static str],
    },
}

/// Checks the headers of a POST against its body, and says in which era it speaks.
pub(crate) fn check(headers: &HeaderMap, call: &Call) -> Result<Era, HeaderRefusal> {
    let version = single(headers, &PROTOCOL_VERSION)?;
    let method = single(headers, &METHOD)?;
    let name = single(headers, &NAME)?;
    let era = era_of(version, call)?;
    match method {
        Some(method) if method == call.method => {}
        Some(_) => return Err(HeaderRefusal::Mismatch(METHOD)),
        None if era == Era::Stateless && call.kind == Kind::Request => {
            return Err(HeaderRefusal::Missing(METHOD));
        }
        None => {}
    }
    match name {
        Some(stated) if call.name.as_deref() == Some(&*decoded(&NAME, stated)?) => {}
        Some(_) => return Err(HeaderRefusal::Mismatch(NAME)),
        None if era == Era::Stateless && needs_name(&call.aim) => {
            return Err(HeaderRefusal::Missing(NAME));
        }
        None => {}
    }
    if era == Era::Stateless && call.kind == Kind::Request && !call.declares_capabilities {
        return Err(HeaderRefusal::MissingMeta);
    }
    Ok(era)
}

/// A request without a body: GET and DELETE belong to sessions, whose revision the header names, if it is there.
pub(crate) fn check_bodiless(headers: &HeaderMap) -> Result<Era, HeaderRefusal> {
    match single(headers, &PROTOCOL_VERSION)? {
        None => Ok(Era::Sessions),
        Some(version) => served(version, SUPPORTED),
    }
}

fn era_of(header: Option<&str>, call: &Call) -> Result<Era, HeaderRefusal> {
    let body = call.version.as_deref();
    let Some(header) = header else {
        // Every revision negotiates its version in the first message of a session. And 2025-03-26 has no such header: who
        // names no version anywhere speaks that one (2025-06-18 Streamable HTTP, "Protocol Version Header").
        return if body.is_none() {
            Ok(Era::Sessions)
        } else {
            Err(HeaderRefusal::Missing(PROTOCOL_VERSION))
        };
    };
    if body.is_some_and(|body| body != header) {
        return Err(HeaderRefusal::Mismatch(PROTOCOL_VERSION));
    }
    let era = served(header, if body.is_some() { STATELESS } else { SUPPORTED })?;
    if era == Era::Stateless && body.is_none() && call.kind == Kind::Request {
        return Err(HeaderRefusal::MissingMeta);
    }
    Ok(era)
}

fn served(version: &str, instead: &'static [&'static str]) -> Result<Era, HeaderRefusal> {
    match version {
        "2026-07-28" => Ok(Era::Stateless),
        "2025-11-25" | "2025-06-18" | FIRST_WITH_HTTP => Ok(Era::Sessions),
        other => {
            let requested = is_plain(other).then(|| other.to_owned());
            Err(HeaderRefusal::Unsupported { requested, instead })
        }
    }
}

/// A message that names its revision itself, where there can be none such.
pub(crate) fn needs_session(version: &str) -> HeaderRefusal {
    HeaderRefusal::NeedsSession(is_plain(version).then(|| version.to_owned()))
}

/// Only what looks like a version is repeated to the caller.
fn is_plain(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn needs_name(aim: &Aim) -> bool {
    match aim {
        Aim::CallTool(_) | Aim::GetPrompt(_) | Aim::ReadResource(_) | Aim::Task(_) => true,
        Aim::CompletePrompt(_)
        | Aim::CompleteResource(_)
        | Aim::Connect
        | Aim::Initialize
        | Aim::List
        | Aim::Listen(_)
        | Aim::Method(_)
        | Aim::Unknown
        | Aim::WatchResource(_) => false,
    }
}

/// The value of a header that may stand once.
pub(crate) fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, HeaderRefusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| HeaderRefusal::Repeated(name.clone())),
        (Some(_), Some(_)) => Err(HeaderRefusal::Repeated(name.clone())),
    }
}

/// The Base64 form of a name ("Value Encoding"): the markers exactly so, the rest canonical Base64 of UTF-8.
fn decoded<'h>(name: &HeaderName, value: &'h str) -> Result<Cow<'h, str>, HeaderRefusal> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(value.into());
    };
    let text = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Cow::Owned).ok_or_else(|| HeaderRefusal::Mismatch(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::call::parse;
    use http::HeaderValue;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn call(params: &str, method: &str) -> Call {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
        parse(body.as_bytes(), "no-token", 64).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    const MODERN: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const CALL: (&str, &str) = ("mcp-method", "tools/call");

    #[test]
    fn rpc_01_02_03_04_headers_repeat_the_body_exactly() {
        let call = call(&format!(r#""name":"list",{META}"#), "tools/call");
        let check = |pairs: &[(&'static str, &str)]| check(&headers(pairs), &call);
        assert_eq!(check(&[MODERN, CALL, ("mcp-name", "list")]), Ok(Era::Stateless));
        for (pairs, refusal) in [
            (vec![CALL, ("mcp-name", "list")], HeaderRefusal::Missing(PROTOCOL_VERSION)),
            (vec![MODERN, ("mcp-name", "list")], HeaderRefusal::Missing(METHOD)),
            (vec![MODERN, CALL], HeaderRefusal::Missing(NAME)),
            (vec![MODERN, CALL, ("mcp-name", "other")], HeaderRefusal::Mismatch(NAME)),
            (vec![MODERN, CALL, ("mcp-name", "list, other")], HeaderRefusal::Mismatch(NAME)),
            (vec![MODERN, CALL, ("mcp-name", "LIST")], HeaderRefusal::Mismatch(NAME)),
            (
                vec![MODERN, ("mcp-method", "tools/list"), ("mcp-name", "list")],
                HeaderRefusal::Mismatch(METHOD),
            ),
            (vec![MODERN, CALL, ("mcp-name", "list"), ("mcp-name", "list")], HeaderRefusal::Repeated(NAME)),
            (vec![MODERN, CALL, CALL, ("mcp-name", "list")], HeaderRefusal::Repeated(METHOD)),
            (vec![MODERN, MODERN, CALL, ("mcp-name", "list")], HeaderRefusal::Repeated(PROTOCOL_VERSION)),
            (
                vec![("mcp-protocol-version", "2025-11-25"), CALL, ("mcp-name", "list")],
                HeaderRefusal::Mismatch(PROTOCOL_VERSION),
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &pairs {
                map.append(*name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(super::check(&map, &call), Err(refusal), "{pairs:?}");
        }
    }

    #[test]
    fn rpc_05_the_base64_form_is_decoded_strictly() {
        let call = call(&format!(r#""name":"list\u00fc",{META}"#), "tools/call");
        let check = |name: &str| check(&headers(&[MODERN, CALL, ("mcp-name", name)]), &call).is_ok();
        assert!(check("=?base64?bGlzdMO8?="));
        for bad in [
            "=?base64?bGlzdA==?=",
            "=?base64?bGlzdMO8",
            "=?BASE64?bGlzdMO8?=",
            "=?base64?bGlzdMO8=?=",
            "=?base64?!!!?=",
            "=?base64??=",
            "=?base64?=",
            "=?base64? bGlzdMO8?=",
            "=?base64?PT9iYXNlNjQ/YkdsemRNTzg/PQ==?=",
            "=?base64?/w==?=",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn rpc_18_a_stateless_request_says_everything_about_itself() {
        let bare = call(r#""x":1"#, "tools/list");
        let list = ("mcp-method", "tools/list");
        assert_eq!(check(&headers(&[MODERN, list]), &bare), Err(HeaderRefusal::MissingMeta));
        let half = call(r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#, "tools/list");
        assert_eq!(check(&headers(&[MODERN, list]), &half), Err(HeaderRefusal::MissingMeta));
    }

    #[test]
    fn rpc_23_an_older_version_dodges_nothing_and_unknown_ones_are_refused() {
        let old = call(r#""name":"list""#, "tools/call");
        let version = ("mcp-protocol-version", "2025-06-18");
        assert_eq!(check(&headers(&[version]), &old), Ok(Era::Sessions));
        assert_eq!(check(&headers(&[version, CALL, ("mcp-name", "list")]), &old), Ok(Era::Sessions));
        assert_eq!(
            check(&headers(&[version, CALL, ("mcp-name", "other")]), &old),
            Err(HeaderRefusal::Mismatch(NAME))
        );
        assert_eq!(
            check(&headers(&[version, ("mcp-method", "tools/list")]), &old),
            Err(HeaderRefusal::Mismatch(METHOD))
        );
        assert_eq!(check(&headers(&[]), &old), Ok(Era::Sessions), "2025-03-26 has no such header");
        assert_eq!(check(&headers(&[("mcp-name", "other")]), &old), Err(HeaderRefusal::Mismatch(NAME)));
        let modern = call(&format!(r#""name":"list",{META}"#), "tools/call");
        assert_eq!(check(&headers(&[]), &modern), Err(HeaderRefusal::Missing(PROTOCOL_VERSION)));
        let pretended = [("mcp-protocol-version", FIRST_WITH_HTTP)];
        assert_eq!(check(&headers(&pretended), &modern), Err(HeaderRefusal::Mismatch(PROTOCOL_VERSION)));
        for (stated, requested) in [
            ("2024-11-05", Some("2024-11-05".to_owned())),
            ("2099-01-01", Some("2099-01-01".to_owned())),
            ("v999.0.0", Some("v999.0.0".to_owned())),
            ("<script>", None),
            ("0123456789-0123456789-0123456789-0123456789", None),
        ] {
            assert_eq!(
                check(&headers(&[("mcp-protocol-version", stated)]), &old),
                Err(HeaderRefusal::Unsupported { requested, instead: SUPPORTED })
            );
        }
        let future = call(
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01","io.modelcontextprotocol/clientCapabilities":{}}"#,
            "tools/list",
        );
        assert_eq!(
            check(&headers(&[("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")]), &future),
            Err(HeaderRefusal::Unsupported { requested: Some("2099-01-01".to_owned()), instead: STATELESS }),
            "a request that names its version can only name a stateless one instead"
        );
        let first = call(r#""protocolVersion":"2025-11-25""#, "initialize");
        assert_eq!(check(&headers(&[]), &first), Ok(Era::Sessions));
    }
}
