//! The data folder: this machine's own files, readable by its owner only, used by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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

/// Writes a file that only its owner may read, whole or not at all: a new file takes the old one's place.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let written = create_private(&new, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _leftover = fs::remove_file(&new);
    }
    written?;
    sync_folder_of(path)
}

/// The same, but `AlreadyExists` if there is a file: of several that try at once, one wins.
pub(crate) fn create_private_once(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let linked = create_private(&new, content).and_then(|()| fs::hard_link(&new, path));
    let _leftover = fs::remove_file(&new);
    linked?;
    sync_folder_of(path)
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    // What a crash left behind is ours, and nobody else's process has this id.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
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
