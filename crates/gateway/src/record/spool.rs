//! The record of decisions: appended to a file of this machine before a byte goes upstream (PC-50).
//!
//! `write(2)` before forwarding survives `kill -9`; only a strict record, which is also synced, survives power loss. A
//! full or broken spool refuses calls. Room for the outcome is reserved with the decision. Closed segments may be moved away
//! by whoever looks after the machine: what is there is counted again when it nears the bound.
//!
//! An outcome may wait a moment for the next record, while other calls are under way: nobody is served by its word, and the
//! two cost one `write(2)` together.

mod record;
mod segments;

pub(crate) use record::{Decided, Ended, Judgement, Streamed, What, milliseconds};
pub use segments::Segment as SpoolSegment;

use crate::settings::SpoolSettings;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// What the record of an outcome may take.
const OUTCOME_ROOM: u64 = 512;

/// A segment is closed when it is longer than this part of the whole.
const SEGMENTS: u64 = 16;

/// Beyond this part of the whole it is said that it fills.
const NEARLY: (u64, u64) = (4, 5);

/// The longest that an outcome waits for company.
const WAIT: Duration = Duration::from_millis(100);

/// More outcomes than this, in bytes, wait for nobody.
const MOST_WAITING: usize = 16 * 1024;

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
    /// Lines that go with the next write: outcomes, and decisions whose callers wait for it.
    waiting: Vec<u8>,
    /// What became of those decisions.
    batch: Arc<Batch>,
    /// Somebody will see to it that they go.
    is_settling: bool,
    /// It was said that it fills.
    is_told: bool,
}

/// Decisions that are written together, and into which file; none when they could not be.
type Batch = OnceLock<Option<Arc<File>>>;

/// A decision that waits to be written.
struct Gathered {
    batch: Arc<Batch>,
    /// Other calls are under way, which may have one, too.
    has_company: bool,
    /// Somebody sees to it already that what waits is written.
    is_seen_to: bool,
}

struct Segment {
    file: Arc<File>,
    bytes: u64,
}

impl Spool {
    /// Opens the folder and begins a new segment: a torn last line of a process that was killed stays where it is.
    pub(crate) fn open(settings: &SpoolSettings) -> io::Result<Self> {
        create_private_folder(&settings.dir)?;
        let segments = segments(&settings.dir)?;
        let mut open = Open {
            dir: settings.dir.clone(),
            max_bytes: settings.max_bytes,
            closed_bytes: segments.iter().map(|(_, bytes)| bytes).sum(),
            reserved: 0,
            // Also after all segments were moved away: no number is given twice.
            number: segments.iter().map(|(number, _)| *number).fold(noted(&settings.dir)?, u64::max),
            segment: None,
            waiting: Vec::new(),
            batch: Arc::default(),
            is_settling: false,
            is_told: false,
        };
        open.next_segment()?;
        Ok(Self { open: Arc::new(Mutex::new(open)) })
    }

    /// Records a decision. With [`Durability::Strict`] it is on the disk when this returns.
    ///
    /// Decisions that are made in the same moment are written together: each waits for those that are ready to run now, and
    /// the first that goes on writes for all.
    pub(crate) async fn decided(
        &self,
        decided: &Decided<'_>,
        durability: Durability,
    ) -> Result<Reserved, SpoolFailure> {
        let line = record::line(decided).map_err(SpoolFailure::Unwritable)?;
        self.written(&line, durability).await
    }

    async fn written(&self, line: &[u8], durability: Durability) -> Result<Reserved, SpoolFailure> {
        let Gathered { batch, has_company, is_seen_to } = self.lock().gather(line, OUTCOME_ROOM)?;
        let reserved = Reserved { spool: self.clone() };
        if has_company {
            // The caller may leave here, and nobody else may come.
            if !is_seen_to {
                self.settle_soon();
            }
            tokio::task::yield_now().await;
        }
        let strict = {
            let mut open = self.lock();
            let file = open.see_written(&batch)?;
            // Not the one that is written to by now: another may have been begun.
            match durability {
                Durability::Usual => None,
                Durability::Strict => Some(file),
            }
        };
        if let Some(file) = strict {
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
        self.lock().append(&line)
    }

    /// Writes what waits. Its failure is told: nobody waits for its success.
    fn settle(&self) {
        let mut open = self.lock();
        open.is_settling = false;
        if let Err(error) = open.write(&[]) {
            tracing::error!(error = %error, "outcomes could not be recorded");
        }
    }

    /// Sees to it that what waits does not wait for long.
    fn settle_soon(&self) {
        let spool = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(WAIT).await;
            spool.settle();
        });
    }

    /// What is written and promised, and what may be.
    pub(crate) fn room(&self) -> (u64, u64) {
        let open = self.lock();
        (open.used(), open.max_bytes)
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
        // Still within what was reserved: `self` gives it back only afterwards.
        let mut open = self.spool.lock();
        let others_are_under_way = open.reserved > OUTCOME_ROOM;
        if !others_are_under_way || open.waiting.len() + line.len() > MOST_WAITING {
            return open.write(&line).map_err(SpoolFailure::Unwritable);
        }
        open.waiting.extend_from_slice(&line);
        let is_seen_to = std::mem::replace(&mut open.is_settling, true);
        drop(open);
        if !is_seen_to {
            self.spool.settle_soon();
        }
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
    fn append(&mut self, line: &[u8]) -> Result<(), SpoolFailure> {
        if !self.has_room_for(line.len() as u64) {
            return Err(SpoolFailure::Full);
        }
        self.write(line).map_err(SpoolFailure::Unwritable)
    }

    /// Takes in a decision that is to be written, with room for its outcome. Whoever has company sees to it, if nobody does.
    fn gather(&mut self, line: &[u8], reserve: u64) -> Result<Gathered, SpoolFailure> {
        if !self.has_room_for((line.len() as u64).saturating_add(reserve)) {
            return Err(SpoolFailure::Full);
        }
        let has_company = self.reserved > 0;
        self.waiting.extend_from_slice(line);
        self.reserved += reserve;
        let is_seen_to = has_company && std::mem::replace(&mut self.is_settling, true);
        Ok(Gathered { batch: Arc::clone(&self.batch), has_company, is_seen_to })
    }

    /// Returns when the decisions of `batch` are written, by whomever: where.
    fn see_written(&mut self, batch: &Batch) -> Result<Arc<File>, SpoolFailure> {
        if batch.get().is_none() {
            self.write(&[]).map_err(SpoolFailure::Unwritable)?;
        }
        let lost = || io::Error::other("the records of this moment could not be written");
        batch.get().cloned().flatten().ok_or_else(lost).map_err(SpoolFailure::Unwritable)
    }

    fn has_room_for(&mut self, more: u64) -> bool {
        let nearly = self.max_bytes / NEARLY.1 * NEARLY.0;
        let mut wanted = self.used().saturating_add(more);
        if wanted <= nearly {
            self.is_told = false;
            return true;
        }
        if !self.is_told || wanted > self.max_bytes {
            self.count_again();
            wanted = self.used().saturating_add(more);
            if wanted > nearly && !std::mem::replace(&mut self.is_told, true) {
                let (used, bound) = (wanted, self.max_bytes);
                tracing::warn!(used, bound, "the record of calls fills: move closed segments away");
            }
        }
        wanted <= self.max_bytes
    }

    /// Written and promised.
    fn used(&self) -> u64 {
        let segment = self.segment.as_ref().map_or(0, |segment| segment.bytes);
        let waiting = self.waiting.len() as u64;
        self.closed_bytes.saturating_add(segment).saturating_add(self.reserved).saturating_add(waiting)
    }

    /// What was moved away counts no more.
    fn count_again(&mut self) {
        match segments(&self.dir) {
            Ok(segments) => {
                let current = self.segment.as_ref().map(|_| self.number);
                let closed = segments.iter().filter(|(number, _)| Some(*number) != current);
                self.closed_bytes = closed.map(|(_, bytes)| bytes).sum();
            }
            Err(error) => tracing::error!(error = %error, "the spool cannot be read; it counts as it was"),
        }
    }

    /// Writes a line, or none, after what waits.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.waiting.is_empty() {
            return self.write_out(line);
        }
        let mut lines = std::mem::take(&mut self.waiting);
        lines.extend_from_slice(line);
        let written = self.write_out(&lines);
        // Whoever waits for it holds the one of before.
        let file = written.as_ref().ok().and_then(|()| self.segment_handle());
        let _was_open = std::mem::take(&mut self.batch).set(file);
        // Also when it failed: an outcome that may be there already is not written twice.
        lines.clear();
        self.waiting = lines;
        written
    }

    fn write_out(&mut self, line: &[u8]) -> io::Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        let is_long = |segment: &Segment| segment.bytes > self.max_bytes / SEGMENTS;
        if self.segment.as_ref().is_none_or(is_long) {
            self.next_segment()?;
        }
        let Some(segment) = &mut self.segment else {
            return Err(io::Error::other("no segment is open"));
        };
        match (&*segment.file).write_all(line) {
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
        note(&self.dir, self.number)?;
        let file = private(OpenOptions::new().append(true).create_new(true)).open(self.path(self.number))?;
        // A record that is synced is no good in a file whose name a power loss takes away.
        sync_folder(&self.dir)?;
        self.segment = Some(Segment { file: Arc::new(file), bytes: 0 });
        Ok(())
    }

    fn close_segment(&mut self) {
        if let Some(segment) = self.segment.take() {
            let bytes = segment.file.metadata().map_or(segment.bytes, |file| file.len());
            self.closed_bytes = self.closed_bytes.saturating_add(bytes);
        }
    }

    fn segment_handle(&self) -> Option<Arc<File>> {
        self.segment.as_ref().map(|segment| Arc::clone(&segment.file))
    }
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// Holds the highest number that was given.
const NEWEST: &str = "newest";

fn noted(dir: &Path) -> io::Result<u64> {
    match std::fs::read_to_string(dir.join(NEWEST)) {
        Ok(text) => {
            text.trim().parse().map_err(|_| io::Error::other("the file spool/newest holds no number"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whole or not at all, and before the segment is there.
fn note(dir: &Path, number: u64) -> io::Result<()> {
    let new = dir.join(".newest.new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&new)?;
    writeln!(file, "{number}")?;
    file.sync_all()?;
    std::fs::rename(new, dir.join(NEWEST))
}

/// The names in a folder, on the disk. Where folders cannot be opened there is no such thing to be done.
fn sync_folder(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _none = dir;
    Ok(())
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

/// Number and length of every segment that is there.
fn segments(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Some(number) = segment_number(&entry.path()) else {
            continue;
        };
        match entry.metadata() {
            Ok(file) => segments.push((number, file.len())),
            // Moved away in this very moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(segments)
}

fn segment_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".jsonl")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn pc_50_a_decision_that_somebody_else_wrote_is_synced_where_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let settings = SpoolSettings { dir: folder.path().to_owned(), max_bytes: 1024 * 1024 };
        let spool = Spool::open(&settings).unwrap();
        let mut open = spool.lock();
        let Gathered { batch, .. } = open.gather(b"decided\n", 0).unwrap();
        open.write(b"another\n").unwrap();
        open.next_segment().unwrap();
        let file = open.see_written(&batch).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 16);
        let Gathered { batch: lost, .. } = open.gather(b"decided\n", 0).unwrap();
        let _never_written = lost.set(None);
        assert!(open.see_written(&lost).is_err());
    }

    /// Decisions of the same moment, beside a call that is under way already; what is in the file when each of them returns.
    async fn together(spool: &Spool, count: usize) -> Vec<Result<String, SpoolFailure>> {
        let decided = (0..count).map(|number| async move {
            let reserved = spool.written(format!("decided {number}\n").as_bytes(), Durability::Usual).await?;
            let open = spool.lock();
            let text = std::fs::read_to_string(open.path(open.number)).unwrap();
            drop(open);
            drop(reserved);
            Ok(text)
        });
        futures_util::future::join_all(decided).await
    }

    #[tokio::test]
    async fn pc_50_decisions_that_are_written_together_are_there_before_any_is_acted_on() {
        let folder = tempfile::tempdir().unwrap();
        let settings = SpoolSettings { dir: folder.path().to_owned(), max_bytes: 1024 * 1024 };
        let spool = Spool::open(&settings).unwrap();
        let _under_way = spool.written(b"first\n", Durability::Usual).await.unwrap();
        let all = ["first", "decided 0", "decided 1", "decided 2", "decided 3", "decided 4"];
        for text in together(&spool, 5).await {
            assert_eq!(text.unwrap().lines().collect::<Vec<_>>(), all);
        }
        assert!(spool.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn pc_50_decisions_that_cannot_be_written_together_are_all_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("spool");
        let settings = SpoolSettings { dir: dir.clone(), max_bytes: 1024 * 1024 };
        let spool = Spool::open(&settings).unwrap();
        let _under_way = spool.written(b"first\n", Durability::Usual).await.unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        spool.lock().close_segment();
        let refused = together(&spool, 5).await;
        assert!(refused.iter().all(|decided| matches!(decided, Err(SpoolFailure::Unwritable(_)))));
        assert_eq!(spool.lock().reserved, OUTCOME_ROOM, "that of the call under way");
        create_private_folder(&dir).unwrap();
        let written: Vec<_> = together(&spool, 2).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(written, ["decided 0\ndecided 1\n"; 2], "what was refused is not written later");
        let bound = spool.lock().used() + 2 * (OUTCOME_ROOM + 10);
        spool.lock().max_bytes = bound;
        let full = together(&spool, 3).await;
        let outcomes = full.iter().map(|decided| matches!(decided, Err(SpoolFailure::Full)));
        assert_eq!(outcomes.collect::<Vec<_>>(), [false, false, true]);
    }

    #[tokio::test]
    async fn pc_50_a_decision_whose_caller_left_is_written_soon() {
        let folder = tempfile::tempdir().unwrap();
        let settings = SpoolSettings { dir: folder.path().to_owned(), max_bytes: 1024 * 1024 };
        let spool = Spool::open(&settings).unwrap();
        let _under_way = spool.written(b"first\n", Durability::Usual).await.unwrap();
        let file = spool.lock().path(1);
        for left in ["left\n", "left too\n"] {
            let decided = spool.written(left.as_bytes(), Durability::Usual);
            assert!(decided.now_or_never().is_none(), "it waits for others of its moment");
            let is_there = async {
                while !std::fs::read_to_string(&file).unwrap().ends_with(left) {
                    tokio::time::sleep(WAIT / 10).await;
                }
            };
            tokio::time::timeout(50 * WAIT, is_there).await.expect("on a quiet node, too");
        }
        assert_eq!(spool.lock().reserved, OUTCOME_ROOM);
    }

    #[test]
    fn pc_50_no_segment_has_the_number_of_another_that_was_moved_away() {
        let folder = std::env::temp_dir().join(format!("portcullis-spool-{}", std::process::id()));
        let settings = SpoolSettings { dir: folder.clone(), max_bytes: 1024 * 1024 };
        for number in 1..=3 {
            drop(Spool::open(&settings).unwrap());
            let found: Vec<u64> = segments(&folder).unwrap().into_iter().map(|(number, _)| number).collect();
            assert_eq!(found, [number]);
            std::fs::remove_file(folder.join(format!("{number:010}.jsonl"))).unwrap();
        }
        std::fs::write(folder.join(NEWEST), "what").unwrap();
        assert!(Spool::open(&settings).is_err(), "it is not guessed");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
