//! The headers that an upstream gets: an allow-list, and then our own (HDR-01, HDR-02, HDR-03).

use super::Forwarded;
use crate::message::headers::parameters;
use crate::message::headers::{Era, LAST_EVENT_ID, METHOD, NAME, PROTOCOL_VERSION, SESSION_ID};
use crate::message::headers::{TRACEPARENT, TRACESTATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Passed on as they come. What is not named here or below stays behind: cookies, `X-Forwarded-*`, `X-User`, every
/// credential, everything about the connection.
const PASSED: [HeaderName; 3] = [header::ACCEPT, TRACEPARENT, TRACESTATE];

/// Headers that repeat the body: checked against it, and therefore ours. `Connection` cannot take them away. Where there is no
/// body, nothing was checked but the version.
const CHECKED: [HeaderName; 3] = [PROTOCOL_VERSION, METHOD, NAME];

/// `shown` is our own credential. `None` when a value of ours is no header value.
pub(super) fn for_upstream(forwarded: &Forwarded<'_>, shown: Option<&HeaderValue>) -> Option<HeaderMap> {
    let theirs = forwarded.headers;
    // Room for what a call usually has, so that it does not grow.
    let mut headers = HeaderMap::with_capacity(8);
    // Hop-by-hop first (RFC 9110 s7.6.1), so that nothing we add can be named there.
    let named_hop_by_hop = connection_options(theirs);
    let has_body = forwarded.method == Method::POST;
    let is_passed = |name: &HeaderName| {
        (PASSED.contains(name) || has_body && name.as_str().starts_with(parameters::PREFIX))
            && !named_hop_by_hop.iter().any(|hop| hop == name.as_str())
    };
    let is_checked = |name: &HeaderName| name == PROTOCOL_VERSION || has_body && CHECKED.contains(name);
    for (name, value) in theirs {
        if is_passed(name) || is_checked(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    if has_body {
        headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
    }
    if forwarded.era == Era::Sessions {
        if let Some(session) = forwarded.session {
            headers.insert(SESSION_ID, HeaderValue::from_str(session).ok()?);
        }
        if let Some(last) = theirs.get(LAST_EVENT_ID)
            && forwarded.method == Method::GET
        {
            headers.insert(LAST_EVENT_ID, last.clone());
        }
    }
    if let Some(trace) = &forwarded.trace {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
        headers.extend(trace.clone());
    }
    if let Some(shown) = shown {
        headers.insert(header::AUTHORIZATION, shown.clone());
    }
    Some(headers)
}

fn connection_options(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
        .collect()
}
