//! What comes back, and is put on the line message by message.

use super::{Line, SLOW, versions};
use crate::known::caller::Caller;
use crate::message::answer::is_response_to;
use crate::message::call::{Aim, Call};
use crate::message::events::{self, BrokenOff};
use crate::message::headers::SESSION_ID;
use crate::message::rpc::{code, rpc_error};
use crate::request::batch::reply::{is_stream, whole};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use http::Response;

/// Of answers, each of which had room, but not all of them at once.
const NO_ROOM: &str = "there is no room for the answers now; the calls may have been carried out";

impl Line {
    /// What wants an answer, up to its last message.
    pub(super) async fn ask(&self, caller: &Caller, call: &Call, body: Bytes) {
        let answer = match self.gateway.take(caller, &self.headers(), body).await {
            Ok(answer) => answer,
            Err(refused) => self.gateway.refuse_caller(caller, &refused),
        };
        self.look_at(&answer);
        if call.aim == Aim::Initialize
            && let Some(session) = answer.headers().get(&SESSION_ID).and_then(|id| id.to_str().ok())
        {
            // Two at once: the one that is not taken ends by itself at the upstream.
            let _first_counts = self.session.set(session.to_owned());
        }
        if is_stream(&answer) {
            self.relay_events(call, answer).await;
        } else {
            let message = whole(call, answer).await;
            self.learn(call, &message);
            self.say(message).await;
        }
    }

    pub(super) async fn ask_batch(&self, caller: &Caller, body: Bytes) {
        let answer = match self.gateway.take(caller, &self.headers(), body).await {
            Ok(answer) => answer,
            Err(refused) => self.gateway.refuse_caller(caller, &refused),
        };
        self.look_at(&answer);
        self.relay(answer).await;
    }

    /// Every message of a stream that answers `call`.
    async fn relay_events(&self, call: &Call, answer: Response<Body>) {
        let mut events = self.events_of(answer);
        let id = call.id.as_deref();
        let mut is_answered = false;
        while let Some(Ok(event)) = events.next().await {
            let Some(message) = said(&event) else { continue };
            is_answered |= id.is_some_and(|id| is_response_to(&message, id));
            self.learn(call, &message);
            self.say(message).await;
        }
        if !is_answered {
            self.say(rpc_error(code::UPSTREAM_FAILED, "the upstream broke off", id, None).into()).await;
        }
    }

    /// Whatever stands in a response of ours, in its order.
    pub(super) async fn relay(&self, response: Response<Body>) {
        if !is_stream(&response) {
            // It was read whole before, and bounded; the answers of a batch are put together here, and need room.
            let share = self.gateway.room.of(&self.opener.principal.subject);
            let message = match share.collect(response.into_body(), usize::MAX).await {
                Ok(message) => message,
                Err(_) => rpc_error(code::UNAVAILABLE, NO_ROOM, None, None).into(),
            };
            self.say(message).await;
            return;
        }
        let mut events = self.events_of(response);
        while let Some(Ok(event)) = events.next().await {
            if let Some(message) = said(&event) {
                self.say(message).await;
            }
        }
    }

    fn events_of(&self, response: Response<Body>) -> BoxStream<'static, Result<Bytes, BrokenOff>> {
        let most = self.gateway.settings.limits.answer_bytes;
        let share = self.gateway.room.of(&self.opener.principal.subject);
        events::events(Box::pin(response.into_body().into_data_stream()), most, &share)
    }

    /// Puts a message on the line. Whoever takes nothing for too long loses it.
    pub(super) async fn say(&self, message: Bytes) {
        if message.is_empty() {
            return;
        }
        match tokio::time::timeout(SLOW, self.out.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => self.over.cancel(),
        }
    }

    /// What the answer to `initialize` agreed on.
    fn learn(&self, call: &Call, message: &[u8]) {
        if call.aim == Aim::Initialize
            && let Some(version) = versions::agreed(message)
        {
            let _first_counts = self.version.set(version);
        }
    }
}

/// The message in an event; none in a comment, or in one that only says where a stream stands.
fn said(event: &Bytes) -> Option<Bytes> {
    Some(events::data(event)).filter(|data| !data.iter().all(u8::is_ascii_whitespace))
}
