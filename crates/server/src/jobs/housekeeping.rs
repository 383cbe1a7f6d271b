//! Removes rows past their end, now and then. Several nodes may do it at once; what is gone is gone.

use crate::app::App;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_mins(10);

/// Runs until `stop`.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        match once(&app).await {
            Ok(rows) => tracing::debug!(rows, "housekeeping done"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "housekeeping failed, and is tried again"
                );
            }
        }
    }
}

/// One round; how many rows went.
pub(crate) async fn once(app: &App) -> Result<u64, portcullis_store::Error> {
    app.store
        .write(app.clock.now(), (), |(), tx| {
            Box::pin(async move {
                let rows = tx.purge().await?;
                let event = Event::new(Kind::HousekeepingDone, Outcome::Allowed, Actor::System);
                tx.record(&event.with("rows", rows), rows).await
            })
        })
        .await
}
