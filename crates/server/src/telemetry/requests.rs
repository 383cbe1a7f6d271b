//! One span per request of the authority and the admin API: route, method, status, outcome. Never a path or a query as sent.

use crate::app::App;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use portcullis_gateway::Spans;

/// The span of a request under way.
struct RequestSpan(Context);

/// Answers it, within a span where spans are told. Calls have spans of the gateway's own.
pub(crate) async fn request(app: &App, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let (Some(traces), Some(route)) = (&app.traces, route) else {
        return next.run(request).await;
    };
    let span = RequestSpan::begin(&traces.spans, &request, route);
    let response = next.run(request).with_context(span.0.clone()).await;
    span.end(response.status());
    response
}

impl RequestSpan {
    fn begin(spans: &Spans, request: &Request, route: String) -> Self {
        let method = known(request.method());
        let around = spans.context_of(request.headers());
        let builder = spans.tracer().span_builder(format!("{method} {route}")).with_kind(SpanKind::Server);
        let said = [KeyValue::new("http.request.method", method), KeyValue::new("http.route", route)];
        let span = spans.tracer().build_with_context(builder.with_attributes(said), &around);
        Self(around.with_span(span))
    }

    fn end(self, status: StatusCode) {
        let span = self.0.span();
        let outcome = match status.as_u16() {
            ..400 => "served",
            400..500 => "refused",
            500.. => "failed",
        };
        span.set_attribute(KeyValue::new("portcullis.outcome", outcome));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        span.end();
    }
}

/// Anybody may send any word as a method.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "_OTHER",
    }
}
