//! The account of an open stream: counted while it is open, and in the record of calls when it is over: when, why, and how
//! much of it there was.

use crate::record::figures::{ANSWERED, OfServer};
use crate::record::spool::{Ended, Reserved, Streamed, milliseconds};
use crate::settings::Clock;
use bytes::Bytes;
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Whoever asked went away, or was cut off. It is what happened when nothing else did: nobody tells us.
const CALLER_LEFT: &str = "caller_left";

/// Of one stream, which answers a call that is in the record.
pub(crate) struct Account {
    call: String,
    reserved: Option<Reserved>,
    counted: Arc<OfServer>,
    clock: Clock,
    opened: Instant,
    /// From the decision until then.
    took: Duration,
    events: u64,
    bytes: u64,
    left_out: u64,
    how: &'static str,
}

impl Account {
    /// The stream is open; it was decided about it at `began`.
    pub(crate) fn open(
        (call, reserved): (String, Option<Reserved>),
        counted: Arc<OfServer>,
        clock: Clock,
        began: Instant,
    ) -> Self {
        counted.stream_opened();
        let opened = Instant::now();
        let took = opened.duration_since(began);
        let (events, bytes, left_out, how) = (0, 0, 0, CALLER_LEFT);
        Self { call, reserved, counted, clock, opened, took, events, bytes, left_out, how }
    }

    /// An event was passed on.
    pub(crate) fn passed(&mut self, event: &Bytes) {
        self.events += 1;
        self.bytes += event.len() as u64;
    }

    /// An event was not the caller's to hear.
    pub(crate) fn left_out(&mut self) {
        self.left_out += 1;
    }

    /// All of it is there before anything is passed on.
    pub(crate) fn is_whole(&mut self, events: u64, bytes: usize, left_out: u64) {
        (self.events, self.bytes, self.left_out, self.how) = (events, bytes as u64, left_out, "complete");
    }

    /// It ends now, for this reason: a fixed word.
    pub(crate) fn ends(&mut self, how: &'static str) {
        self.how = how;
    }
}

/// A stream can end by nothing else than that nobody holds it any more.
impl Drop for Account {
    fn drop(&mut self) {
        self.counted.stream_closed(self.how);
        let Some(reserved) = self.reserved.take() else {
            return;
        };
        let streamed = Streamed {
            how: self.how,
            milliseconds: milliseconds(self.opened.elapsed()),
            events: self.events,
            bytes: self.bytes,
            left_out: self.left_out,
        };
        let ended = Ended {
            at: (self.clock)(),
            call: &self.call,
            status: StatusCode::OK.as_u16(),
            how: ANSWERED,
            took: self.took,
            stream: Some(streamed),
        };
        if let Err(failure) = reserved.ended(&ended) {
            let error = &failure as &dyn std::error::Error;
            tracing::error!(error, "the end of a stream could not be recorded");
        }
    }
}
