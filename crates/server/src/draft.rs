//! Drafts of fleet files (PC-36): from the configuration of clients, and from what a server says of itself. A draft is text
//! for a person to edit. Whatever a stranger wrote into it is quoted, bounded, and cannot leave its place.

mod add;
mod arguments;
mod client_file;
mod import;
mod into;
mod judge;
mod program;
mod server;
mod text;

pub use add::{AddError, Source, add};
pub use import::{Import, import};
pub use into::{IntoError, append};
pub use program::{ProgramError, describe as describe_command};
pub use server::{Drafted, draft};

pub(crate) use judge::{is_harmful, is_harmless};
pub(crate) use text::quoted;

use portcullis_domain::registry::Name;
use std::collections::BTreeSet;

/// Longest part of a name that is taken from elsewhere; room for a number stays.
const NAME_LENGTH: usize = 56;

/// Names that are taken already, or reserved.
#[derive(Debug)]
struct Names(BTreeSet<String>);

impl Names {
    fn new(taken: impl IntoIterator<Item = String>) -> Self {
        let mut names: BTreeSet<String> = taken.into_iter().collect();
        // The server that we are ourselves.
        names.insert("portcullis".to_owned());
        Self(names)
    }

    /// A legal name as near to `wish` as can be, that nobody has yet.
    fn give(&mut self, wish: &str) -> String {
        let base = legal_name(wish);
        let numbered = |number: u32| if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let free = (1..u32::MAX).map(numbered).find(|name| !self.0.contains(name)).unwrap_or(base);
        self.0.insert(free.clone());
        free
    }
}

/// A list of texts in TOML.
pub(crate) fn list_of(texts: &[String]) -> String {
    text::list(texts.iter().map(String::as_str))
}

/// A legal name as near to the text as can be.
pub fn legal_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        let legal = c.is_ascii_lowercase() || c.is_ascii_digit();
        if legal && name.len() < NAME_LENGTH {
            name.push(c);
        } else if !legal && !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches('-');
    if name.parse::<Name>().is_ok() { name.to_owned() } else { "server".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pc_36_names_are_made_legal_and_unique() {
        let mut names = Names::new(["github".to_owned()]);
        assert_eq!(names.give("GitHub"), "github-2");
        assert_eq!(names.give("My  Server/v2"), "my-server-v2");
        assert_eq!(names.give("\u{1b}[2J"), "2j");
        assert_eq!(names.give("日本"), "server");
        assert_eq!(names.give("日本語"), "server-2");
        assert_eq!(names.give("Portcullis"), "portcullis-2");
    }

    proptest! {
        #[test]
        fn pc_36_every_text_becomes_a_legal_name(text in any::<String>()) {
            prop_assert!(Names::new([]).give(&text).parse::<Name>().is_ok());
        }
    }
}
