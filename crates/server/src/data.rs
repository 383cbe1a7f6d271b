//! The data folder: this machine's own files, readable by its owner only, used by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder, for as long as this process lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Locked; the lock ends with the process, however that ends.
    _lock: File,
}

/// Why a folder cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another `serve` runs on it.
    #[error("{} is used by another running portcullis: stop it, or choose another folder with --data", .0.display())]
    InUse(PathBuf),
    /// There is something else in its place.
    #[error("{} is a file, not a folder: choose another with --data", .0.display())]
    NotAFolder(PathBuf),
    /// It cannot be made or written.
    #[error("cannot write in the data folder {}: make it writable for this user, or choose another with --data", path.display())]
    NotWritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataFolder {
    /// Makes the folder if need be (0700), and takes it for this process.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let not_writable = |source| DataError::NotWritable { path: path.to_owned(), source };
        if path.exists() && !path.is_dir() {
            return Err(DataError::NotAFolder(path.to_owned()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(not_writable)?;
        let path = fs::canonicalize(path).map_err(not_writable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(not_writable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(DataError::NotWritable { path, source }),
        }
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a process has taken the folder. Nothing is made.
pub(crate) fn is_in_use(path: &Path) -> io::Result<bool> {
    let lock = match OpenOptions::new().write(true).open(path.join("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes a file that only its owner may read, whole or not at all: a new file takes the old one's place.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = NewFile::create(path)?;
    new.write_all(content)?;
    new.replace()
}

/// The same, but whoever writes many syncs their folder, after all of them.
pub(crate) fn write_private_one_of_many(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = NewFile::create(path)?;
    new.write_all(content)?;
    new.file.sync_all()?;
    fs::rename(&new.beside, &new.place)
}

/// The same as [`write_private`], but `AlreadyExists` if there is a file: of several that try at once, one wins.
pub(crate) fn create_private_once(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = NewFile::create(path)?;
    new.write_all(content)?;
    new.keep()
}

/// Writes a file that is no secret, whole or not at all.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = NewFile::create_with(path, 0o666)?;
    new.write_all(content)?;
    new.replace()
}

/// A file that is written beside its place and takes it when it is whole. Dropped before, it is gone.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    beside: PathBuf,
    place: PathBuf,
}

impl NewFile {
    /// Begins one that only its owner may read.
    pub(crate) fn create(place: &Path) -> io::Result<Self> {
        Self::create_with(place, 0o600)
    }

    fn create_with(place: &Path, mode: u32) -> io::Result<Self> {
        let beside = beside(place);
        // What a crash left behind is ours, and nobody else's process has this id.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        Ok(Self { file, beside, place: place.to_owned() })
    }

    /// Puts it where it belongs, in the place of what is there.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.beside, &self.place)?;
        sync_folder_of(&self.place)
    }

    /// Puts it where it belongs; `AlreadyExists` if something is there.
    pub(crate) fn keep(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::hard_link(&self.beside, &self.place)?;
        sync_folder_of(&self.place)
    }
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After `replace` there is nothing of this name.
        let _leftover = fs::remove_file(&self.beside);
    }
}

/// A name that no other process, and no other task of this one, writes to.
fn beside(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{number}.new", std::process::id()))
}

pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_file_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = create_private_once(&path, b"three").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(DataFolder::open(&path), Err(DataError::InUse(_))));
        drop(first);
        DataFolder::open(&path).unwrap();
        assert!(matches!(DataFolder::open(&path.join("lock")), Err(DataError::NotAFolder(_))));
    }
}
