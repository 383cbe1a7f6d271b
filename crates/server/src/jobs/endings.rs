//! Tells issuers of connections that ended (PC-45, RFC 7009). Several nodes may do it at once: each attempt is one node's.

use crate::app::App;
use crate::connections::tell_issuers;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(2);

/// Runs until `stop`.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let told = tell_issuers(&app).await;
        if told > 0 {
            tracing::info!(told, "issuers of connections that ended were told");
        }
    }
}
