//! A draft appended to a fleet file that is there: checked as a whole first, then put in its place at once.

use portcullis_domain::fleet::{Fleet, Problem, Surroundings};
use std::io::{self, Write as _};
use std::path::Path;

/// Why a draft was not appended. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum IntoError {
    /// The file cannot be read or written.
    #[error("the fleet file: {0}")]
    File(#[from] io::Error),
    /// What is there already has mistakes.
    #[error("the fleet file has mistakes already:{}", listing(.0))]
    Before(Vec<Problem>),
    /// The two do not go together.
    #[error("the draft does not fit into the fleet file:{}", listing(.0))]
    Together(Vec<Problem>),
}

fn listing(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    lines.concat()
}

/// Appends the draft to the file.
///
/// # Errors
/// Nothing is changed then.
pub fn append(file: &Path, draft: &str, surroundings: Surroundings<'_>) -> Result<(), IntoError> {
    let before = std::fs::read_to_string(file)?;
    Fleet::parse(&before, surroundings).map_err(IntoError::Before)?;
    let gap = match before.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let together = format!("{before}{gap}{draft}");
    Fleet::parse(&together, surroundings).map_err(IntoError::Together)?;
    put(file, &together)?;
    Ok(())
}

/// Through a link, the file that it leads to is replaced.
fn put(file: &Path, text: &str) -> io::Result<()> {
    let file = file.canonicalize()?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.new"));
    let mut new = std::fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
    let written = std::fs::metadata(&file)
        .and_then(|old| new.set_permissions(old.permissions()))
        .and_then(|()| new.write_all(text.as_bytes()))
        .and_then(|()| new.sync_all())
        .and_then(|()| std::fs::rename(&beside, &file));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn pc_36_a_draft_that_does_not_fit_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleet.toml");
        let (issuer, commands) = ("https://mcp.example.com".parse().unwrap(), BTreeSet::new());
        let surroundings = Surroundings { issuer: &issuer, commands: &commands };
        let draft = |name: &str| {
            format!("[[server]]\nname = \"{name}\"\nupstream = {{ url = \"http://a.test/mcp\" }}\n")
        };
        assert!(
            matches!(append(&file, &draft("a"), surroundings), Err(IntoError::File(_))),
            "it must be there"
        );
        std::fs::write(&file, "# ours").unwrap();
        append(&file, &draft("a"), surroundings).unwrap();
        append(&file, &draft("b"), surroundings).unwrap();
        let good = std::fs::read_to_string(&file).unwrap();
        assert!(good.starts_with("# ours\n\n[[server]]"), "{good}");
        assert!(matches!(append(&file, &draft("a"), surroundings), Err(IntoError::Together(_))));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), good);
        std::fs::write(&file, "[[server]]\n").unwrap();
        assert!(matches!(append(&file, &draft("c"), surroundings), Err(IntoError::Before(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }
}
