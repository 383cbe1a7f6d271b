//! The record as files, for whoever keeps it elsewhere and then cuts it (PC-50).

use super::{Open, Spool, segments};
use std::io;
use std::path::PathBuf;

/// One file of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Later ones have greater numbers; none is given twice.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Nothing is added to it any more.
    pub is_closed: bool,
}

impl Spool {
    pub(crate) fn segments(&self) -> io::Result<Vec<Segment>> {
        let open = self.lock();
        let mut numbers: Vec<u64> = segments(&open.dir)?.into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        let segment =
            |number| Segment { number, path: open.path(number), is_closed: !open.writes_to(number) };
        Ok(numbers.into_iter().map(segment).collect())
    }

    /// Removes a closed segment; what is there is counted again.
    pub(crate) fn cut(&self, number: u64) -> io::Result<bool> {
        let mut open = self.lock();
        if open.writes_to(number) {
            return Ok(false);
        }
        match std::fs::remove_file(open.path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        open.count_again();
        Ok(true)
    }
}

impl Open {
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.jsonl"))
    }

    fn writes_to(&self, number: u64) -> bool {
        self.segment.is_some() && self.number == number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SpoolSettings;

    #[test]
    fn pc_50_only_closed_segments_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let settings = SpoolSettings { dir: folder.path().to_owned(), max_bytes: 1024 };
        drop(Spool::open(&settings).unwrap());
        std::fs::write(folder.path().join("0000000001.jsonl"), "0123456789").unwrap();
        let spool = Spool::open(&settings).unwrap();
        let found: Vec<_> = spool.segments().unwrap().iter().map(|it| (it.number, it.is_closed)).collect();
        assert_eq!(found, [(1, true), (2, false)]);
        assert_eq!(spool.room().0, 10);
        assert!(!spool.cut(2).unwrap(), "it is written to");
        assert!(spool.cut(1).unwrap() && spool.cut(1).unwrap(), "and again, after a kill");
        assert_eq!((spool.segments().unwrap().len(), spool.room().0), (1, 0));
    }
}
