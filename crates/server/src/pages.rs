//! Pages for people: plain HTML without scripts, each template beside the struct that fills it.

pub(crate) mod account;
pub(crate) mod connect;
pub(crate) mod connections;
pub(crate) mod consent;
pub(crate) mod error;
pub(crate) mod password;
pub(crate) mod sign_in;

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use portcullis_oauth::redirect::RedirectUri;
use serde::{Deserialize, Serialize};

pub(crate) use error::ErrorPage;

/// Where a form of a page may lead besides our own origin: Chromium holds `form-action` against redirects too, so the
/// way back to the client must be open from the page whose form sets out on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FormTarget(Option<String>);

impl FormTarget {
    /// Our own origin only.
    pub(crate) const OURSELVES: Self = Self(None);

    /// Also the origin of a redirect URI that was compared with the registered ones.
    pub(crate) fn callback(uri: &RedirectUri) -> Self {
        let source = uri.csp_source();
        // A source with an IPv6 literal is no CSP source; the whole scheme is the closest that can be said.
        let source = if source.starts_with("http://[") { "http:".to_owned() } else { source };
        // A host may hold a semicolon, which would end the directive: then the redirect is not allowed for.
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'/' | b'.' | b'-');
        Self(source.bytes().all(is_plain).then_some(source))
    }

    /// Also the origin of an address that was checked.
    pub(crate) fn origin(origin: &str) -> Self {
        let source = if origin.starts_with("http://[") { "http:" } else { origin };
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'/' | b'.' | b'-');
        Self(source.bytes().all(is_plain).then(|| source.to_owned()))
    }

    fn content_security_policy(&self) -> String {
        let callback = self.0.as_deref().unwrap_or_default();
        format!(
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {callback}; \
             frame-ancestors 'none'; base-uri 'none'"
        )
    }
}

/// A page as an answer: never kept, never framed, no script, and its address is told to nobody.
pub(crate) fn page(status: StatusCode, template: &impl Template, target: &FormTarget) -> Response {
    let Ok(html) = template.render() else {
        tracing::error!("a page could not be rendered");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&target.content_security_policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// RFC 9700 s4.12: 303, so that no form with a password is ever sent on. Not kept, because it may hold a code.
pub(crate) fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        tracing::error!("a redirect address is no header value");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    (
        StatusCode::SEE_OTHER,
        [
            (header::LOCATION, location),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ],
    )
        .into_response()
}

/// The one stylesheet.
pub(crate) async fn style() -> impl IntoResponse {
    asset("text/css; charset=utf-8", include_str!("pages/style.css"))
}

/// For the tab of the browser.
pub(crate) async fn icon() -> impl IntoResponse {
    asset("image/svg+xml", include_str!("pages/icon.svg"))
}

fn asset(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=300"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> FormTarget {
        FormTarget::callback(&uri.parse().unwrap())
    }

    #[test]
    fn the_way_back_is_open_and_nothing_else() {
        for (uri, source) in [
            ("https://client.example/cb?x=1", "https://client.example"),
            ("https://client.example:8443/cb", "https://client.example:8443"),
            ("http://127.0.0.1:51004/cb", "http://127.0.0.1:51004"),
            ("http://[::1]:51004/cb", "http:"),
            ("com.example.app:/cb", "com.example.app:"),
        ] {
            assert_eq!(target(uri), FormTarget(Some(source.to_owned())), "{uri}");
        }
    }

    #[test]
    fn a_host_cannot_add_directives() {
        if let Ok(uri) = "https://a;sandbox.example/cb".parse() {
            assert_eq!(FormTarget::callback(&uri), FormTarget::OURSELVES);
        }
        let policy = target("https://client.example/cb").content_security_policy();
        assert!(policy.contains("form-action 'self' https://client.example;"));
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe") && !policy.contains("script"));
    }
}
