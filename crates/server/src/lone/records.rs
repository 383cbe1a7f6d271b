//! Brings what was recorded to the control room, in order, and cuts a segment when all of it is kept there (PC-50). While
//! the control room is away the record grows, and a full one refuses calls, as at home.

use super::Lone;
use super::control::{Brought, ControlError};
use crate::gateways::wire::MOST_RECORD;
use bytes::Bytes;
use portcullis_gateway::SpoolSegment;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What was recorded is kept at the control room after this, if that is there.
const EVERY: Duration = Duration::from_secs(1);

/// While it is not.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// At the end, for what was not brought yet.
const LAST: Duration = Duration::from_secs(1);

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the record of calls cannot be read")]
    Disk(#[from] io::Error),
}

/// How far each segment was brought. A new process begins with each anew: what is kept already is compared, not doubled.
type Progress = BTreeMap<u64, u64>;

/// Brings until `stop`, and then the rest.
pub(super) async fn run(lone: Arc<Lone>, stop: CancellationToken) {
    let (mut brought, mut wait) = (Progress::new(), EVERY);
    let mut is_failing = false;
    while !stop.is_cancelled() {
        match round(&lone, &mut brought).await {
            Ok(()) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!("the record of calls is brought to the control room again");
                }
                wait = EVERY;
            }
            Err(failure) => {
                if !std::mem::replace(&mut is_failing, true) {
                    let error = &failure as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        "the record of calls is not brought to the control room; it is kept here"
                    );
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    // What is not brought now is brought after the next start.
    let _best_effort = tokio::time::timeout(LAST, round(&lone, &mut brought)).await;
}

async fn round(lone: &Lone, brought: &mut Progress) -> Result<(), Failure> {
    for segment in lone.gateway.segments()? {
        let mut offset = brought.get(&segment.number).copied().unwrap_or(0);
        loop {
            let piece = read(segment.clone(), offset).await?;
            if piece.is_empty() {
                break;
            }
            let end = offset + piece.len() as u64;
            offset = match lone.control.bring(segment.number, offset, piece).await? {
                Brought::Kept => end,
                // It lost what it had acknowledged, or never had it.
                Brought::GoOnAt(bytes) if bytes < offset => bytes,
                Brought::GoOnAt(_) => return Err(ControlError::Garbled.into()),
            };
            brought.insert(segment.number, offset);
        }
        if segment.is_closed && lone.gateway.cut(segment.number)? {
            brought.remove(&segment.number);
        }
    }
    Ok(())
}

/// The next piece: of the segment that is written to, whole lines only.
async fn read(segment: SpoolSegment, offset: u64) -> io::Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut file = File::open(&segment.path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut piece = Vec::new();
        file.take(MOST_RECORD as u64).read_to_end(&mut piece)?;
        if !segment.is_closed {
            let end = piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            piece.truncate(end);
        }
        Ok(piece.into())
    });
    read.await.map_err(io::Error::other)?
}
