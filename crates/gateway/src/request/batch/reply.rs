//! The one answer to a batch: an array, or a stream when one of the answers is one.

use crate::bounds::room::keeping;
use crate::message::answer::is_response_to;
use crate::message::call::{Call, Kind};
use crate::message::events;
use crate::message::rpc::{code, rpc_error};
use crate::request::deliver::{event_stream, json};
use crate::upstream::forward::is_of_type;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use std::convert::Infallible;

/// The answers to all requests of a batch. Where all have the same status, it is that of the whole.
pub(super) async fn together(answers: Vec<(&Call, Response<Body>)>) -> Response<Body> {
    let first = answers.first().map_or(StatusCode::OK, |(_, answer)| answer.status());
    let alike = answers.iter().all(|(_, answer)| answer.status() == first);
    let status = if alike { first } else { StatusCode::OK };
    if !answers.iter().any(|(_, answer)| is_stream(answer)) {
        let mut bodies = Vec::new();
        for (call, answer) in answers {
            bodies.push(whole(call, answer).await);
        }
        let mut response = json(status, Bytes::new());
        *response.body_mut() = array(bodies);
        return response;
    }
    let mut streams: Vec<BoxStream<'static, Result<Bytes, axum::Error>>> = Vec::new();
    for (call, answer) in answers {
        if is_stream(&answer) {
            streams.push(Box::pin(answer.into_body().into_data_stream()));
        } else {
            let body = whole(call, answer).await;
            // Written when it is wanted, with the room of what it is made from.
            let event = async move {
                let event = events::message(&body);
                Ok(keeping(body, event))
            };
            streams.push(Box::pin(stream::once(event)));
        }
    }
    // Each chunk of each is whole events, so they can be told one after the other as they come.
    event_stream(Body::from_stream(stream::select_all(streams)))
}

/// The answer to one message of a refused batch.
pub(super) struct Refusing {
    /// Whether it is why the batch is refused.
    pub(super) is_reason: bool,
    pub(super) kind: Kind,
    pub(super) answer: Response<Body>,
}

/// A refused batch: an error for each request; status and headers are those of the first reason.
pub(super) async fn refused(answers: Vec<Refusing>) -> Response<Body> {
    let mut bodies = Vec::new();
    let mut reason = None;
    for Refusing { is_reason, kind, answer } in answers {
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if kind == Kind::Request {
            bodies.push(body.clone());
        }
        if is_reason && reason.is_none() {
            reason = Some((parts, body));
        }
    }
    let Some((parts, body)) = reason else {
        let mut response = json(StatusCode::BAD_REQUEST, Bytes::new());
        *response.body_mut() = array(bodies);
        return response;
    };
    // With no request in it, there is the one error that names none.
    let body = if bodies.is_empty() { Body::from(body) } else { array(bodies) };
    Response::from_parts(parts, body)
}

pub(crate) fn is_stream(answer: &Response<Body>) -> bool {
    is_of_type(answer.headers(), "text/event-stream")
}

/// The answer to one request, which names it.
pub(crate) async fn whole(call: &Call, answer: Response<Body>) -> Bytes {
    let id = call.id.as_deref();
    // It was read whole before, and bounded.
    let body = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let named = |body: &Bytes| {
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        id.is_some_and(|id| is_response_to(body, id)) && !value["id"].is_null()
    };
    match body {
        Ok(body) if named(&body) => body,
        _ => rpc_error(code::UPSTREAM_FAILED, "the server refused the message", id, None).into(),
    }
}

/// One after the other, each with the room that it has, given back when it is sent.
fn array(bodies: Vec<Bytes>) -> Body {
    let mut parts = vec![Bytes::from_static(b"[")];
    for (at, body) in bodies.into_iter().enumerate() {
        if at > 0 {
            parts.push(Bytes::from_static(b","));
        }
        parts.push(body);
    }
    parts.push(Bytes::from_static(b"]"));
    Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>)))
}
