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
}
