//! One reading of a JSON text: duplicate member names are refused at every depth.
//!
//! RFC 8259 s4 leaves duplicates open, and parsers differ: some take the first, some the last. Whoever
//! decides on one and hands the text to somebody who reads the other has decided nothing.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Why a JSON text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The same member name twice in one object, after unescaping.
    #[error("an object names the same member twice")]
    DuplicateMember,
    /// Not one complete JSON text.
    #[error("not one well-formed JSON text")]
    Malformed,
    /// Arrays and objects nested deeper than allowed.
    #[error("nested too deeply")]
    TooDeep,
}

/// Checks that `text` is one JSON text without duplicate members, nested at most `max_depth` deep.
pub fn check(text: &[u8], max_depth: usize) -> Result<(), Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Walk { depth_left: max_depth }.deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(
        |error| {
            let words = error.to_string();
            if words.starts_with(DUPLICATE) {
                Refusal::DuplicateMember
            } else if words.starts_with(DEPTH) || words.starts_with("recursion limit") {
                Refusal::TooDeep
            } else {
                Refusal::Malformed
            }
        },
    )
}

const DUPLICATE: &str = "duplicate member";
const DEPTH: &str = "nested too deeply";

struct Walk {
    depth_left: usize,
}

impl Walk {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom(DEPTH))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = Names::default();
        while let Some(name) = members.next_key_seed(MemberName)? {
            if !seen.insert(name) {
                return Err(A::Error::custom(DUPLICATE));
            }
            members.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

/// The names of one object's members, to find one that stands twice.
#[derive(Debug)]
pub struct Names<'de> {
    /// Most objects have few members: to compare with each is faster than to hash, and needs no room of its own.
    few: [Cow<'de, str>; FEW],
    count: usize,
    /// And with many, comparing with each would be a way to keep us busy.
    many: HashSet<Cow<'de, str>>,
}

/// How many names are compared one by one.
const FEW: usize = 16;

impl Default for Names<'_> {
    fn default() -> Self {
        Self { few: [const { Cow::Borrowed("") }; FEW], count: 0, many: HashSet::new() }
    }
}

impl<'de> Names<'de> {
    /// Takes a name in; `false` when it was here before.
    pub fn insert(&mut self, name: Cow<'de, str>) -> bool {
        if self.few.iter().take(self.count).any(|known| *known == name) || self.many.contains(&name) {
            return false;
        }
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = name;
                self.count += 1;
            }
            None => drop(self.many.insert(name)),
        }
        true
    }
}

/// Reads a member name, borrowed from the text unless it was escaped.
#[derive(Clone, Copy, Debug)]
pub struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MemberName {
    type Value = Cow<'de, str>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member name")
    }
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_found_at_any_depth_and_after_unescaping() {
        for text in
            [r#"{"a":1,"a":2}"#, r#"{"x":[{"y":{"a":1,"b":2,"a":3}}]}"#, r#"{"name":1,"n\u0061me":2}"#]
        {
            assert_eq!(check(text.as_bytes(), 64), Err(Refusal::DuplicateMember), "{text}");
        }
        assert_eq!(check(br#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#, 64), Ok(()));
    }

    #[test]
    fn duplicates_are_found_among_many_members() {
        let members: Vec<String> = (0..100).map(|number| format!(r#""m{number}":{number}"#)).collect();
        let object = |members: &[String]| format!("{{{}}}", members.join(","));
        assert_eq!(check(object(&members).as_bytes(), 4), Ok(()));
        for again in [0, FEW - 1, FEW, FEW + 1, 98] {
            let mut twice = members.clone();
            twice[99] = format!(r#""\u006d{again}":0"#);
            assert_eq!(check(object(&twice).as_bytes(), 4), Err(Refusal::DuplicateMember), "{again}");
        }
    }

    #[test]
    fn depth_is_bounded_and_trailing_text_refused() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert_eq!(check(deep.as_bytes(), 64), Err(Refusal::TooDeep));
        let very_deep = "[".repeat(200_000);
        assert_eq!(check(very_deep.as_bytes(), 64), Err(Refusal::TooDeep));
        let just = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert_eq!(check(just.as_bytes(), 64), Ok(()));
        for text in ["", "{", "{}x", "{}{}", "\u{feff}{}", "nul"] {
            assert_eq!(check(text.as_bytes(), 64), Err(Refusal::Malformed), "{text:?}");
        }
        assert_eq!(check(b"\"\xff\"", 64), Err(Refusal::Malformed));
    }
}
