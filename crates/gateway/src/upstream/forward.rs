//! To an upstream over HTTP: the original bytes, headers from an allow-list, our own credential, never the caller's token
//! (PC-04, PC-05). No redirects, no proxies, no cookies, no second try of a call that the upstream may have seen (UPS-10).

use crate::Inner;
use crate::bounds::room::Unread;
use crate::decide::permitted::Permitted;
use crate::decide::refusal::Refusal;
use crate::message::answer::{Answer, UpstreamFailure, is_error_for};
use crate::message::events;
use crate::message::headers::SESSION_ID;
use crate::reach::target::{Forwarded, Target};
use crate::settings::Limits;
use crate::upstream::connections::until_it_ends;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// The longest error body of an upstream that is looked at.
const MAX_ERROR_BODY: usize = 64 * 1024;

impl Inner {
    /// Sends a permitted message with our own credential, and waits for the beginning of the answer. Whatever was waited for,
    /// nothing goes out that is not permitted when it does (PC-45).
    pub(crate) async fn forward(
        &self,
        mut permitted: Permitted<'_>,
        target: &Target,
        forwarded: Forwarded<'_>,
    ) -> Result<Answer, Refusal> {
        let shown = self.credential(permitted.now(self).await?.caller, &target.credential).await?;
        let header = shown.as_ref().map(|shown| &shown.header);
        let current = permitted.now(self).await?;
        let mut answered = target.ask(current, &forwarded, header).await.map_err(Refusal::Upstream)?;
        let mut copy = shown.as_ref().and_then(|shown| shown.copy);
        // RFC 9110 s15.5.2: what is answered so has not been done, so it may be asked once more with another credential.
        if answered.status() == StatusCode::UNAUTHORIZED
            && let Some(refused) = &shown
            && let caller = permitted.now(self).await?.caller
            && let Some(another) = self.another_than(refused, caller, &target.credential).await?
        {
            let header = Some(&another.header);
            let current = permitted.now(self).await?;
            answered = target.ask(current, &forwarded, header).await.map_err(Refusal::Upstream)?;
            copy = another.copy;
            // Field 1.14: a token that is new and refused all the same is not what they want; the person is asked.
            if copy.is_some() && answered.status() == StatusCode::UNAUTHORIZED {
                return Err(self.copies.not_connected(permitted.now(self).await?.caller));
            }
        }
        let reading = Reading { limits: &self.settings.limits, forwarded: &forwarded };
        let answer = reading.answer(answered).await.map_err(Refusal::Upstream)?;
        Ok(match (answer, copy) {
            (Answer::Events { events, session }, Some(copy)) => {
                let events = until_it_ends(events, Arc::clone(&self.knowledge), copy.connection);
                Answer::Events { events, session }
            }
            (answer, _) => answer,
        })
    }
}

/// How an answer is read.
struct Reading<'a> {
    limits: &'a Limits,
    forwarded: &'a Forwarded<'a>,
}

impl Reading<'_> {
    async fn answer(&self, response: Response<Incoming>) -> Result<Answer, UpstreamFailure> {
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
                body: self
                    .collect(response, MAX_ERROR_BODY)
                    .await
                    .ok()
                    .filter(|body| is_error_for(body, self.forwarded.id)),
            }),
            _ => Err(UpstreamFailure::Status),
        }
    }

    async fn content(&self, response: Response<Incoming>) -> Result<Answer, UpstreamFailure> {
        let session = match response.headers().get(&SESSION_ID) {
            None => None,
            Some(id) => Some(id.to_str().map_err(|_| UpstreamFailure::Session)?.to_owned()),
        };
        if is_of_type(response.headers(), "text/event-stream") {
            let chunks = response.into_body().into_data_stream();
            let chunks = if self.forwarded.is_endless {
                chunks.map(|chunk| chunk.map_err(drop)).boxed()
            } else {
                never_silent_for(self.limits.upstream_idle, chunks)
            };
            let events = events::events(chunks, self.limits.answer_bytes, &self.forwarded.share);
            return Ok(Answer::Events { events, session });
        }
        // Whatever it is called, it must be one JSON-RPC message; that is looked at by content.
        Ok(Answer::Json { body: self.collect(response, self.limits.answer_bytes).await?, session })
    }

    async fn collect(&self, response: Response<Incoming>, most: usize) -> Result<Bytes, UpstreamFailure> {
        let collected = self.forwarded.share.collect(response.into_body(), most);
        let collected = tokio::time::timeout(self.forwarded.timeout, collected).await;
        collected.map_err(|_| UpstreamFailure::Late)?.map_err(|unread| match unread {
            Unread::Broken => UpstreamFailure::Garbled,
            Unread::NoRoom => UpstreamFailure::NoRoom,
            Unread::TooLarge => UpstreamFailure::TooLarge,
        })
    }
}

/// Breaks off when nothing comes for so long.
fn never_silent_for<E: Send + 'static>(
    most: Duration,
    chunks: impl stream::Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
) -> BoxStream<'static, Result<Bytes, ()>> {
    stream::unfold(Some(chunks), move |chunks| async move {
        let mut chunks = chunks?;
        match tokio::time::timeout(most, chunks.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
            Ok(None) => None,
            Ok(Some(Err(_))) | Err(_) => Some((Err(()), None)),
        }
    })
    .boxed()
}

/// Whether the media type is this one, whatever its parameters (RFC 9110 s8.3.1).
pub(crate) fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = stated.and_then(|stated| stated.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}
