//! Work that takes long: not where requests are answered, and for two at a time.

use super::error::Refusal;
use crate::fault::Fault;
use tokio::sync::Semaphore;

static PLACES: Semaphore = Semaphore::const_new(2);

/// Does it on a thread of its own. The place is held until the work has ended, even if nobody waits for it any more.
pub(super) async fn aside<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: Send + 'static,
    Refusal: From<E>,
{
    let place = PLACES.acquire().await.map_err(|_| Fault::Shape("a place to work"))?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    Ok(done.await.map_err(|_| Fault::Shape("work that was set aside"))??)
}
