//! From the end of the record to its beginning, line by line, in pieces of bounded size.

use super::{Line, Position};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// What is read at once.
const PIECE: u64 = 64 * 1024;

/// The gateway writes no line as long as this.
const LONGEST_LINE: usize = 1024 * 1024;

/// One line of the record, or what is there in place of one.
#[derive(Debug)]
pub enum Read {
    /// A line, and where it begins.
    Line(Position, Line),
    /// The last line of a segment that has no end: its process was killed, or writes it right now.
    Torn(Position),
    /// A line that is none of ours.
    Unreadable(Position),
}

/// Everything, newest first.
pub struct Newest {
    /// The newest last.
    segments: Vec<(u64, PathBuf)>,
    open: Option<Segment>,
    before: Option<Position>,
    /// How much was read.
    bytes: u64,
}

struct Segment {
    number: u64,
    file: File,
    /// What lies before it was not read yet.
    at: u64,
    /// Begins at `at`; up to the first line end it belongs to a line that begins earlier.
    rest: Vec<u8>,
    /// Whole lines that were read, the newest last.
    lines: Vec<(u64, Vec<u8>)>,
}

impl Newest {
    /// Of the record in this folder, what lies before a position. Without a folder there is no record yet.
    pub fn of(folder: &Path, before: Option<Position>) -> io::Result<Self> {
        let mut segments = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { segments, open: None, before, bytes: 0 });
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jsonl"));
            if let Some(number) = name.and_then(|name| name.parse().ok()) {
                segments.push((number, path));
            }
        }
        segments.retain(|(number, _)| before.is_none_or(|before| *number <= before.segment));
        segments.sort_unstable();
        Ok(Self { segments, open: None, before, bytes: 0 })
    }

    /// How much was read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line, older than the one before.
    pub fn next_line(&mut self) -> io::Result<Option<Read>> {
        loop {
            let Some(segment) = &mut self.open else {
                let Some((number, path)) = self.segments.pop() else { return Ok(None) };
                match Segment::open(number, &path, self.before) {
                    Ok(segment) => self.open = Some(segment),
                    // Moved away in this very moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            if let Some((offset, line)) = segment.lines.pop() {
                return Ok(Some(read(Position { segment: segment.number, offset }, &line)));
            }
            if segment.at == 0 && segment.rest.is_empty() {
                self.open = None;
                continue;
            }
            self.bytes += segment.read_on()?;
        }
    }
}

impl Segment {
    fn open(number: u64, path: &Path, before: Option<Position>) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let at = before
            .filter(|before| before.segment == number)
            .map_or(length, |before| before.offset.min(length));
        Ok(Self { number, file, at, rest: Vec::new(), lines: Vec::new() })
    }

    /// Reads one more piece; the whole lines in it become `lines`.
    fn read_on(&mut self) -> io::Result<u64> {
        let length = self.at.min(PIECE);
        self.at -= length;
        let mut piece = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut piece)?;
        piece.append(&mut self.rest);
        let first = match (self.at, piece.iter().position(|byte| *byte == b'\n')) {
            (0, _) => 0,
            (_, Some(end)) => end + 1,
            (_, None) => piece.len(),
        };
        let whole = piece.split_off(first);
        if piece.len() > LONGEST_LINE {
            // Whatever it is, it is no line of ours: without its end it is counted as torn.
            piece.truncate(LONGEST_LINE);
        }
        self.rest = piece;
        let mut offset = self.at + first as u64;
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            self.lines.push((offset, line.to_vec()));
            offset += line.len() as u64;
        }
        if self.at == 0 {
            self.rest.clear();
        }
        Ok(length)
    }
}

fn read(at: Position, line: &[u8]) -> Read {
    let Some(line) = line.strip_suffix(b"\n") else { return Read::Torn(at) };
    match serde_json::from_slice(line) {
        Ok(line) => Read::Line(at, line),
        Err(_) => Read::Unreadable(at),
    }
}
