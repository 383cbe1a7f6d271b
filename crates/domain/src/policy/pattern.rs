//! Patterns of rules: every character is itself, but `*`, which is any run of characters.

use crate::condition::stars_match;
use globset::{Glob, GlobSet, GlobSetBuilder};

/// Several patterns, made ready to match. Nearly all are names or have single stars, and cost no more than their text;
/// of thousands of rules, each with an automaton of its own, memory would be full.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    /// Sorted.
    names: Box<[Box<str>]>,
    starred: Box<[Box<str>]>,
    others: Option<Box<GlobSet>>,
}

impl Patterns {
    /// `Err`: the one that is no pattern.
    pub(super) fn new(patterns: &[String]) -> Result<Self, &str> {
        let (plain, others): (Vec<&String>, Vec<&String>) =
            patterns.iter().partition(|pattern| is_simple(pattern));
        let (starred, names): (Vec<&String>, Vec<&String>) =
            plain.into_iter().partition(|pattern| pattern.contains('*'));
        let mut names: Vec<Box<str>> = names.into_iter().map(|name| name.as_str().into()).collect();
        names.sort_unstable();
        Ok(Self {
            names: names.into(),
            starred: starred.into_iter().map(|pattern| pattern.as_str().into()).collect(),
            others: if others.is_empty() { None } else { Some(Box::new(set_of(&others)?)) },
        })
    }

    pub(super) fn is_match(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| (**known).cmp(name)).is_ok()
            || self.starred.iter().any(|pattern| stars_match(pattern, name))
            || self.others.as_ref().is_some_and(|others| others.is_match(name))
    }
}

/// Patterns for which there is nothing to know but that `*` is any run of characters. Of two stars in a row and of the
/// backslash the library has its own idea, which is kept.
fn is_simple(pattern: &str) -> bool {
    !pattern.contains("**") && !pattern.contains('\\')
}

fn set_of<'a>(patterns: &[&'a String]) -> Result<GlobSet, &'a str> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern).map_err(|_| pattern.as_str())?);
    }
    set.build().map_err(|_| "")
}

/// A pattern, made ready to match.
pub fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    let escaped: String = pattern.split('*').map(globset::escape).collect::<Vec<_>>().join("*");
    Glob::new(&escaped)
}

/// Whether `wide` matches everything that `narrow` matches. Exact, as `*` is the only sign with a meaning: what stands
/// for any run of characters can only be matched by a `*`, as a character that is in no pattern can.
pub fn covers(wide: &str, narrow: &str) -> bool {
    let narrow = narrow.replace('*', "\u{1}");
    if is_simple(wide) {
        return stars_match(wide, &narrow);
    }
    glob(wide).is_ok_and(|wide| wide.compile_matcher().is_match(narrow))
}

/// Whether some text matches both.
pub fn meet(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // meets[j]: whether what follows in `one` and what follows from `j` on in `other` meet.
    let mut meets: Vec<bool> =
        (0..=other.len()).map(|j| other[j..].iter().all(|byte| *byte == b'*')).collect();
    for byte in one.iter().rev() {
        let below = meets.clone();
        for j in (0..=other.len()).rev() {
            meets[j] = match (byte, other.get(j)) {
                (b'*', None) => below[j],
                (b'*', Some(_)) => below[j] || meets[j + 1],
                (_, Some(b'*')) => meets[j + 1] || below[j],
                (byte, Some(opposite)) => byte == opposite && below[j + 1],
                (_, None) => false,
            };
        }
    }
    meets[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_a_text_can_match_both() {
        for (one, other) in [
            ("a", "a"),
            ("a*", "*b"),
            ("delete_*", "*"),
            ("*_note", "delete_*"),
            ("a*c", "ab*"),
            ("*", "*"),
            ("a*", "a"),
        ] {
            assert!(meet(one, other) && meet(other, one), "{one} {other}");
        }
        for (one, other) in
            [("a", "b"), ("a*", "b*"), ("delete_*", "del"), ("*x", "*y"), ("a*b", "a"), ("list_?", "list_a")]
        {
            assert!(!meet(one, other) && !meet(other, one), "{one} {other}");
        }
        let long = "*a".repeat(500);
        assert!(!meet(&format!("{long}b"), &format!("{long}c")), "and that quickly");
    }

    #[test]
    fn a_pattern_covers_what_it_matches_whole() {
        for (wide, narrow) in
            [("*", "a"), ("*", "a*b"), ("list_*", "list_all"), ("a*", "a*b*"), ("*x*", "*x"), ("a", "a")]
        {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in
            [("list_*", "*"), ("a*b", "a*"), ("a", "b"), ("list_?", "list_a"), ("*x", "*x*")]
        {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    proptest::proptest! {
        /// The library is the measure: it decided before.
        #[test]
        fn patterns_match_what_the_library_matches(
            patterns in proptest::collection::vec("[ab.*/\\[\\]{}?!,\\\\é-]{0,7}", 0..4),
            name in "[ab./\\[\\]{}?!,\\\\é-]{0,7}",
        ) {
            let library: Result<Vec<_>, _> = patterns.iter().map(|pattern| glob(pattern)).collect();
            match (Patterns::new(&patterns), library) {
                (Ok(ours), Ok(library)) => {
                    let wanted = library.iter().any(|pattern| pattern.compile_matcher().is_match(&name));
                    proptest::prop_assert_eq!(ours.is_match(&name), wanted);
                    let mut set = GlobSetBuilder::new();
                    for pattern in library {
                        set.add(pattern);
                    }
                    proptest::prop_assert_eq!(ours.is_match(&name), set.build().unwrap().is_match(&name));
                }
                (ours, library) => proptest::prop_assert_eq!(ours.is_err(), library.is_err()),
            }
        }
    }
}
