//! Shows the bytes of requests, while they pass, to whoever follows them ([`Course`]), so that framing can be checked as it was
//! sent.

use super::course::Course;
use super::head::{Fault, Framing};
use super::places::Place;
use super::stream::Stream;
use http::{Request, header};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose first bytes were read already, and whose request heads are checked.
pub(super) struct Tapped {
    stream: Stream,
    first: Vec<u8>,
    tap: Tap,
    /// Given back with the connection, which outlives its HTTP where it is upgraded.
    _place: Place,
}

/// What the bytes that passed say.
#[derive(Clone, Default)]
pub(super) struct Tap(Arc<Mutex<Course>>);

impl Tap {
    /// How the head of a request fared that was just parsed: each is asked about once, in order.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Fault> {
        let framing = self.course().next().unwrap_or(Err(Fault::Unseen))?;
        let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        // Whatever else was parsed than was followed: one of the two was cut wrongly.
        if is_chunked == matches!(framing, Framing::Chunked) { Ok(()) } else { Err(Fault::Unseen) }
    }

    /// The connection was upgraded: what comes now is no HTTP.
    pub(super) fn leave(&self) {
        self.course().leave();
    }

    fn follow(&self, bytes: &[u8]) {
        self.course().follow(bytes);
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tapped {
    pub(super) fn new(stream: Stream, first: Vec<u8>, place: Place) -> (Self, Tap) {
        let tap = Tap::default();
        tap.follow(&first);
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
        self.tap.follow(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
