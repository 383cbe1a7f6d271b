//! Follows the control room: one stream, begun again when it ends, from where it ended. Only whole lines count.

use super::control::{ControlError, innermost};
use super::kept::Mirror;
use super::{Contact, Lone};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use portcullis_domain::snapshot::Update;
use portcullis_gateway::FeedError;
use rand::RngExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Ten beats: whoever says nothing for so long is not there.
const SILENCE: Duration = Duration::from_secs(5);

/// The first wait before the stream is begun again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// No snapshot is longer.
const LONGEST_LINE: usize = 512 * 1024 * 1024;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("an update is not taken")]
    Feed(#[from] FeedError),
    #[error("the control room ended the stream")]
    Over,
    #[error("the control room says nothing")]
    Silence,
    #[error("an update has no end")]
    Endless,
}

/// Follows until `stop`.
pub(super) async fn run(lone: Arc<Lone>, stop: CancellationToken) {
    let mut wait = FIRST_WAIT;
    let mut anew = false;
    loop {
        let mut heard = false;
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = listen(&lone, anew, &mut heard) => ended,
        };
        // What does not fit to what is known here is asked for whole.
        anew = matches!(ended, Ended::Feed(_));
        say(&lone, &ended);
        wait = if heard { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
        // Not all gateways at the same moment.
        let jitter = lone.entropy.rng().random_range(0.5..1.5);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait.mul_f64(jitter)) => {}
        }
    }
}

async fn listen(lone: &Lone, anew: bool, heard: &mut bool) -> Ended {
    let after = lone.mirror().as_ref().map(Mirror::number).filter(|_| !anew);
    let body = match lone.control.listen(after).await {
        Ok(body) => body,
        Err(ControlError::Unknown) => {
            removed(lone);
            return ControlError::Unknown.into();
        }
        Err(error) => return error.into(),
    };
    match take_lines(lone, body, heard).await {
        Ok(()) => Ended::Over,
        Err(ended) => ended,
    }
}

async fn take_lines(lone: &Lone, mut body: Incoming, heard: &mut bool) -> Result<(), Ended> {
    let mut rest = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await.map_err(|_| Ended::Silence)?;
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| ControlError::Unreachable(innermost(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        let mut looked_at = rest.len();
        rest.extend_from_slice(&data);
        while let Some(end) = rest[looked_at..].iter().position(|byte| *byte == b'\n') {
            let news = rest.split_to(looked_at + end + 1);
            looked_at = 0;
            take(lone, &news).await?;
            *heard = true;
        }
        if rest.len() > LONGEST_LINE {
            return Err(Ended::Endless);
        }
    }
}

/// The gateway first, then the disk: what is on the disk was taken.
async fn take(lone: &Lone, news: &[u8]) -> Result<(), Ended> {
    lone.gateway.feed(news)?;
    if lone.set_contact(Contact::Heard) != Contact::Heard {
        tracing::info!(control = %lone.control.at(), "the control room is heard");
    }
    let update: Update = serde_json::from_slice(news).map_err(FeedError::Malformed)?;
    let as_of = match &update {
        Update::Ahead { .. } => return Ok(()),
        Update::Agents { as_of, .. }
        | Update::Fresh { as_of, .. }
        | Update::Full { as_of, .. }
        | Update::Revoked { as_of, .. } => *as_of,
    };
    let (has_changed, mirror) = {
        let mut mirror = lone.mirror();
        let has_changed = Mirror::apply(&mut mirror, update, lone.clock.now());
        // Cloned only when it is written.
        (has_changed, mirror.as_ref().filter(|_| has_changed || lone.keeper.is_due(as_of)).cloned())
    };
    if let Some(mirror) = mirror
        && let Err(error) = lone.keeper.keep(&mirror, has_changed).await
    {
        tracing::error!(error = %error, "what is known cannot be kept on the disk; a restart would begin without it");
    }
    Ok(())
}

/// Whoever is no gateway any more serves nobody, at once, also after a restart.
fn removed(lone: &Lone) {
    lone.gateway.forget();
    *lone.mirror() = None;
    if let Err(error) = lone.keeper.forget() {
        tracing::error!(error = %error, "what was known cannot be removed from the disk");
    }
}

/// Once for each change, not at every attempt.
fn say(lone: &Lone, ended: &Ended) {
    let contact = match ended {
        Ended::Control(ControlError::Unknown) => Contact::Removed,
        Ended::Control(_) | Ended::Feed(_) | Ended::Over | Ended::Silence | Ended::Endless => Contact::Silent,
    };
    if lone.set_contact(contact) == contact {
        tracing::debug!(error = ended as &dyn std::error::Error, "still without the control room");
        return;
    }
    let (control, error) = (lone.control.at(), ended as &dyn std::error::Error);
    match contact {
        Contact::Removed => tracing::error!(%control, "this gateway was removed: it serves nobody any more"),
        Contact::Heard | Contact::Silent => {
            let seconds = lone.config.max_staleness.as_secs();
            tracing::warn!(%control, error, seconds, "the control room is not heard; calls are served for so long");
        }
    }
}
