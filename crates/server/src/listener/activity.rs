//! Whether somebody still has a use for a connection. An HTTP/2 peer that answers our PINGs may live forever without ever
//! asking anything, or without ever taking an answer, so neither counts: what counts is a request that we work on, an
//! answer that waits for us, and an answer that is being taken.

use super::taken::Taken;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Answers are handed out in pieces, so that a slow reader of a long one is seen to read.
const PIECE: usize = 32 * 1024;

/// What goes on in one connection. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    busy: usize,
    last: Instant,
}

/// Something goes on until this is dropped.
pub(super) struct Busy(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { busy: 0, last: Instant::now() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something begins.
    pub(super) fn busy(&self) -> Busy {
        self.state().busy += 1;
        Busy(self.clone())
    }

    /// Something happens.
    pub(super) fn touch(&self) {
        self.state().last = Instant::now();
    }

    /// Returns when nothing has gone on for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let (busy, last) = {
                let state = self.state();
                (state.busy > 0, state.last)
            };
            let now = Instant::now();
            let end = if busy { now + limit } else { last + limit };
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl Busy {
    /// Ends it, and gives back where it went on.
    pub(super) fn over(self) -> Activity {
        self.0.clone()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        state.last = Instant::now();
    }
}

/// The body of an answer. It keeps the connection while it waits for us, but not while it waits to be taken.
pub(super) struct Watched {
    body: Body,
    rest: Bytes,
    activity: Activity,
    taken: Option<Taken>,
    waits_for_us: Option<Busy>,
}

impl Watched {
    pub(super) fn new(body: Body, activity: Activity) -> Self {
        let taken = Taken::of_this_request();
        Self { body, rest: Bytes::new(), activity, taken, waits_for_us: None }
    }

    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if let Some(taken) = &self.taken {
            taken.handed();
        }
        self.rest = if data.len() > PIECE { data.split_off(PIECE) } else { Bytes::new() };
        Frame::data(data)
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(taken) = &self.taken {
            taken.wanted();
        }
        if !self.rest.is_empty() {
            self.activity.touch();
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        if self.waits_for_us.is_none() {
            self.waits_for_us = Some(self.activity.busy());
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.waits_for_us = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => self.piece(data),
                Err(other) => other,
            })),
            end => end,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;

    #[tokio::test]
    async fn a_long_answer_is_the_same_in_pieces() {
        let long: Vec<u8> = (0..PIECE * 2 + 7).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let watched = || Watched::new(Body::from(long.clone()), Activity::new());
        assert_eq!(watched().size_hint().exact(), Some(long.len() as u64));
        let mut body = watched();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some((long.len() - PIECE) as u64));
        assert_eq!(watched().collect().await.unwrap().to_bytes(), long);
    }
}
