//! Hears of changes that other processes made.

use crate::store::advance;
use sqlx::postgres::{PgListener, PgPool};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

const CHANNEL: &str = "portcullis_change";
const PAUSE: Duration = Duration::from_secs(1);

/// Listens for as long as it lives.
pub(super) struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    pub(super) async fn start(pool: &PgPool, changes: watch::Sender<u64>) -> Result<Self, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(tokio::spawn(follow(listener, changes)).abort_handle()))
    }
}

async fn follow(mut listener: PgListener, changes: watch::Sender<u64>) {
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => {
                if let Ok(newest) = notification.payload().parse() {
                    advance(&changes, newest);
                }
            }
            // The connection was lost, and what was said meanwhile too: everybody looks.
            Ok(None) => changes.send_modify(|_| {}),
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => {
                tracing::debug!(%error, "not listening for changes");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
