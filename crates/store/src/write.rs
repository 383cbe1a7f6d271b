//! A write on its way to the database: the closure, what it works on, and who waits for the answer.

use crate::error::Error;
use crate::tx::{Recorded, Tx};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use portcullis_oauth::time::Timestamp;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// A closure works in memory and runs statements: one that ends none for so long hangs, and would hold up all others.
const LONGEST_STATEMENT: Duration = Duration::from_secs(10);

/// A fleet of thousands takes seconds where the machine has nothing else to do. Nothing takes longer than so many times the
/// above.
const MOST_TIMES: usize = 6;

/// A write whose types are forgotten, so that a queue can hold it.
pub(crate) trait Write: Send {
    fn now(&self) -> Timestamp;
    /// Runs the closure; keeps what it gives.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), Error>>;
    /// Answers with what was kept, or the error.
    fn answer(self: Box<Self>, outcome: Result<(), Error>);
}

pub(crate) struct Job<S, F, T> {
    pub(crate) now: Timestamp,
    pub(crate) input: S,
    pub(crate) closure: F,
    pub(crate) kept: Option<T>,
    pub(crate) asker: oneshot::Sender<Result<T, Error>>,
}

impl<S, F, T> Write for Job<S, F, T>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
    F: for<'t> Fn(&'t S, &'t mut Tx) -> BoxFuture<'t, Result<Recorded<T>, Error>>,
    F: Send + Sync + 'static,
{
    fn now(&self) -> Timestamp {
        self.now
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async move {
            self.kept = None;
            let recorded = (self.closure)(&self.input, tx).await?;
            self.kept = Some(recorded.into_value());
            Ok(())
        })
    }

    fn answer(self: Box<Self>, outcome: Result<(), Error>) {
        let Self { kept, asker, .. } = *self;
        let answer = outcome.and_then(|()| kept.ok_or_else(|| Error::unavailable("a write gave nothing")));
        // Whoever asked may have gone away; the write is as durable as any.
        drop(asker.send(answer));
    }
}

/// Runs a write in a transaction, the changes of the feed last; gives the newest of their numbers. A closure that
/// panics or hangs fails alone.
pub(crate) async fn run(write: &mut dyn Write, tx: &mut Tx) -> Result<Option<u64>, Error> {
    let ended = tx.connection.ended();
    let mut guarded = std::pin::pin!(
        AssertUnwindSafe(async {
            write.run(tx).await?;
            tx.write_changes().await
        })
        .catch_unwind()
    );
    for _ in 0..MOST_TIMES {
        let before = ended.load(Ordering::Relaxed);
        match tokio::time::timeout(LONGEST_STATEMENT, &mut guarded).await {
            Ok(Ok(result)) => return result,
            Ok(Err(_panic)) => {
                tracing::error!("a write closure panicked");
                return Err(Error::unavailable("a write closure panicked"));
            }
            Err(_elapsed) if ended.load(Ordering::Relaxed) == before => break,
            Err(_elapsed) => {}
        }
    }
    Err(Error::unavailable("a write took too long"))
}
