//! What a gateway knows, on its own disk: so that it can begin without the control room, while that counts.
//!
//! Two files: what is known, and up to when it was all there is to know, with the hash of the first. They are used only
//! together, and only while the moment is not older than news may be; revocations are among what is known.

use crate::data::write_private;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use portcullis_domain::principal::Revocation;
use portcullis_domain::snapshot::{FORMAT, Snapshot, Update};
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the gateway was told, in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mirror {
    /// What was understood when it was written.
    format: u32,
    /// Its number is the position in the feed up to which everything was heard.
    pub(super) snapshot: Snapshot,
    revocations: Vec<Revocation>,
    #[serde(skip, default = "never")]
    as_of: Timestamp,
}

fn never() -> Timestamp {
    Timestamp::from_seconds(i64::MIN)
}

/// Until when it was so.
#[derive(Serialize, Deserialize)]
struct Mark {
    as_of: Timestamp,
    /// Of the other file, base64url.
    sha256: String,
}

/// Writes and reads the files.
pub(super) struct Keeper {
    known: PathBuf,
    mark: PathBuf,
    max_staleness: Duration,
    written: Arc<Mutex<Option<Written>>>,
}

/// What is on the disk.
struct Written {
    sha256: String,
    as_of: Timestamp,
}

impl Mirror {
    /// After one more update; whether more than the moment is another.
    pub(super) fn apply(mirror: &mut Option<Self>, update: Update, now: Timestamp) -> bool {
        match (update, mirror) {
            (Update::Full { snapshot, revocations, as_of }, mirror) => {
                *mirror = Some(Self { format: FORMAT, snapshot: *snapshot, revocations, as_of });
                true
            }
            (Update::Fresh { as_of, .. }, Some(mirror)) => {
                mirror.as_of = as_of;
                false
            }
            (Update::Agents { number, agents, revocations, as_of, .. }, Some(mirror)) => {
                mirror.snapshot = mirror.snapshot.clone().with_agents(&agents, number);
                mirror.revoke(revocations, (as_of, now));
                true
            }
            (Update::Revoked { number, revocations, as_of }, Some(mirror)) => {
                mirror.snapshot.number = mirror.snapshot.number.max(number);
                mirror.revoke(revocations, (as_of, now));
                true
            }
            // What comes ahead is told within a control room only. The others the gateway refused: it knew of nothing before.
            (Update::Ahead { .. }, _)
            | (Update::Fresh { .. } | Update::Agents { .. } | Update::Revoked { .. }, None) => false,
        }
    }

    fn revoke(&mut self, new: Vec<Revocation>, (as_of, now): (Timestamp, Timestamp)) {
        self.revocations.retain(|revocation| !revocation.until.has_passed(now));
        self.revocations.extend(new);
        self.as_of = as_of;
    }

    /// The position in the feed.
    pub(super) fn number(&self) -> u64 {
        self.snapshot.number
    }

    /// For a gateway that knows nothing.
    pub(super) fn update(&self) -> Update {
        Update::Full {
            snapshot: Box::new(self.snapshot.clone()),
            revocations: self.revocations.clone(),
            as_of: self.as_of,
        }
    }
}

impl Keeper {
    pub(super) fn new(data: &Path, max_staleness: Duration) -> Self {
        Self {
            known: data.join("snapshot.json"),
            mark: data.join("snapshot.as-of.json"),
            max_staleness,
            written: Arc::default(),
        }
    }

    /// Whether the moment on the disk lags behind enough to be worth writing.
    pub(super) fn is_due(&self, as_of: Timestamp) -> bool {
        let every = (self.max_staleness / 4).clamp(Duration::from_secs(1), Duration::from_secs(30));
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.as_ref().is_none_or(|written| as_of >= written.as_of + every)
    }

    /// Writes it down: all of it, or only the moment where nothing else is another.
    pub(super) async fn keep(&self, mirror: &Mirror, has_changed: bool) -> io::Result<()> {
        let known = (has_changed || self.is_first()).then(|| serde_json::to_vec(mirror)).transpose()?;
        let (as_of, written) = (mirror.as_of, Arc::clone(&self.written));
        let (known_path, mark_path) = (self.known.clone(), self.mark.clone());
        let kept = tokio::task::spawn_blocking(move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            let sha256 = match (&known, &*written) {
                (Some(known), _) => {
                    write_private(&known_path, known)?;
                    hash(known)
                }
                (None, Some(before)) => before.sha256.clone(),
                (None, None) => return Ok(()),
            };
            let mark = Mark { as_of, sha256: sha256.clone() };
            write_private(&mark_path, &serde_json::to_vec(&mark)?)?;
            *written = Some(Written { sha256, as_of });
            Ok(())
        });
        kept.await.map_err(io::Error::other)?
    }

    fn is_first(&self) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Removes it: it counts no more, whatever its age.
    pub(super) fn forget(&self) -> io::Result<()> {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for path in [&self.mark, &self.known] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// What is kept, if it is whole and counts now. A moment ahead of our clock counts for nothing: how old it is, nobody knows.
    pub(super) fn load(&self, now: Timestamp) -> Option<Mirror> {
        let mark: Mark = serde_json::from_slice(&fs::read(&self.mark).ok()?).ok()?;
        let age = now.since(mark.as_of);
        if mark.as_of > now || age > self.max_staleness {
            tracing::info!(seconds = age.as_secs(), "what was known before is too old to serve by");
            return None;
        }
        let known = fs::read(&self.known).ok()?;
        let mirror = serde_json::from_slice::<Mirror>(&known).ok().filter(|_| hash(&known) == mark.sha256);
        // A program of before knew less: it may have left out what refuses.
        let mirror = mirror.filter(|mirror| mirror.format == FORMAT);
        let Some(mirror) = mirror else {
            tracing::warn!("what was known before is damaged, or of another version, and is not used");
            return None;
        };
        tracing::info!(seconds = age.as_secs(), "begins with what was known before");
        Some(Mirror { as_of: mark.as_of, ..mirror })
    }
}

fn hash(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}
