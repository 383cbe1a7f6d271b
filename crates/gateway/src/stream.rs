//! Open streams: each is asked again whether it may stay, and ends when its token does, when it or its policy is
//! withdrawn, or when the gateway goes down (STRM-01, STRM-02, STRM-03).

mod slots;

pub(crate) use slots::{Slot, Slots};

use crate::call::Aim;
use crate::circumstances::InMessage;
use crate::door::Door;
use crate::error::{self, code};
use crate::events::{self, BrokenOff};
use crate::figures::Live;
use crate::pins::Pinboard;
use crate::settings::Clock;
use crate::state::Knowledge;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use portcullis_domain::condition::{Arguments, Circumstances};
use portcullis_domain::policy::Decision;
use portcullis_oauth::time::Timestamp;
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A silent stream gets a comment this often: a client that vanished is noticed by writing (STRM-05).
const KEEP_ALIVE: Duration = Duration::from_secs(25);

/// How far the gateway's going down has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    /// Not at all.
    Open,
    /// Streams that end at nobody's word are ended; answers may still be completed.
    Draining,
    /// Everything ends.
    Now,
}

/// What an open stream is asked again.
pub(crate) struct Watch {
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) clock: Clock,
    pub(crate) pins: Arc<Pinboard>,
    pub(crate) door: Arc<Door>,
    pub(crate) token: Arc<str>,
    pub(crate) aim: Aim,
    pub(crate) address: Option<IpAddr>,
    /// Kept where a condition asks for them; what begins to ask later ends the stream.
    pub(crate) arguments: Option<InMessage>,
    pub(crate) changes: watch::Receiver<u64>,
    pub(crate) closing: watch::Receiver<Closing>,
}

/// Why a stream ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    GoingDown,
    NotAllowed,
}

impl Watch {
    /// Returns when the stream must end. Asks anew each time it is called; may be dropped at any moment.
    pub(crate) async fn over(&mut self, is_endless: bool) -> Over {
        loop {
            self.changes.mark_unchanged();
            let closing = *self.closing.borrow_and_update();
            if closing == Closing::Now || (is_endless && closing == Closing::Draining) {
                return Over::GoingDown;
            }
            let now = (self.clock)();
            self.ready(now).await;
            let Some(ask_again) = self.allowed_until(now) else {
                return Over::NotAllowed;
            };
            let wait = ask_again.since(now).max(Duration::from_millis(250));
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return Over::GoingDown },
                closing = self.closing.changed() => if closing.is_err() { return Over::GoingDown },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Whoever issued the token is asked again where that is due; what is not known then is not believed.
    async fn ready(&self, now: Timestamp) {
        if let Some(known) = self.knowledge.known() {
            let _judged_next = self.knowledge.ready((&known, &self.door), &self.token, now, || Ok(())).await;
        }
    }

    /// Until when nothing but news can end the stream; `None` when it is over now.
    fn allowed_until(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.knowledge.is_fresh(now) {
            return None;
        }
        let known = self.knowledge.known()?;
        let policy = known.policy_of(&self.door)?;
        let principal = self.knowledge.believe(&known, &self.door, &self.token, now).ok()?;
        let arguments = self.arguments.as_ref().map(|arguments| arguments as &dyn Arguments);
        let circumstances = Circumstances { now, address: self.address, arguments };
        let pins = self.pins.of(&known, &self.door)?;
        let allowed = self.aim.operations().into_iter().all(|operation| {
            matches!(policy.decide(&principal, operation, &circumstances), Decision::Permit(_))
                && pins.admit(operation).is_ok()
        });
        let second = Duration::from_secs(1);
        allowed.then(|| {
            let token_ends = principal.expires_at + known.leeway();
            let ask_again = known.ask_again(&self.door, now).unwrap_or(token_ends);
            token_ends.min(self.knowledge.stale_at() + second).min(ask_again).min(next_minute(now))
        })
    }
}

/// Windows of time open and close at whole minutes (PC-24).
fn next_minute(now: Timestamp) -> Timestamp {
    Timestamp::from_seconds((now.seconds().div_euclid(60) + 1) * 60)
}

/// A stream on its way to the caller.
pub(crate) struct Outgoing {
    pub(crate) events: BoxStream<'static, Result<Bytes, BrokenOff>>,
    pub(crate) watch: Watch,
    /// The request that the stream answers; a GET stream answers none.
    pub(crate) id: Option<Box<RawValue>>,
    #[expect(dead_code, reason = "held until the stream is over")]
    pub(crate) slot: Slot,
    #[expect(dead_code, reason = "counted until the stream is over")]
    pub(crate) live: Live,
}

impl Outgoing {
    /// The body that the caller reads.
    pub(crate) fn into_body(self) -> Body {
        let stream = futures_util::stream::unfold(Some(self), |state| async move {
            let mut outgoing = state?;
            match outgoing.next().await {
                Next::Event(event) => Some((event, Some(outgoing))),
                Next::Last(event) => Some((event, None)),
                Next::End => None,
            }
        });
        Body::from_stream(stream.map(Ok::<_, std::convert::Infallible>))
    }

    async fn next(&mut self) -> Next {
        let is_endless = self.id.is_none() || matches!(self.watch.aim, Aim::Listen(_));
        tokio::select! {
            biased;
            over = self.watch.over(is_endless) => self.farewell(over).map_or(Next::End, Next::Last),
            event = self.events.next() => match event {
                Some(Ok(event)) => Next::Event(event),
                Some(Err(BrokenOff)) => self
                    .error(code::UPSTREAM_FAILED, "the upstream broke off")
                    .map_or(Next::End, Next::Last),
                None => Next::End,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => Next::Event(Bytes::from_static(b":\n\n")),
        }
    }

    /// The last word to the request that the stream answers.
    fn farewell(&self, over: Over) -> Option<Bytes> {
        match (over, &self.watch.aim, &self.id) {
            (_, _, None) => None,
            // 2026-07-28 "Graceful Closure": a subscription that the server ends is answered.
            (Over::GoingDown, Aim::Listen(_), Some(id)) => Some(events::message(
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
                )
                .as_bytes(),
            )),
            (Over::GoingDown, _, Some(_)) => {
                self.error(code::UNAVAILABLE, "the gateway is going down")
            }
            (Over::NotAllowed, _, Some(_)) => self.error(
                code::UNAUTHENTICATED,
                "the access token ended, or what it allowed was withdrawn",
            ),
        }
    }

    fn error(&self, code: i64, sentence: &str) -> Option<Bytes> {
        let id = self.id.as_deref()?;
        Some(events::message(&error::rpc_error(code, sentence, Some(id), None)))
    }
}

enum Next {
    Event(Bytes),
    Last(Bytes),
    End,
}
