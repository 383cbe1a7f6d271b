//! Entity tags of single things, and `If-Match` (RFC 9110 s8.8.3, s13.1.1): a change of what somebody looked at, or none.

use crate::fault::Fault;
use aws_lc_rs::digest;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use serde::Serialize;
use std::fmt::Write as _;

/// One thing, with its tag: another whenever anything that is shown is another, counts included.
pub(super) struct Tagged<T>(pub(super) T);

/// For which versions a change is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever there is, or is not.
    #[default]
    Unasked,
    /// Whatever there is.
    Any,
    /// One of these.
    These(Vec<String>),
}

impl IfMatch {
    /// What the headers say. A condition that cannot be read is one that is not met.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let lines: Vec<_> = headers.get_all(header::IF_MATCH).iter().map(|value| value.to_str()).collect();
        if lines.is_empty() {
            return Self::Unasked;
        }
        let text = lines.into_iter().collect::<Result<Vec<_>, _>>().unwrap_or_default().join(",");
        if text.trim() == "*" {
            return Self::Any;
        }
        Self::These(strong_tags(&text).unwrap_or_default())
    }

    /// Whether the thing with this tag, which is there, is meant.
    pub(crate) fn holds(&self, tag: &str) -> bool {
        match self {
            Self::Unasked | Self::Any => true,
            Self::These(tags) => tags.iter().any(|known| known == tag),
        }
    }
}

/// Weak ones are left out: they never match here (RFC 9110 s13.1.1). `None`: this is no list of tags.
fn strong_tags(text: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    let mut rest = text.trim_matches(|c| " \t,".contains(c));
    while !rest.is_empty() {
        let (is_strong, quoted) = match rest.strip_prefix("W/") {
            Some(weak) => (false, weak),
            None => (true, rest),
        };
        let (inner, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if is_strong {
            tags.push(format!("\"{inner}\""));
        }
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Some(tags)
}

/// The tag of what is shown.
pub(super) fn tag_of(shown: &impl Serialize) -> Result<String, Fault> {
    Ok(tag(&serde_json::to_vec(shown).map_err(|_| Fault::Shape("what is shown"))?))
}

fn tag(content: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, content);
    let mut text = String::from('"');
    for byte in &hash.as_ref()[..16] {
        let _infallible = write!(text, "{byte:02x}");
    }
    text.push('"');
    text
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        match tag_of(&self.0) {
            Ok(tag) => ([(header::ETAG, tag)], Json(self.0)).into_response(),
            Err(fault) => super::error::Refusal::Fault(fault).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> IfMatch {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, line.parse().unwrap());
        }
        IfMatch::read(&headers)
    }

    #[test]
    fn one_of_several_tags_is_enough() {
        for good in
            [&["\"a\""][..], &["*"], &[" * "], &["\"b\" ,\"a\""], &["\"b\"", "\"a\""], &[",,\"x,y\", \"a\","]]
        {
            assert!(read(good).holds("\"a\""), "{good:?}");
        }
        assert!(read(&[]).holds("\"a\""));
    }

    #[test]
    fn what_is_weak_another_or_unreadable_does_not_hold() {
        for bad in [
            &["\"b\""][..],
            &["W/\"a\""],
            &["a"],
            &[""],
            &["\"a"],
            &["*, \"a\""],
            &["*", "*"],
            &["\"a\" \"b\""],
            &["\"a\"x"],
            &["\"x,\"a\""],
        ] {
            assert!(!read(bad).holds("\"a\""), "{bad:?}");
        }
    }
}
