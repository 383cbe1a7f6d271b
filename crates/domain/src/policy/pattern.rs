//! Patterns of rules: every character is itself, but `*`, which is any run of characters.

use globset::Glob;

/// A pattern, made ready to match.
pub fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    let escaped: String = pattern.split('*').map(globset::escape).collect::<Vec<_>>().join("*");
    Glob::new(&escaped)
}

/// Whether `wide` matches everything that `narrow` matches. Exact, as `*` is the only sign with a meaning: what stands
/// for any run of characters can only be matched by a `*`, as a character that is in no pattern can.
pub fn covers(wide: &str, narrow: &str) -> bool {
    glob(wide).is_ok_and(|wide| wide.compile_matcher().is_match(narrow.replace('*', "\u{1}")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
