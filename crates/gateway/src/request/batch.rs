//! Batches of 2025-03-26, the one revision that has them: several messages in one body.
//!
//! Each is read, and decided about, as if it stood alone; when one is refused, all are, and nothing goes upstream. Then they
//! go there one by one, each as its own bytes, so that what was decided is what the upstream reads, whether it knows
//! batches or not. The order of requests is left to whoever serves them (JSON-RPC 2.0 s6).

pub(crate) mod reply;
mod split;

use crate::Inner;
use crate::bounds::slots::Slot;
use crate::decide::authorize::{Permits, policy_of};
use crate::decide::circumstances::arguments_of;
use crate::decide::permitted::Allowed;
use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::message::call::{Call, Kind};
use crate::message::headers::{self, Era, parameters};
use crate::record::ledger::Recorded;
use crate::record::spool::What;
use crate::request::deliver::empty;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Response, StatusCode};
use reply::Refusing;
use split::{Message, split};
use tokio::time::Instant;

pub(crate) use split::is_batch;

/// The messages of a body, and the bytes of each; none if it is no batch.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn messages(body: &Bytes, token: &str, max_depth: usize) -> Vec<(Call, Bytes)> {
    let messages = split(body, token, max_depth).unwrap_or_default();
    messages.into_iter().map(|message| (message.call, message.body)).collect()
}

/// A message that may go, and all that it takes.
struct Ready<'b> {
    message: &'b Message,
    permits: Permits,
    slot: Slot,
    recorded: Recorded,
}

/// Why a batch is refused.
struct Reasons {
    /// For each message, in its place. Most for no reason of their own.
    of: Vec<Option<Refusal>>,
    /// How many messages, from the first on, the record knows already: they were allowed.
    recorded: usize,
}

impl From<Vec<Option<Refusal>>> for Reasons {
    fn from(of: Vec<Option<Refusal>>) -> Self {
        Self { of, recorded: 0 }
    }
}

impl Inner {
    /// A body that is an array; complete `since` then.
    pub(crate) async fn post_batch(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        body: &Bytes,
        since: Instant,
    ) -> Result<Response<Body>, Refused> {
        let mut messages = split(body, &caller.token, self.settings.limits.json_depth)?;
        for message in &mut messages {
            self.look_up(caller, &mut message.call);
        }
        // One was counted before the body was read.
        let more = u32::try_from(messages.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.rates.messages(caller.counted_as(), more, caller.now).map_err(Refusal::TooOften)?;
        let session = match self.decided(caller, headers, &messages) {
            Ok((session, permits)) => match self.made_ready(caller, &messages, permits, since).await {
                Ok(ready) => Ok((session, ready)),
                Err(reasons) => Err(reasons),
            },
            Err(reasons) => Err(reasons),
        };
        match session {
            Ok((session, ready)) => Ok(self.send_all(caller, (headers, session), ready).await),
            Err(reasons) => Ok(self.refuse_all(caller, &messages, reasons).await),
        }
    }

    /// The session of all, and the permits of each; or why not.
    fn decided<'h>(
        &self,
        caller: &Caller,
        headers: &'h HeaderMap,
        messages: &[Message],
    ) -> Result<(Option<&'h str>, Vec<Permits>), Reasons> {
        let mut session = None;
        let mut permits = Vec::new();
        let mut reasons = Vec::new();
        for message in messages {
            match self.decide_one(caller, headers, message) {
                Ok((of_all, permitted)) => {
                    session = of_all;
                    permits.push(permitted);
                    reasons.push(None);
                }
                Err(refusal) => reasons.push(Some(refusal)),
            }
        }
        if reasons.iter().all(Option::is_none) { Ok((session, permits)) } else { Err(reasons.into()) }
    }

    fn decide_one<'h>(
        &self,
        caller: &Caller,
        headers: &'h HeaderMap,
        message: &Message,
    ) -> Result<(Option<&'h str>, Permits), Refusal> {
        let era = headers::check(headers, &message.call).map_err(Refusal::Headers)?;
        let session = self.session_of(caller, headers, &message.call, era)?;
        let by_name = policy_of(caller)?.asks_for_arguments();
        parameters::check(headers, &message.body, by_name).map_err(Refusal::Headers)?;
        let permits =
            self.permits(caller, &message.call, era, &arguments_of(&message.call, &message.body))?;
        Ok((session, permits))
    }

    /// Room for each, and each in the record; or none.
    async fn made_ready<'b>(
        &self,
        caller: &Caller,
        messages: &'b [Message],
        permits: Vec<Permits>,
        since: Instant,
    ) -> Result<Vec<Ready<'b>>, Reasons> {
        let slots: Vec<_> =
            messages.iter().map(|_| self.slots.call(caller.counted_as(), caller.address)).collect();
        if slots.iter().any(Result::is_err) {
            let of = slots.into_iter().map(|slot| slot.err().map(Refusal::TooManyAtOnce));
            return Err(of.collect::<Vec<_>>().into());
        }
        let mut ready: Vec<Ready<'b>> = Vec::new();
        for ((message, permits), slot) in messages.iter().zip(permits).zip(slots.into_iter().flatten()) {
            match self.record(caller, &permits, What::of(&message.call)).await {
                Ok(recorded) => {
                    recorded.decided_since(since);
                    ready.push(Ready { message, permits, slot, recorded });
                }
                Err(refusal) => {
                    let recorded = ready.len();
                    let mut of: Vec<_> = messages.iter().map(|_| None).collect();
                    if let Some(reason) = of.get_mut(recorded) {
                        *reason = Some(refusal);
                    }
                    for before in ready {
                        // It was allowed, and will not be done.
                        let _refused = self.conclude(before.recorded, Err(Refusal::BesideRefused));
                    }
                    return Err(Reasons { of, recorded });
                }
            }
        }
        Ok(ready)
    }

    async fn send_all(
        &self,
        caller: &Caller,
        place: (&HeaderMap, Option<&str>),
        ready: Vec<Ready<'_>>,
    ) -> Response<Body> {
        let (asking, telling): (Vec<_>, Vec<_>) =
            ready.into_iter().partition(|ready| ready.message.call.kind == Kind::Request);
        let mut taken = empty(StatusCode::ACCEPTED);
        // Before what is asked: `notifications/initialized` may stand beside the first request.
        for ready in telling {
            let told = self.send_one(caller, place, ready).await;
            if taken.status().is_success() {
                taken = told;
            }
        }
        if asking.is_empty() {
            return taken;
        }
        let asked = asking.into_iter().map(|ready| async {
            let call = &ready.message.call;
            (call, self.send_one(caller, place, ready).await)
        });
        reply::together(join_all(asked).await).await
    }

    /// As if it had come alone.
    async fn send_one(
        &self,
        caller: &Caller,
        (headers, session): (&HeaderMap, Option<&str>),
        ready: Ready<'_>,
    ) -> Response<Body> {
        let Ready { message: Message { call, body }, permits, slot, recorded } = ready;
        let body = body.clone();
        let (era, is_alone) = (Era::Sessions, false);
        let allowed = Allowed { caller, call, era, session, headers, trace: None, body, is_alone };
        let span = self.span_of(headers, call, caller.door.server.name.as_str());
        span.allowed(&permits);
        let carried = span.around(self.carry((permits, slot, recorded), allowed, &span)).await;
        let served = span.served(carried.map_err(|refusal| refused(refusal, call).recorded()));
        served.unwrap_or_else(|refused| self.refuse_caller(caller, &refused))
    }

    /// Each request gets its error; status and challenge are those of the first message that is the reason.
    async fn refuse_all(&self, caller: &Caller, messages: &[Message], reasons: Reasons) -> Response<Body> {
        let Reasons { of, recorded } = reasons;
        let answers = messages.iter().zip(of).enumerate().map(|(at, (message, reason))| {
            let is_reason = reason.is_some();
            let refused = refused(reason.unwrap_or(Refusal::BesideRefused), &message.call);
            let refused = if at < recorded { refused.recorded() } else { refused };
            let answer = self.refuse_caller(caller, &refused);
            Refusing { is_reason, kind: message.call.kind, answer }
        });
        reply::refused(answers.collect()).await
    }
}

fn refused(refusal: Refusal, call: &Call) -> Refused {
    Refused::of(refusal, call, Some(Era::Sessions))
}
