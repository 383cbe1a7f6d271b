//! What this gateway saw of tools, told to the control room, where it becomes pins or waits for a person (PC-33). Here it is
//! held already.

use super::Lone;
use super::control::ControlError;
use portcullis_domain::pins::Sighting;
use std::time::Duration;

/// The first wait before it is told again.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// So often. What is not told then is told when it is seen again.
const ATTEMPTS: u32 = 5;

/// Tells what was seen. What there is nothing of is not told.
pub(super) async fn tell(lone: &Lone, sighting: Sighting) {
    if sighting.tools.is_empty() {
        return;
    }
    for attempt in 0..ATTEMPTS {
        match lone.control.tell(&sighting).await {
            Ok(()) => return,
            Err(error @ (ControlError::Refused { .. } | ControlError::Unknown)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what was seen of tools is not taken"
                );
                return;
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "what was seen of tools is told again"
                );
                tokio::time::sleep(FIRST_WAIT * 2_u32.pow(attempt)).await;
            }
        }
    }
    tracing::warn!("what was seen of tools could not be told; it is told when it is seen again");
}
