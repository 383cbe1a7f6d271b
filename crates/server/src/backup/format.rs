//! The file of a backup: JSON, a line at a time. First what it is, then the rows of each table, last a SHA-256 of all that
//! stands before, so that a file that was cut or changed is found.

use crate::data::NewFile;
use aws_lc_rs::digest;
use portcullis_oauth::time::Timestamp;
use portcullis_store::backup::shapes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

const FORMAT: u64 = 1;

/// No row of ours is nearly as long.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// The first line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Header {
    /// That it is a backup, and in which format.
    portcullis_backup: u64,
    /// The version of the program that made it.
    pub program: String,
    /// The version of the tables.
    pub schema: i64,
    /// Whose it is.
    pub issuer: String,
    /// When its moment was.
    pub made_at: Timestamp,
    /// The tables, in the order of their rows.
    pub tables: Vec<Table>,
}

/// A table of a backup.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Table {
    name: String,
    columns: Vec<String>,
    rows: u64,
}

/// The last line.
#[derive(Deserialize, Serialize)]
struct Seal {
    sha256: String,
}

/// Why a file is not a backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is something else.
    #[error("{} is not a backup of portcullis", .0.display())]
    Foreign(PathBuf),
    /// A newer program made it.
    #[error("{} has the backup format {found}, this program knows {FORMAT}: use the newer program", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It ends too early.
    #[error("{} is cut off: it does not end as a backup ends. Use another copy", .0.display())]
    Cut(PathBuf),
    /// It is not as it was written.
    #[error("{} is damaged: its checksum does not fit. Use another copy", .0.display())]
    Damaged(PathBuf),
    /// It is there already.
    #[error("{} is there already, and a backup never takes the place of another file: choose another name", .0.display())]
    Exists(PathBuf),
    /// It cannot be read or written.
    #[error("cannot use the file {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Table {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Header {
    pub(super) fn new(schema: i64, issuer: String, made_at: Timestamp, counts: &[u64]) -> Self {
        let table = |(shape, rows): (portcullis_store::backup::Shape, &u64)| Table {
            name: shape.name.to_owned(),
            columns: shape.columns.into_iter().map(str::to_owned).collect(),
            rows: *rows,
        };
        Self {
            portcullis_backup: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema,
            issuer,
            made_at,
            tables: shapes().into_iter().zip(counts).map(table).collect(),
        }
    }

    /// How many rows there are in all.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// Whether the tables are those of this program.
    pub(super) fn has_our_tables(&self) -> bool {
        let ours = Self::new(self.schema, String::new(), self.made_at, &vec![0; self.tables.len()]).tables;
        let same = |(a, b): (&Table, &Table)| a.name == b.name && a.columns == b.columns;
        ours.len() == self.tables.len()
            && ours.len() == shapes().len()
            && ours.iter().zip(&self.tables).all(same)
    }
}

/// A backup that is being written. Dropped before the end, there is no file.
pub(super) struct Draft {
    out: BufWriter<NewFile>,
    digest: digest::Context,
    path: PathBuf,
}

impl Draft {
    pub(super) fn create(path: &Path, header: &Header) -> Result<Self, FileError> {
        if path.symlink_metadata().is_ok() {
            return Err(FileError::Exists(path.to_owned()));
        }
        let file = NewFile::create(path).map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        let digest = digest::Context::new(&digest::SHA256);
        let mut draft = Self { out: BufWriter::new(file), digest, path: path.to_owned() };
        draft.line(header)?;
        Ok(draft)
    }

    pub(super) fn line(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        let failed = |source: io::Error| FileError::Io { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        self.digest.update(&text);
        self.out.write_all(&text).map_err(failed)
    }

    /// Seals it and puts it where it belongs.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        let seal = Seal { sha256: hex(self.digest.clone().finish().as_ref()) };
        self.line(&seal)?;
        let Self { out, path, .. } = self;
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                FileError::Exists(path.clone())
            } else {
                FileError::Io { path: path.clone(), source }
            }
        };
        out.into_inner()
            .map_err(|error| failed(error.into_error()))
            .and_then(|file| file.keep().map_err(failed))
    }
}

/// A backup that is read, from its beginning, as often as need be.
pub(super) struct Backup {
    file: BufReader<File>,
    path: PathBuf,
    pub(super) header: Header,
    digest: digest::Context,
    /// The table whose rows come now, and how many are left.
    table: usize,
    left: u64,
}

impl Backup {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let path = path.to_owned();
        let file = File::open(&path).map_err(|source| FileError::Io { path: path.clone(), source })?;
        let mut file = BufReader::new(file);
        let mut digest = digest::Context::new(&digest::SHA256);
        let first = line(&mut file, &path)?;
        digest.update(&first);
        let magic: Value = serde_json::from_slice(&first).unwrap_or_default();
        match magic.get("portcullis_backup").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(found) => return Err(FileError::Format { path, found }),
            None => return Err(FileError::Foreign(path)),
        }
        let header: Header = serde_json::from_slice(&first).map_err(|_| FileError::Damaged(path.clone()))?;
        let left = header.tables.first().map_or(0, |table| table.rows);
        Ok(Self { file, path, header, digest, table: 0, left })
    }

    /// From the first row again.
    pub(super) fn rewind(&mut self) -> Result<(), FileError> {
        let rewound = self.file.rewind();
        rewound.map_err(|source| FileError::Io { path: self.path.clone(), source })?;
        self.digest = digest::Context::new(&digest::SHA256);
        self.digest.update(&line(&mut self.file, &self.path)?);
        self.table = 0;
        self.left = self.header.tables.first().map_or(0, |table| table.rows);
        Ok(())
    }

    /// The next row with the place of its table. `None`: the end, and all was as it was written.
    pub(super) fn row(&mut self) -> Result<Option<(usize, Vec<Value>)>, FileError> {
        while self.left == 0 {
            self.table += 1;
            match self.header.tables.get(self.table) {
                Some(table) => self.left = table.rows,
                None => return self.end().map(|()| None),
            }
        }
        self.left -= 1;
        let text = line(&mut self.file, &self.path)?;
        self.digest.update(&text);
        let cells = serde_json::from_slice(&text).map_err(|_| FileError::Damaged(self.path.clone()))?;
        Ok(Some((self.table, cells)))
    }

    fn end(&mut self) -> Result<(), FileError> {
        let damaged = || FileError::Damaged(self.path.clone());
        let expected = hex(self.digest.clone().finish().as_ref());
        let seal: Seal = serde_json::from_slice(&line(&mut self.file, &self.path)?).map_err(|_| damaged())?;
        let mut more = [0];
        let rest = self.file.read(&mut more);
        let rest = rest.map_err(|source| FileError::Io { path: self.path.clone(), source })?;
        if seal.sha256 == expected && rest == 0 { Ok(()) } else { Err(damaged()) }
    }

    pub(super) fn damaged(&self) -> FileError {
        FileError::Damaged(self.path.clone())
    }
}

/// One line with its end. A line without an end is the last of a file that was cut.
fn line(file: &mut BufReader<File>, path: &Path) -> Result<Vec<u8>, FileError> {
    let mut text = Vec::new();
    let read = file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text);
    read.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    if text.last() == Some(&b'\n') { Ok(text) } else { Err(FileError::Cut(path.to_owned())) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
