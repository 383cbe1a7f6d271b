//! Keeps the bytes of the newest request head while they pass, so that the framing can be checked as it was sent.

use super::head::{self, Fault};
use super::places::Place;
use super::stream::Stream;
use http::{Request, header};
use memchr::memchr;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Larger heads are refused by the parser before anybody looks here.
const KEPT: usize = 40 * 1024;

/// Room for nearly every head is kept from one request to the next.
const USUAL: usize = 2048;

/// A stream whose first bytes were read already, and whose request heads are kept.
pub(super) struct Tapped {
    stream: Stream,
    first: Vec<u8>,
    tap: Tap,
    /// Given back with the connection, which outlives its HTTP where it is upgraded.
    _place: Place,
}

/// The view of the kept bytes.
#[derive(Clone, Default)]
pub(super) struct Tap(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    complete: bool,
    /// Something was answered: what comes next begins a new head.
    answered: bool,
}

impl Kept {
    fn take_in(&mut self, bytes: &[u8]) {
        if self.answered {
            self.forget();
            (self.complete, self.answered) = (false, false);
        }
        // Bodies may be long, and none of theirs is looked at.
        if self.complete || self.head.len() >= KEPT {
            return;
        }
        let mut rest = bytes.get(..KEPT - self.head.len()).unwrap_or(bytes);
        while let Some(at) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at + 1);
            self.head.extend_from_slice(line);
            self.complete = head::is_complete(&self.head);
            if self.complete {
                return;
            }
            rest = after;
        }
        self.head.extend_from_slice(rest);
    }

    fn forget(&mut self) {
        self.head.clear();
        self.head.shrink_to(USUAL);
    }
}

impl Tap {
    /// Checks the head of a request that was just parsed. A head that cannot be found (the request was sent before the
    /// previous one was answered) is refused only where its framing matters.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Fault> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after_method = kept.head.strip_prefix(request.method().as_str().as_bytes());
        if kept.complete && after_method.is_some_and(|rest| rest.starts_with(b" ")) {
            let checked = head::check(&kept.head);
            // Taken: a second request that came with the first must not pass by the first one's head.
            kept.forget();
            return checked;
        }
        if request.headers().contains_key(header::TRANSFER_ENCODING) {
            return Err(Fault::Unseen);
        }
        Ok(())
    }

    fn take_in(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take_in(bytes);
    }

    fn answered(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.answered = true;
    }
}

impl Tapped {
    pub(super) fn new(stream: Stream, first: Vec<u8>, place: Place) -> (Self, Tap) {
        let tap = Tap::default();
        tap.take_in(&first);
        let tapped = Self { stream, first, tap: tap.clone(), _place: place };
        (tapped, tap)
    }
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..count]);
            self.first.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.tap.take_in(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tap.answered();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tap.answered();
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
