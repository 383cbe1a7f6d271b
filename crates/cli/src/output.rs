//! Files that commands write for people to edit.

use crate::exit::Failure;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// Writes a new file that everybody may read. One that is there stays as it is.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o644);
    }
    let failed =
        |error: std::io::Error| Failure::Operator(format!("cannot write {}: {error}", path.display()));
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}
