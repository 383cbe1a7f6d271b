//! Open streams: each is asked again whether it may stay, and ends when its token does, when it or its policy is
//! withdrawn, or when the gateway goes down (STRM-01, STRM-02, STRM-03).
//!
//! How it ends is chosen by what clients do then. All of them open a GET stream again, with a new token if theirs is over. A
//! stream that answers a request is gone on with (`Last-Event-ID`) where an event on it had an id, and nothing else was said
//! last; elsewhere whoever asked would wait for ever, so there is a last word.

mod asked;
mod hearing;
mod watch;

pub(crate) use asked::{Asked, Replay, Resumable, ToldAgain};
pub(crate) use hearing::{Heard, Hearing};
pub(crate) use watch::{Closing, Over, Watch};

use crate::bounds::slots::Slot;
use crate::message::call::Aim;
use crate::message::events::{self, BrokenOff};
use crate::message::rpc::{code, rpc_error};
use crate::record::account::Account;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use std::time::Duration;
use tokio::time::Instant;

/// A silent stream gets a comment this often: a client that vanished is noticed by writing (STRM-05).
const KEEP_ALIVE: Duration = Duration::from_secs(25);

/// An upstream that has answered should end the stream by itself.
const AFTER_THE_ANSWER: Duration = Duration::from_secs(1);

/// The last word where what was asked is allowed no more.
pub(crate) const WITHDRAWN: &str = "the access token was revoked, or what it allowed was withdrawn";

/// A stream on its way to the caller.
pub(crate) struct Outgoing {
    /// Whole ones; an empty one stands for what was not the caller's to hear.
    pub(crate) events: BoxStream<'static, Result<Bytes, BrokenOff>>,
    pub(crate) watch: Watch,
    pub(crate) hearing: Hearing,
    /// Whether the caller can go on with it elsewhere: it has a session, and the answer stands alone.
    pub(crate) is_resumable: bool,
    /// What it answers, until an event had an id.
    pub(crate) question: Option<Resumable>,
    pub(crate) account: Account,
    #[expect(dead_code, reason = "held until the stream is over")]
    pub(crate) slot: Slot,
    pub(crate) pace: Pace,
}

/// When something must be said although nothing happens.
#[derive(Default)]
pub(crate) struct Pace {
    is_answered: bool,
    /// Since the last event; begun when there is something to wait for.
    silent_until: Option<Instant>,
}

enum Next {
    Event(Bytes),
    Last(Bytes),
    End,
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
        loop {
            if let Err(over) = self.watch.look().await {
                return self.ended_by(over);
            }
            let silence = if self.pace.is_answered { AFTER_THE_ANSWER } else { KEEP_ALIVE };
            let speak_at = *self.pace.silent_until.get_or_insert_with(|| Instant::now() + silence);
            let look_at = Instant::now() + self.watch.due();
            tokio::select! {
                biased;
                event = self.events.next() => {
                    // News may have come with it.
                    if let Err(over) = self.watch.look().await {
                        return self.ended_by(over);
                    }
                    if let Some(next) = self.said(event) {
                        return next;
                    }
                }
                () = self.watch.news() => {}
                () = tokio::time::sleep_until(look_at.min(speak_at)) => {
                    if speak_at <= look_at {
                        return self.silent();
                    }
                }
            }
        }
    }

    /// What comes of what the upstream said; nothing, where it is not the caller's to hear.
    fn said(&mut self, event: Option<Result<Bytes, BrokenOff>>) -> Option<Next> {
        let event = match event {
            Some(Ok(event)) => event,
            Some(Err(BrokenOff)) => return Some(self.broken_off("upstream_broke_off")),
            None => return Some(self.upstream_ended()),
        };
        let is_none = self.pace.is_answered || event.is_empty();
        let heard = if is_none { Heard::Unasked } else { self.hearing.hear(&event) };
        match heard {
            Heard::Unasked => {
                self.account.left_out();
                return None;
            }
            Heard::Answer => self.pace.is_answered = true,
            Heard::Meanwhile => {}
        }
        if self.hearing.has_event_id
            && let Some(question) = self.question.take()
        {
            question.remember();
        }
        self.pace.silent_until = None;
        self.account.passed(&event);
        Some(Next::Event(event))
    }

    fn silent(&mut self) -> Next {
        if self.pace.is_answered {
            self.account.ends("complete");
            return Next::End;
        }
        self.pace.silent_until = None;
        Next::Event(Bytes::from_static(b":\n\n"))
    }

    fn upstream_ended(&mut self) -> Next {
        let is_complete = self.pace.is_answered || self.hearing.id.is_none();
        if is_complete || self.goes_on_elsewhere() {
            self.account.ends("complete");
            return Next::End;
        }
        self.broken_off("upstream_never_answered")
    }

    fn broken_off(&mut self, how: &'static str) -> Next {
        self.account.ends(how);
        let sentence = "the upstream ended without an answer";
        self.error(code::UPSTREAM_FAILED, sentence).map_or(Next::End, Next::Last)
    }

    /// Whether a clean end makes clients ask for the rest, with a token that is good then.
    fn goes_on_elsewhere(&self) -> bool {
        self.is_resumable && self.hearing.has_event_id
    }

    fn ended_by(&mut self, over: Over) -> Next {
        self.account.ends(over.word());
        self.farewell(over).map_or(Next::End, Next::Last)
    }

    /// The last word to the request that the stream answers.
    fn farewell(&self, over: Over) -> Option<Bytes> {
        match (over, &self.watch.aim) {
            // 2026-07-28 "Graceful Closure": a subscription that the server ends is answered, and begun anew.
            (Over::GoingDown | Over::Expired, Aim::Listen(_)) => {
                let id = self.hearing.id.as_deref()?;
                Some(events::message(
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
                    )
                    .as_bytes(),
                ))
            }
            (Over::Expired, _) if self.goes_on_elsewhere() => None,
            (Over::Expired, _) => self.error(code::UNAUTHENTICATED, "the access token ended"),
            (Over::GoingDown, _) => self.error(code::UNAVAILABLE, "the gateway is going down"),
            (Over::Stale, _) => {
                self.error(code::UNAVAILABLE, "the gateway has no news of what is allowed: try again")
            }
            (Over::IssuerAway, _) => {
                self.error(code::UNAVAILABLE, "the issuer of the access token cannot be asked now: try again")
            }
            (Over::NotAllowed | Over::Revoked, _) => self.error(code::UNAUTHENTICATED, WITHDRAWN),
        }
    }

    fn error(&self, code: i64, sentence: &str) -> Option<Bytes> {
        let id = self.hearing.id.as_deref().filter(|_| !self.pace.is_answered)?;
        Some(events::message(&rpc_error(code, sentence, Some(id), None)))
    }
}

impl Over {
    /// For the record.
    fn word(self) -> &'static str {
        match self {
            Self::Expired => "token_expired",
            Self::GoingDown => "going_down",
            Self::IssuerAway => "issuer_away",
            Self::NotAllowed => "not_allowed",
            Self::Revoked => "revoked",
            Self::Stale => "stale",
        }
    }
}
