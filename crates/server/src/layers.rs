//! What holds for every request: transport only, never permission. The order is in `router` and `front`.

use crate::app::App;
use crate::telemetry;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// From the first byte of a request of the authority to the first byte of its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A panic is a fault of ours: 500, and nothing of it in the answer.
pub(crate) async fn survive(request: Request, next: Next) -> Response {
    let path = request.uri().clone();
    surviving(&path, next.run(request)).await
}

/// The same for what answers by itself. No `async fn`: that would keep room for `answer` twice.
pub(crate) fn surviving(uri: &Uri, answer: impl Future<Output = Response>) -> impl Future<Output = Response> {
    AssertUnwindSafe(answer).catch_unwind().map(|answered| {
        answered.unwrap_or_else(|_| {
            tracing::error!(http.path = uri.path(), "a handler panicked");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side.\n")
        })
    })
}

/// One span per request of the authority. Calls have spans of the gateway's own.
pub(crate) async fn traced(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    telemetry::request(&app, request, next).await
}

pub(crate) enum Named<'r> {
    /// In lower case; it may be no host at all.
    One(Cow<'r, str>),
    Unclear,
}

/// RFC 9112 s3.2.2: an absolute target overrides `Host`; here both must agree.
pub(crate) fn named_host(request: &Request) -> Named<'_> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => match host.to_str() {
            Ok(host) => Some(in_lower_case(host)),
            Err(_) => return Named::Unclear,
        },
        (Some(_), Some(_)) => return Named::Unclear,
    };
    let target = request.uri().authority().map(|authority| in_lower_case(authority.as_str()));
    match (target, host) {
        (Some(target), Some(host)) if target != host => Named::Unclear,
        (Some(name), _) | (None, Some(name)) => Named::One(name),
        (None, None) => Named::Unclear,
    }
}

/// Nearly always it is.
fn in_lower_case(host: &str) -> Cow<'_, str> {
    let is_other = host.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_other { host.to_ascii_lowercase().into() } else { host.into() }
}

pub(crate) fn is_ours(app: &App, host: &str) -> bool {
    if app.current.load().hosts.contains(host) {
        return true;
    }
    is_our_address(app, host)
}

/// The address itself cannot be rebound: for health checks, and proxies that do not pass the name on.
pub(crate) fn is_our_address(app: &App, host: &str) -> bool {
    let listen = app.config.listen;
    host == listen.to_string()
        || (listen.ip().is_loopback() && host == format!("localhost:{}", listen.port()))
}

/// Headers that make a browser careful. Pages say more precisely what they need; what a handler set stays.
pub(crate) fn careful(headers: &mut HeaderMap, is_https: bool) {
    default(headers, header::CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    default(
        headers,
        header::CONTENT_SECURITY_POLICY,
        const { HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'") },
    );
    default(headers, header::REFERRER_POLICY, const { HeaderValue::from_static("no-referrer") });
    default(headers, header::X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    if is_https {
        default(
            headers,
            header::STRICT_TRANSPORT_SECURITY,
            const { HeaderValue::from_static("max-age=31536000") },
        );
    }
}

fn default(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.entry(name).or_insert(value);
}

/// The authority answers soon or not at all. Tool calls have bounds of their own: their answers may stream for long.
pub(crate) async fn patience(request: Request, next: Next) -> Response {
    tokio::time::timeout(PATIENCE, next.run(request))
        .await
        .unwrap_or_else(|_| plain(StatusCode::SERVICE_UNAVAILABLE, "This took too long; try again.\n"))
}

/// 404, the same for everything that is not there.
#[expect(clippy::unused_async, reason = "a handler, too")]
pub(crate) async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "There is nothing here.\n")
}

/// A call that came to a control room which leaves calls to gateways that run alone.
pub(crate) fn elsewhere() -> Response {
    let says = "Calls are not served here: whoever runs this sends them to a gateway that runs alone.\n";
    plain(StatusCode::MISDIRECTED_REQUEST, says)
}

pub(crate) fn plain(status: StatusCode, says: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], says).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt as _;

    async fn ask(path: &str) -> (StatusCode, String) {
        let router = Router::new()
            .route("/good", get(async || "good"))
            .route("/bad", get(async || -> &'static str { panic!("the inside of it") }))
            .layer(from_fn(survive));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn what_a_handler_set_stays_and_over_https_it_is_said_so() {
        for (is_https, says) in [(false, None), (true, Some("max-age=31536000"))] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
            careful(&mut headers, is_https);
            let value = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value(header::CACHE_CONTROL), Some("max-age=5"));
            assert_eq!(value(header::X_CONTENT_TYPE_OPTIONS), Some("nosniff"));
            assert_eq!(value(header::STRICT_TRANSPORT_SECURITY), says);
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing() {
        assert_eq!(ask("/good").await, (StatusCode::OK, "good".to_owned()));
        let (status, body) = ask("/bad").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.contains("inside"), "{body}");
    }
}
