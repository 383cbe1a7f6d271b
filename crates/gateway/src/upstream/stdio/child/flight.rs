//! One question to a program, from asking to the last thing that comes.

use super::Child;
use crate::upstream::contract::CallInfo;
use crate::upstream::stdio::StdioFailure;
use crate::upstream::stdio::desk::{End, Kind, Slip, Ticket};
use crate::upstream::stdio::framing;
use crate::upstream::stdio::message::Key;
use crate::upstream::stdio::queue::{self, Frame};
use crate::upstream::stdio::turn::Wish;
use bytes::Bytes;
use std::sync::Arc;

/// A question on its way. Dropping it before the answer came gives the question up.
pub(crate) struct Flight {
    child: Arc<Child>,
    id: Key,
    ticket: Ticket,
    queue: queue::Receiver,
    stage: Stage,
    kind: FlightKind,
}

impl Flight {
    pub(super) fn new(
        child: &Arc<Child>,
        ticket: Ticket,
        queue: queue::Receiver,
        id: Key,
        call: &CallInfo,
    ) -> Self {
        Self { child: Arc::clone(child), id, ticket, queue, stage: Stage::Unsaid, kind: FlightKind::of(call) }
    }

    /// The question was put.
    pub(super) fn is_said(&mut self) {
        self.stage = Stage::Waiting;
    }

    /// What came next. After an answer or a failure nothing comes.
    pub(crate) async fn next(&mut self) -> Result<Frame, StdioFailure> {
        let frame = if self.kind == FlightKind::Subscription && self.stage == Stage::Streaming {
            self.queue.next().await
        } else {
            match tokio::time::timeout(self.child.patience, self.queue.next()).await {
                Ok(frame) => frame,
                Err(_) => return Err(self.time_out()),
            }
        };
        match frame {
            Some(Frame::Notice(body)) => {
                self.stage = Stage::Streaming;
                Ok(Frame::Notice(body))
            }
            Some(answer @ Frame::Answer { .. }) => {
                self.stage = Stage::Over;
                Ok(answer)
            }
            None => Err(match self.child.desk.ended() {
                Some(end) => end.into(),
                None if self.stage == Stage::Streaming => StdioFailure::TooSlow,
                None => StdioFailure::NotUnderstood,
            }),
        }
    }

    fn time_out(&mut self) -> StdioFailure {
        self.stage = Stage::TimedOut;
        self.count_silence();
        StdioFailure::TimedOut
    }

    /// The program did not answer in time, or did not even read.
    pub(super) fn count_silence(&self) {
        let silences = self.child.desk.count_silence();
        let borne = match self.child.kind {
            // Another can be started at any time, and nothing is lost with this one.
            Kind::Stateless => 0,
            Kind::Session => 1,
        };
        if silences > borne {
            self.child.desk.end(End::Hung);
            self.child.stop.cancel();
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.stage == Stage::Over {
            return;
        }
        let cancel = match self.stage {
            // The program never heard of it.
            Stage::Unsaid => {
                self.child.desk.withdraw(&self.id, self.ticket);
                None
            }
            Stage::Waiting | Stage::Streaming | Stage::Over | Stage::TimedOut => {
                self.child.desk.abandon(&self.id, self.ticket)
            }
        };
        // In a session a lost connection is no cancellation (2025-11-25, transports).
        let wanted = self.child.kind == Kind::Stateless || self.stage == Stage::TimedOut;
        if let Some(line) = cancel.filter(|_| wanted) {
            // A program that reads nothing will not read this either.
            let _ = self.child.input.try_send(Wish::Say(line));
        }
        if self.kind == FlightKind::Initialize || self.child.desk.hangs() {
            // Nobody knows the session's id.
            self.child.stop();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FlightKind {
    Call,
    /// A session stands or falls with it.
    Initialize,
    /// Its stream has no end by itself.
    Subscription,
}

impl FlightKind {
    fn of(call: &CallInfo) -> Self {
        match call.method.as_str() {
            _ if call.is_initialize => Self::Initialize,
            "subscriptions/listen" => Self::Subscription,
            _ => Self::Call,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unsaid,
    Waiting,
    /// Something came, and more will.
    Streaming,
    Over,
    TimedOut,
}

/// What the desk must know of a call; `None` when its id or token is none.
pub(super) fn slip(call: &CallInfo) -> Option<Slip> {
    let id = call.id.as_ref()?;
    let token = match &call.progress_token {
        Some(token) => Some(Key::of(token)?),
        None => None,
    };
    // An `initialize` must not be cancelled (2025-11-25, cancellation), and some programs take no notification before
    // the first request of a session, which `server/discover` does not count as.
    let cancel = match call.method.as_str() {
        "initialize" | "server/discover" => None,
        _ => Some(cancellation(id.get())),
    };
    Some(Slip { id: Key::of(id)?, token, cancel })
}

fn cancellation(id: &str) -> Bytes {
    let message = Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"nobody waits for the answer"}}}}"#
    ));
    // The id is the caller's own text.
    framing::one_line(&message).unwrap_or_default()
}
