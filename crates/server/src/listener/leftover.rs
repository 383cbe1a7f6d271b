//! What of a request body nobody read. A connection can be used again only when it is gone, and a client must be told
//! when it is not: otherwise its next request dies on a connection that it believes to be good.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// More is not waited for.
const BYTES: u64 = 256 * 1024;
const TIME: Duration = Duration::from_millis(500);

/// A body that comes back here when it is dropped before its end.
pub(super) struct Lent {
    body: Option<Incoming>,
    lender: Lender,
}

/// Where an unread body comes back to.
#[derive(Clone, Default)]
pub(super) struct Lender(Arc<Mutex<Option<Incoming>>>);

impl Lender {
    pub(super) fn lend(&self, body: Incoming) -> Lent {
        Lent { body: Some(body), lender: self.clone() }
    }

    /// Reads away what came back; if that is too much, says in the answer that the connection ends.
    pub(super) async fn settle(&self, expects_continue: bool, answer: &mut HeaderMap) {
        let back = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = back else {
            return;
        };
        // A client that waits for our word before it sends its body has that word now: it is the answer.
        if expects_continue || !read_away(body).await {
            answer.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

async fn read_away(mut body: Incoming) -> bool {
    if body.size_hint().lower() > BYTES {
        return false;
    }
    let reading = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return false;
            };
            read += frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
            if read > BYTES {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(TIME, reading).await.unwrap_or(false)
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None) = frame {
            // Of a body in chunks nothing else says that it was read to its end.
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.lender.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
