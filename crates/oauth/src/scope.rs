//! Scopes: named permissions (OAuth 2.1 s1.4.1).

use crate::serde_as_text;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One scope token: printable ASCII without space, `"` and `\` (OAuth 2.1 s1.4.1). Compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

/// The text is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is 1 to 128 printable ASCII characters without space, quote or backslash")]
pub struct InvalidScope;

impl Scope {
    /// The scope as it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let legal = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if (1..=128).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidScope)
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

serde_as_text!(Scope);

/// A set of scopes, printed in a stable order, separated by single spaces. The empty set prints as nothing.
///
/// In order and each once. Sets are small, kept for every token that is remembered, and copied at every call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Vec<Scope>);

impl ScopeSet {
    /// Whether there is nothing in it. Empty never means "all".
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of scopes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `scope` is in the set, byte for byte.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// Whether every scope of `self` is in `other`.
    pub fn is_subset(&self, other: &ScopeSet) -> bool {
        self.iter().all(|scope| other.contains(scope))
    }

    /// What both hold.
    #[must_use]
    pub fn intersection(&self, other: &ScopeSet) -> ScopeSet {
        self.iter().filter(|scope| other.contains(scope)).collect()
    }

    /// What either holds.
    #[must_use]
    pub fn union(&self, other: &ScopeSet) -> ScopeSet {
        self.iter().chain(other.iter()).collect()
    }

    /// What `self` holds and `other` does not.
    #[must_use]
    pub fn difference(&self, other: &ScopeSet) -> ScopeSet {
        self.iter().filter(|scope| !other.contains(scope)).collect()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Adds one.
    pub fn insert(&mut self, scope: Scope) {
        if let Err(place) = self.0.binary_search(&scope) {
            self.0.insert(place, scope);
        }
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes.shrink_to_fit();
        Self(scopes)
    }
}

impl<'a> FromIterator<&'a Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = &'a Scope>>(scopes: I) -> Self {
        scopes.into_iter().cloned().collect()
    }
}

impl FromStr for ScopeSet {
    type Err = InvalidScope;
    /// Splits on single spaces only; runs of spaces are tolerated, other white space is not.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        text.split(' ').filter(|part| !part.is_empty()).map(str::parse::<Scope>).collect()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            fmt::Display::fmt(scope, formatter)?;
        }
        Ok(())
    }
}

serde_as_text!(ScopeSet);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_characters_follow_the_grammar() {
        for good in ["notes:read", "a", "*", "urn:x/y?z=[1]"] {
            assert!(good.parse::<Scope>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\"b", "a\\b", "ä", "a\tb", "a\n", "a\u{7f}"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sets_print_sorted_and_without_repeats() {
        let set: ScopeSet = "b  a b".parse().unwrap();
        assert_eq!(set.to_string(), "a b");
        assert_eq!("".parse::<ScopeSet>().unwrap(), ScopeSet::default());
        assert!("a,\"b".parse::<ScopeSet>().is_err());
    }

    #[test]
    fn sets_are_the_same_however_they_came_to_be() {
        let set = |text: &str| text.parse::<ScopeSet>().unwrap();
        let mut inserted = ScopeSet::default();
        for scope in ["c", "a", "b", "a"] {
            inserted.insert(scope.parse().unwrap());
        }
        assert_eq!(inserted, set("a b c"));
        assert_eq!(set("a c").union(&set("b c")), inserted);
        assert_eq!(inserted.intersection(&set("c d a")), set("a c"));
        assert_eq!(inserted.difference(&set("b d")), set("a c"));
        assert!(set("a c").is_subset(&inserted) && !inserted.is_subset(&set("a c")));
        assert!(ScopeSet::default().is_subset(&ScopeSet::default()));
    }
}
