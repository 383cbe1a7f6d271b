//! Whether an answer over HTTP/2 is taken (STRM-08, HTTP-12). One whose reader stopped reading is given up after a while, and
//! it alone: others on the connection, which may be a proxy's, are no worse for it. Over HTTP/1.1 the connection is the answer's
//! own, and [`super::activity`] ends it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

tokio::task_local! {
    /// Of the request that this task serves.
    static OF_THIS_REQUEST: Taken;
}

/// Since when the newest piece of an answer waits to be taken. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<Mutex<Option<Instant>>>);

impl Taken {
    /// Of the answer to the request that is served here, if somebody looks.
    pub(super) fn of_this_request() -> Option<Self> {
        OF_THIS_REQUEST.try_with(Self::clone).ok()
    }

    /// The next piece is wanted: those before were taken.
    pub(super) fn wanted(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A piece was handed out.
    pub(super) fn handed(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns when a piece has waited for `patience`, or up to twice as long.
    async fn stalls(&self, patience: Duration) {
        loop {
            tokio::time::sleep(patience).await;
            let handed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if handed.is_some_and(|handed| handed.elapsed() >= patience) {
                return;
            }
        }
    }
}

/// Serves each request of an HTTP/2 connection in a task of its own, and leaves those whose answers are not taken: they are
/// reset.
#[derive(Clone)]
pub(super) struct Patient(pub(super) Duration);

impl<F> hyper::rt::Executor<F> for Patient
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        let Self(patience) = *self;
        tokio::spawn(async move {
            let taken = Taken::default();
            tokio::select! {
                () = OF_THIS_REQUEST.scope(taken.clone(), request) => {}
                () = taken.stalls(patience) => tracing::debug!("an answer that nobody takes is given up"),
            }
        });
    }
}
