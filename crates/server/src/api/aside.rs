//! Work that takes long: not where requests are answered, and for two at a time.

use super::error::Refusal;
use crate::fault::Fault;
use tokio::sync::{Semaphore, oneshot};

static PLACES: Semaphore = Semaphore::const_new(2);

/// Does it on a thread of its own, which ends with it: what a large fleet took for a moment is not kept for the next one. The
/// place is held until the work has ended, even if nobody waits for it any more.
pub(super) async fn aside<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: Send + 'static,
    Refusal: From<E>,
{
    let place = PLACES.acquire().await.map_err(|_| Fault::Shape("a place to work"))?;
    let (done, doing) = oneshot::channel();
    let span = tracing::Span::current();
    let work = move || {
        let _place = place;
        let _given_up = done.send(span.in_scope(work));
    };
    let began = std::thread::Builder::new().name("aside".to_owned()).spawn(work);
    began.map_err(|_| Fault::Shape("a thread to work on"))?;
    Ok(doing.await.map_err(|_| Fault::Shape("work that was set aside"))??)
}
