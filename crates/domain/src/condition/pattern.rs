//! What an argument may be. Whether a text is inside is only said of texts that every reader takes for the same thing.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text, where `*` is any run of characters; or, with `/` in it, a path, where `*` stays within a segment and a `**` at the
/// end is the folder and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// `**` elsewhere.
    #[error("** stands at the end of a path only, after /: \"/srv/notes/**\"")]
    DoubleStar,
    /// Nothing, or control characters.
    #[error("a pattern is a text without control characters")]
    Empty,
    /// No text could ever be inside.
    #[error("a path has plain segments only: no .., no empty ones, no escapes")]
    NotPlain,
}

impl Pattern {
    /// Whether the text is inside; `None` when readers could take it for different things. Where a doubt is about letters,
    /// `is_forbidden` says on which side to err: on the one that refuses.
    pub(super) fn contains(&self, text: &str, is_forbidden: bool) -> Option<bool> {
        let contains = if self.0.contains('/') { path_contains } else { text_contains };
        if !is_forbidden {
            return contains(&self.0, text);
        }
        // Some readers fold case, and letters of other scripts into ours.
        text.is_ascii().then(|| contains(&self.0.to_ascii_lowercase(), &text.to_ascii_lowercase()))?
    }
}

/// A text that might be a path to somebody, or hides characters, is not judged by a pattern that speaks of neither.
fn text_contains(pattern: &str, text: &str) -> Option<bool> {
    let is_plain = |c: char| !c.is_control() && (c.is_ascii() || c.is_alphanumeric()) && !"/\\%".contains(c);
    text.chars().all(is_plain).then(|| stars_match(pattern, text))
}

fn path_contains(pattern: &str, text: &str) -> Option<bool> {
    let text = Path::of(text)?;
    let pattern = Path { start: start_of(pattern).0, rest: start_of(pattern).1.split('/').collect() };
    if pattern.start != text.start {
        return None;
    }
    let (segments, is_deep) = match pattern.rest.split_last() {
        Some((&"**", folder)) => (folder, true),
        Some(_) | None => (pattern.rest.as_slice(), false),
    };
    let enough = text.rest.len() == segments.len() || (is_deep && text.rest.len() > segments.len());
    Some(enough && segments.iter().zip(&text.rest).all(|(pattern, segment)| stars_match(pattern, segment)))
}

/// A path whose segments mean themselves to every reader.
struct Path<'a> {
    /// `/`, `scheme://`, or nothing.
    start: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Path<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (start, rest) = start_of(text);
        // One / at the end says that it is a folder.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let rest: Vec<&str> = rest.split('/').collect();
        let is_root = rest == [""] && start == "/";
        if is_root {
            return Some(Self { start, rest: Vec::new() });
        }
        rest.iter().all(|segment| is_plain_segment(segment)).then_some(Self { start, rest })
    }
}

/// What a path begins with, and what follows.
fn start_of(text: &str) -> (&str, &str) {
    if let Some((scheme, _)) = text.split_once("://")
        && !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return text.split_at(scheme.len() + 3);
    }
    if text.starts_with('/') { text.split_at(1) } else { ("", text) }
}

/// Nothing that some reader unescapes, expands, cuts off, folds into a separator or dots, or does not see.
fn is_plain_segment(segment: &str) -> bool {
    let is_plain = |c: char| {
        c.is_ascii_alphanumeric() || " !&'()+,-.=@_".contains(c) || (!c.is_ascii() && c.is_alphabetic())
    };
    let ends_unseen = segment.ends_with(['.', ' ']) || segment.starts_with(' ');
    !segment.is_empty() && segment.chars().all(is_plain) && !ends_unseen
}

/// Whether the whole text is the pattern, with `*` for any run of characters.
pub(crate) fn stars_match(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(InvalidPattern::Empty);
        }
        let before = text.strip_suffix("/**").unwrap_or(text);
        if before.contains("**") {
            return Err(InvalidPattern::DoubleStar);
        }
        // A star stands for something plain.
        let example = before.replace('*', "x");
        let can_be = if text.contains('/') {
            before.is_empty() || Path::of(&example).is_some_and(|_| !before.ends_with('/'))
        } else {
            text_contains(&example, &example) == Some(true)
        };
        if can_be { Ok(Self(text.to_owned())) } else { Err(InvalidPattern::NotPlain) }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(pattern: &str, text: &str) -> Option<bool> {
        pattern.parse::<Pattern>().unwrap().contains(text, false)
    }

    #[test]
    fn pc_24_a_path_is_inside_its_folder_and_nowhere_else() {
        let notes = "/srv/notes/**";
        for text in ["/srv/notes", "/srv/notes/", "/srv/notes/a", "/srv/notes/a/b.txt", "/srv/notes/été/x y"]
        {
            assert_eq!(inside(notes, text), Some(true), "{text}");
        }
        for text in
            ["/srv/notes2/a", "/srv/note", "/srv", "/", "/SRV/notes/a", "/etc/passwd", "/srv/x/notes/a"]
        {
            assert_eq!(inside(notes, text), Some(false), "{text}");
        }
        assert_eq!(inside("/srv/*/a.txt", "/srv/x/a.txt"), Some(true));
        assert_eq!(inside("/srv/*/a.txt", "/srv/x/y/a.txt"), Some(false), "a star stays within its segment");
        assert_eq!(inside("/**", "/any/thing"), Some(true));
    }

    #[test]
    fn pc_24_a_path_that_can_be_read_in_two_ways_is_not_judged() {
        let odd = [
            "/srv/notes/../../etc/passwd",
            "/srv/notes/./a",
            "/srv/notes//a",
            "//srv/notes/a",
            "/srv/notes/..",
            "/srv/notes/...",
            "/srv/notes/%2e%2e/%2e%2e/etc",
            "/srv/notes/..%2f..%2fetc",
            "/srv/notes/%252e%252e/x",
            "/srv/notes\\..\\..\\etc",
            "/srv/notes/..;/etc",
            "/srv/notes/.. /etc",
            "/srv/notes/a\0b",
            "/srv/notes/a\n",
            "/srv/notes/\u{ff0e}\u{ff0e}/etc",
            "/srv/notes/..\u{2215}etc",
            "/srv/notes/\u{2025}\u{ff0f}etc",
            "/srv/notes/.\u{200b}./etc",
            "/srv/notes/a\u{202e}b",
            "/srv/notes/$HOME",
            "/srv/notes/~root",
            "/srv/notes/{a,..}",
            "/srv/notes/`id`",
            "/srv/notes/a:b",
            "/srv/notes/a?x",
            "/srv/notes/a#x",
            "srv/notes/a",
            "file:///srv/notes/a",
            "C:/srv/notes/a",
            "~/srv/notes",
            "",
            " /srv/notes/a",
        ];
        for text in odd {
            assert_eq!(inside("/srv/notes/**", text), None, "{text:?}");
        }
    }

    #[test]
    fn pc_24_addresses_and_relative_paths_are_paths_too() {
        let site = "https://wiki.example/public/**";
        assert_eq!(inside(site, "https://wiki.example/public/a"), Some(true));
        assert_eq!(inside(site, "https://wiki.example/private/a"), Some(false));
        for text in [
            "https://wiki.example/public/../private",
            "http://wiki.example/public/a",
            "https://wiki.example/public/a?b",
            "https://u:p@wiki.example/public/a",
            "https:///wiki.example/public/a",
            "/public/a",
            "HTTPS://wiki.example/public/a",
        ] {
            assert_eq!(inside(site, text), None, "{text}");
        }
        assert_eq!(inside(site, "https://wiki.example@evil.example/public/a"), Some(false));
        assert_eq!(inside("notes/**", "notes/a"), Some(true));
        assert_eq!(inside("notes/**", "./notes/a"), None);
        assert_eq!(inside("notes/**", "/notes/a"), None, "from another start");
    }

    #[test]
    fn pc_24_a_text_is_compared_whole() {
        assert_eq!(inside("feature-*", "feature-x"), Some(true));
        assert_eq!(inside("feature-*", "my-feature-x"), Some(false));
        assert_eq!(inside("a*b*c", "a-b-bc"), Some(true));
        assert_eq!(inside("a*a", "a"), Some(false));
        for text in ["feature-x/../main", "feature-x\\main", "feature-%78", "feature-x\n", "feature-\u{200b}"]
        {
            assert_eq!(inside("feature-*", text), None, "{text:?}");
        }
    }

    #[test]
    fn pc_24_a_list_of_what_is_forbidden_does_not_trust_case() {
        let pattern: Pattern = "/etc/**".parse().unwrap();
        assert_eq!(pattern.contains("/ETC/passwd", true), Some(true));
        assert_eq!(pattern.contains("/ETC/passwd", false), Some(false));
        assert_eq!(pattern.contains("/\u{ff45}tc/passwd", true), None, "some readers fold it into /etc");
        assert_eq!(pattern.contains("/srv/a", true), Some(false));
    }

    #[test]
    fn pc_24_a_pattern_that_nothing_can_be_inside_of_is_none() {
        let refused = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(refused(""), InvalidPattern::Empty);
        assert_eq!(refused("a\nb"), InvalidPattern::Empty);
        for text in ["/srv/**/a", "**", "/srv/a**", "a**"] {
            assert_eq!(refused(text), InvalidPattern::DoubleStar, "{text}");
        }
        for text in ["/", "/srv/../etc", "/srv//a", "//srv", "/srv/%2e", "C:\\srv", "/srv/notes/"] {
            assert_eq!(refused(text), InvalidPattern::NotPlain, "{text}");
        }
        for text in ["/**", "*", "/srv/*", "notes/**", "https://x.example/*", "a b"] {
            text.parse::<Pattern>().unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
