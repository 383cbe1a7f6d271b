//! The record of decisions: appended to a file of this machine before a byte goes upstream (`product.md` 5.4).
//!
//! `write(2)` before forwarding survives `kill -9`; only a strict record, which is also synced, survives power loss. A
//! full or broken spool refuses calls. Room for the outcome is reserved with the decision.

mod record;

pub(crate) use record::{Decided, Ended, Judgement};

use crate::settings::SpoolSettings;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What the record of an outcome may take.
const OUTCOME_ROOM: u64 = 512;

/// A segment is closed when it is longer than this part of the whole.
const SEGMENTS: u64 = 16;

/// Why nothing could be recorded. Then nothing may be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolFailure {
    #[error("the spool is full")]
    Full,
    #[error("the spool cannot be written")]
    Unwritable(#[source] io::Error),
}

/// The spool of one gateway. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Spool {
    open: Arc<Mutex<Open>>,
}

struct Open {
    dir: PathBuf,
    max_bytes: u64,
    /// Of closed segments.
    closed_bytes: u64,
    /// Promised to outcomes of calls that are under way.
    reserved: u64,
    number: u64,
    segment: Option<Segment>,
}

struct Segment {
    file: File,
    bytes: u64,
}

impl Spool {
    /// Opens the folder and begins a new segment: a torn last line of a process that was killed stays where it is.
    pub(crate) fn open(settings: &SpoolSettings) -> io::Result<Self> {
        create_private_folder(&settings.dir)?;
        let mut closed_bytes = 0;
        let mut number = 0;
        for entry in std::fs::read_dir(&settings.dir)? {
            let entry = entry?;
            if let Some(found) = segment_number(&entry.path()) {
                closed_bytes += entry.metadata()?.len();
                number = number.max(found);
            }
        }
        let mut open = Open {
            dir: settings.dir.clone(),
            max_bytes: settings.max_bytes,
            closed_bytes,
            reserved: 0,
            number,
            segment: None,
        };
        open.next_segment()?;
        Ok(Self { open: Arc::new(Mutex::new(open)) })
    }

    /// Records a decision. With [`Durability::Strict`] it is on the disk when this returns.
    pub(crate) async fn decided(
        &self,
        decided: &Decided<'_>,
        durability: Durability,
    ) -> Result<Reserved, SpoolFailure> {
        let line = record::line(decided).map_err(SpoolFailure::Unwritable)?;
        let strict = {
            let mut open = self.lock();
            open.append(&line, OUTCOME_ROOM)?;
            match durability {
                Durability::Usual => None,
                Durability::Strict => open.segment_handle(),
            }
        };
        let reserved = Reserved { spool: self.clone() };
        if let Some(file) = strict {
            let file = file.map_err(SpoolFailure::Unwritable)?;
            tokio::task::spawn_blocking(move || file.sync_data())
                .await
                .map_err(io::Error::other)
                .and_then(|synced| synced)
                .map_err(SpoolFailure::Unwritable)?;
        }
        Ok(reserved)
    }

    /// Records a refusal; there will be no outcome.
    pub(crate) fn refused(&self, decided: &Decided<'_>) -> Result<(), SpoolFailure> {
        let line = record::line(decided).map_err(SpoolFailure::Unwritable)?;
        self.lock().append(&line, 0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a record must survive power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Strict,
    Usual,
}

/// Room for one outcome; given back when it is recorded, or when there will be none.
pub(crate) struct Reserved {
    spool: Spool,
}

impl Reserved {
    /// Records how the call ended.
    pub(crate) fn ended(self, ended: &Ended<'_>) -> Result<(), SpoolFailure> {
        let line = record::line(ended).map_err(SpoolFailure::Unwritable)?;
        let spool = self.spool.clone();
        let mut open = spool.lock();
        // Still within what was reserved: `self` gives it back only afterwards.
        open.write(&line).map_err(SpoolFailure::Unwritable)?;
        drop(open);
        drop(self);
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut open = self.spool.lock();
        open.reserved = open.reserved.saturating_sub(OUTCOME_ROOM);
    }
}

impl Open {
    fn append(&mut self, line: &[u8], reserve: u64) -> Result<(), SpoolFailure> {
        let segment_bytes = self.segment.as_ref().map_or(0, |segment| segment.bytes);
        let wanted = (line.len() as u64)
            .saturating_add(reserve)
            .saturating_add(self.closed_bytes)
            .saturating_add(segment_bytes)
            .saturating_add(self.reserved);
        if wanted > self.max_bytes {
            return Err(SpoolFailure::Full);
        }
        self.write(line).map_err(SpoolFailure::Unwritable)?;
        self.reserved += reserve;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let is_long = |segment: &Segment| segment.bytes > self.max_bytes / SEGMENTS;
        if self.segment.as_ref().is_none_or(is_long) {
            self.next_segment()?;
        }
        let Some(segment) = &mut self.segment else {
            return Err(io::Error::other("no segment is open"));
        };
        match segment.file.write_all(line) {
            Ok(()) => {
                segment.bytes += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Part of the line may be there. It stays the last of its segment; the next line begins another.
                self.close_segment();
                Err(error)
            }
        }
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.close_segment();
        self.number += 1;
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(self.dir.join(format!("{:010}.jsonl", self.number)))?;
        self.segment = Some(Segment { file, bytes: 0 });
        Ok(())
    }

    fn close_segment(&mut self) {
        if let Some(segment) = self.segment.take() {
            let bytes = segment.file.metadata().map_or(segment.bytes, |file| file.len());
            self.closed_bytes = self.closed_bytes.saturating_add(bytes);
        }
    }

    fn segment_handle(&self) -> Option<io::Result<File>> {
        self.segment.as_ref().map(|segment| segment.file.try_clone())
    }
}

fn create_private_folder(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir)
}

fn segment_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".jsonl")?.parse().ok()
}
