//! The one pass over a body: collects what is decided on, and refuses what could be read in two ways.

use super::facts::{Facts, Shape, plain};
use super::lookalike::{self, is_lookalike};
use super::{Call, ParseRefusal, Unreadable};
use memchr::{memchr_iter, memmem};
use portcullis_oauth::strict_json::{MemberName, Names};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Deeper than this the JSON library itself stops.
const DEPTH_LIMIT: usize = 100;

/// Reads `body` as one message. `token` is the caller's access token, which must not stand anywhere in it.
pub(crate) fn parse(body: &[u8], token: &str, max_depth: usize) -> Result<Call, Unreadable> {
    let unreadable = |reason| Unreadable { reason, id: None };
    let text = std::str::from_utf8(body).map_err(|_| unreadable(ParseRefusal::Malformed))?;
    if holds(text, token) {
        return Err(unreadable(ParseRefusal::TokenInside));
    }
    if text.trim_ascii_start().starts_with('[') {
        return Err(unreadable(ParseRefusal::Batch));
    }
    let hidden = may_be_escaped(text).then_some(token);
    let mut reading = Reading { hidden, facts: Facts::default(), refusal: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let shape =
        Walk { reading: &mut reading, place: Place::Envelope, depth_left: max_depth.min(DEPTH_LIMIT) }
            .deserialize(&mut deserializer)
            .and_then(|shape| deserializer.end().map(|()| shape));
    let (reason, id) = match shape {
        Ok(Shape::Object) => match reading.facts.judge() {
            Ok(call) => return Ok(call),
            Err(refused) => refused,
        },
        Ok(Shape::Array | Shape::Scalar | Shape::Text(_)) => (ParseRefusal::Envelope, None),
        Err(_) => (reading.refusal.unwrap_or(ParseRefusal::Malformed), None),
    };
    Err(Unreadable { reason, id })
}

/// Whether `token` stands in `text`. Its end is looked for first: up to 32 bytes are found many at a time.
fn holds(text: &str, token: &str) -> bool {
    let end = token.get(token.len().saturating_sub(32)..).unwrap_or(token);
    memmem::find(text.as_bytes(), end.as_bytes()).is_some() && text.contains(token)
}

/// Whether the text may hold a token that the search of the raw text does not find: of the characters of a token (RFC 6750
/// s2.1) only these escapes stand for one.
fn may_be_escaped(text: &str) -> bool {
    let text = text.as_bytes();
    memchr_iter(b'\\', text).any(|at| matches!(text.get(at + 1), Some(b'u' | b'/')))
}

struct Reading<'t> {
    /// The token, if it may stand escaped somewhere.
    hidden: Option<&'t str>,
    facts: Facts,
    refusal: Option<ParseRefusal>,
}

impl Reading<'_> {
    fn refuse<E: serde::de::Error>(&mut self, reason: ParseRefusal) -> E {
        self.refusal = Some(reason);
        E::custom("refused")
    }

    /// The raw text was searched; what was escaped in it is searched here.
    fn check_unescaped<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        if self.hidden.is_some_and(|token| holds(text, token)) {
            return Err(self.refuse(ParseRefusal::TokenInside));
        }
        Ok(())
    }
}

/// Where in the message a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Envelope,
    Params,
    Meta,
    Reference,
    Filter,
    FilterResources,
    /// A string whose text decides.
    Text,
    /// Anything; only duplicates and depth matter.
    Free,
}

impl Place {
    /// Names that other members must not look like. Members of free objects are the tools' own.
    fn reserved(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Envelope => Some(lookalike::ENVELOPE),
            Self::Params => Some(lookalike::PARAMS),
            Self::Meta => Some(lookalike::META),
            Self::Reference => Some(lookalike::REFERENCE),
            Self::Filter => Some(lookalike::FILTER),
            Self::FilterResources | Self::Text | Self::Free => None,
        }
    }
}

struct Walk<'w, 't> {
    reading: &'w mut Reading<'t>,
    place: Place,
    depth_left: usize,
}

impl<'t> Walk<'_, 't> {
    fn inner<E: serde::de::Error>(&mut self, place: Place) -> Result<Walk<'_, 't>, E> {
        let Some(depth_left) = self.depth_left.checked_sub(1) else {
            return Err(self.reading.refuse(ParseRefusal::TooDeep));
        };
        Ok(Walk { reading: &mut *self.reading, place, depth_left })
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, place: Place, members: &mut A) -> Result<Shape, A::Error> {
        members.next_value_seed(self.inner(place)?)
    }

    /// A value whose text matters as it stands; that it is a string or an integer is judged later.
    fn scalar<'de, A: MapAccess<'de>>(&mut self, members: &mut A) -> Result<Box<RawValue>, A::Error> {
        let raw: Box<RawValue> = members.next_value()?;
        if raw.get().starts_with('"')
            && let Ok(text) = serde_json::from_str::<String>(raw.get())
        {
            self.reading.check_unescaped(&text)?;
        }
        Ok(raw)
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match self.place {
            Place::Envelope => self.envelope_member(name, members),
            Place::Params => self.params_member(name, members),
            Place::Meta => self.meta_member(name, members),
            Place::Reference => self.reference_member(name, members),
            Place::Filter => self.filter_member(name, members),
            Place::FilterResources | Place::Text | Place::Free => self.read(Place::Free, members).map(drop),
        }
    }

    fn envelope_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "jsonrpc" => self.reading.facts.jsonrpc = Some(self.read(Place::Text, members)?),
            "id" => self.reading.facts.id = Some(self.scalar(members)?),
            "method" => self.reading.facts.method = Some(self.read(Place::Text, members)?),
            "params" => self.reading.facts.params = Some(self.read(Place::Params, members)?),
            "result" => {
                self.reading.facts.has_result = true;
                self.read(Place::Free, members)?;
            }
            "error" => {
                self.reading.facts.has_error = true;
                self.read(Place::Free, members)?;
            }
            _ => drop(self.read(Place::Free, members)?),
        }
        Ok(())
    }

    fn params_member<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.reading.facts.name = Some(self.read(Place::Text, members)?),
            "uri" => self.reading.facts.uri = Some(self.read(Place::Text, members)?),
            "taskId" => self.reading.facts.task = Some(self.read(Place::Text, members)?),
            "ref" => drop(self.read(Place::Reference, members)?),
            "notifications" => {
                let shape = self.read(Place::Filter, members)?;
                self.reading.facts.filter.is_object = matches!(shape, Shape::Object);
            }
            "_meta" => {
                let shape = self.read(Place::Meta, members)?;
                if !matches!(shape, Shape::Object) {
                    return Err(self.reading.refuse(ParseRefusal::Params));
                }
            }
            _ => drop(self.read(Place::Free, members)?),
        }
        Ok(())
    }

    fn meta_member<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "io.modelcontextprotocol/protocolVersion" => {
                self.reading.facts.version = Some(self.read(Place::Text, members)?);
            }
            "io.modelcontextprotocol/clientCapabilities" => {
                self.reading.facts.capabilities = Some(self.read(Place::Free, members)?);
            }
            "progressToken" => {
                self.reading.facts.progress_token = Some(self.scalar(members)?);
            }
            "traceparent" => self.reading.facts.traceparent = Some(self.read(Place::Text, members)?),
            "tracestate" => self.reading.facts.tracestate = Some(self.read(Place::Text, members)?),
            _ => drop(self.read(Place::Free, members)?),
        }
        Ok(())
    }

    fn reference_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "type" => self.reading.facts.reference.kind = Some(self.read(Place::Text, members)?),
            "name" => self.reading.facts.reference.name = Some(self.read(Place::Text, members)?),
            "uri" => self.reading.facts.reference.uri = Some(self.read(Place::Text, members)?),
            _ => drop(self.read(Place::Free, members)?),
        }
        Ok(())
    }

    fn filter_member<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        let good = match name {
            "promptsListChanged" | "resourcesListChanged" | "toolsListChanged" => {
                matches!(self.read(Place::Free, members)?, Shape::Scalar)
            }
            "resourceSubscriptions" => {
                matches!(self.read(Place::FilterResources, members)?, Shape::Array)
            }
            _ => {
                self.read(Place::Free, members)?;
                false
            }
        };
        self.reading.facts.filter.is_strange |= !good;
        Ok(())
    }

    /// The text is kept only where it decides.
    fn text(&self, text: &str) -> Shape {
        if self.place == Place::Text { Shape::Text(text.to_owned()) } else { Shape::Text(String::new()) }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = Shape;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }
    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }
    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Shape, E> {
        Ok(self.text(text))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Shape, E> {
        self.reading.check_unescaped(text)?;
        Ok(self.text(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Shape, A::Error> {
        let place = if self.place == Place::FilterResources { Place::Text } else { Place::Free };
        while let Some(item) = items.next_element_seed(self.inner(place)?)? {
            if place == Place::Text {
                match plain(Some(&item)) {
                    Ok(uri) => self.reading.facts.filter.resources.push(uri),
                    Err(_) => self.reading.facts.filter.is_strange = true,
                }
            }
        }
        Ok(Shape::Array)
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Shape, A::Error> {
        let reserved = self.place.reserved();
        let mut seen = Names::default();
        while let Some(name) = members.next_key_seed(MemberName)? {
            if let Cow::Owned(unescaped) = &name {
                self.reading.check_unescaped(unescaped)?;
            }
            if !seen.insert(name.clone()) {
                return Err(self.reading.refuse(ParseRefusal::Duplicate));
            }
            if reserved.is_some_and(|reserved| is_lookalike(&name, reserved)) {
                return Err(self.reading.refuse(ParseRefusal::Lookalike));
            }
            self.member(&name, &mut members)?;
        }
        Ok(Shape::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn pc_05_a_token_is_found_wherever_it_stands_and_however_long_it_is() {
        let long: String = ('a'..='z').cycle().take(700).collect();
        for token in ["t", "short.token", &long] {
            for text in [token.to_owned(), format!("{{\"x\":\"{token}\"}}"), format!("x{token}")] {
                assert!(holds(&text, token), "{text}");
            }
            let end = token.chars().rev().take(32).collect::<Vec<_>>().into_iter().rev().collect::<String>();
            assert_eq!(holds(&format!("!{end}!{end}"), token), token.len() <= 32);
        }
    }
}
