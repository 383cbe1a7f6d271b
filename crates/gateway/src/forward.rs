//! To an upstream over HTTP: the original bytes, headers from an allow-list, our own credential, never the caller's token
//! (PC-04, PC-05). No redirects, no proxies, no cookies, no second try of a call.

mod headers;
mod tls;

pub use tls::{Connector, NoTls, connector};

use crate::answer::{Answer, UpstreamFailure, is_error_for};
use crate::authorize::Permits;
use crate::events;
use crate::headers::{Era, SESSION_ID};
use crate::settings::Limits;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::value::RawValue;
use std::time::Duration;

/// An idle connection is given up before common upstreams close theirs (5 s), so that no call meets a closing one.
const POOL_IDLE: Duration = Duration::from_secs(3);

/// The longest error body of an upstream that is looked at.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Every connection to an HTTP upstream.
pub(crate) struct Upstreams {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
    answer_bytes: usize,
}

/// One message for an HTTP upstream.
pub(crate) struct Forwarded<'a> {
    pub(crate) method: Method,
    pub(crate) to: &'a Uri,
    /// As the caller sent them.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) era: Era,
    /// Known to belong to the caller.
    pub(crate) session: Option<&'a str>,
    pub(crate) assertion: Option<&'a str>,
    pub(crate) id: Option<&'a RawValue>,
    /// Our own span's, instead of the caller's.
    pub(crate) trace: Option<HeaderMap>,
    pub(crate) body: Bytes,
}

impl Upstreams {
    pub(crate) fn new(limits: &Limits) -> Result<Self, NoTls> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place of this crate that builds an HTTP client; it dials only what an operator registered"
        )]
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector()?);
        Ok(Self { client, timeout: limits.upstream_timeout, answer_bytes: limits.answer_bytes })
    }

    /// Sends a permitted message, and waits for the beginning of the answer.
    pub(crate) async fn send(
        &self,
        _permits: Permits,
        forwarded: Forwarded<'_>,
    ) -> Result<Answer, UpstreamFailure> {
        let id = forwarded.id;
        let address = forwarded.to.authority().map(ToString::to_string);
        let request = request(forwarded)?;
        let response = tokio::time::timeout(self.timeout, self.client.request(request))
            .await
            .map_err(|_| UpstreamFailure::Late)?
            .map_err(|error| {
                let failure =
                    if error.is_connect() { UpstreamFailure::Unreachable } else { UpstreamFailure::Garbled };
                tracing::warn!(address, error = &error as &dyn std::error::Error, "{failure}");
                failure
            })?;
        self.answer(response, id).await
    }

    async fn answer(
        &self,
        response: Response<Incoming>,
        id: Option<&RawValue>,
    ) -> Result<Answer, UpstreamFailure> {
        let status = response.status();
        if response.headers().contains_key(header::CONTENT_ENCODING) {
            // Nothing was said that we take; what cannot be read cannot be judged.
            return Err(UpstreamFailure::Garbled);
        }
        match status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(Answer::Accepted),
            // UPS-01: that is between us and the upstream.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(UpstreamFailure::Credential)
            }
            _ if status.is_success() => self.content(response).await,
            _ if status.is_redirection() => Err(UpstreamFailure::Redirect),
            _ if status.is_client_error() => Ok(Answer::Refused {
                status,
                body: self.collect(response, MAX_ERROR_BODY).await.ok().filter(|body| is_error_for(body, id)),
            }),
            _ => Err(UpstreamFailure::Status),
        }
    }

    async fn content(&self, response: Response<Incoming>) -> Result<Answer, UpstreamFailure> {
        let session = match response.headers().get(&SESSION_ID) {
            None => None,
            Some(id) => Some(id.to_str().map_err(|_| UpstreamFailure::Session)?.to_owned()),
        };
        if content_type(response.headers()).is_some_and(|stated| stated == "text/event-stream") {
            let chunks = response.into_body().into_data_stream();
            return Ok(Answer::Events { events: events::events(chunks.boxed(), self.answer_bytes), session });
        }
        // Whatever it is called, it must be one JSON-RPC message; that is looked at by content.
        Ok(Answer::Json { body: self.collect(response, self.answer_bytes).await?, session })
    }

    async fn collect(&self, response: Response<Incoming>, most: usize) -> Result<Bytes, UpstreamFailure> {
        let body = Limited::new(response.into_body(), most).collect();
        let collected = tokio::time::timeout(self.timeout, body)
            .await
            .map_err(|_| UpstreamFailure::Late)?
            .map_err(|_| UpstreamFailure::Garbled)?;
        Ok(collected.to_bytes())
    }
}

/// The header fields that an upstream gets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn sent_headers(forwarded: &Forwarded<'_>) -> Option<HeaderMap> {
    headers::for_upstream(forwarded)
}

fn request(forwarded: Forwarded<'_>) -> Result<Request<Full<Bytes>>, UpstreamFailure> {
    let headers = headers::for_upstream(&forwarded).ok_or(UpstreamFailure::Garbled)?;
    let mut request = Request::new(Full::new(forwarded.body));
    *request.method_mut() = forwarded.method;
    *request.uri_mut() = forwarded.to.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

/// The media type, without parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or(value);
    Some(essence.trim().to_ascii_lowercase())
}
