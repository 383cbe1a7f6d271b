//! The list filter (PC-22): an answer shows what its reader may call or could be allowed to, and nothing else.
//!
//! By content, whatever its type says (SCOPE-17). Items are passed on as they stand or left out; nothing is printed anew.

use crate::pins::Look;
use crate::tasks::Tasks;
use portcullis_domain::condition::Circumstances;
use portcullis_domain::policy::{Operation, ServerPolicy};
use portcullis_domain::principal::Principal;
use portcullis_oauth::strict_json::{self, MemberName};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Lists are checked no deeper than the JSON library reads.
const MAX_DEPTH: usize = 100;

/// The answer is no JSON-RPC message, or one that readers could read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undecodable;

/// Who reads a list, and by which policy.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) policy: &'a ServerPolicy,
    pub(crate) principal: &'a Principal,
    /// Of which a list of tasks shows the reader's own.
    pub(crate) tasks: &'a Tasks,
    /// Without arguments: what only those can forbid is shown.
    pub(crate) circumstances: Circumstances<'a>,
    /// PC-33: what is not as it was approved is left out, and remembered.
    pub(crate) look: &'a Look<'a>,
}

/// The message, with every list in its result filtered. Messages without a result are passed on as they are.
pub(crate) fn filtered(message: &[u8], reader: Reader<'_>) -> Result<Vec<u8>, Undecodable> {
    strict_json::check(message, MAX_DEPTH).map_err(|_| Undecodable)?;
    let text = std::str::from_utf8(message).map_err(|_| Undecodable)?;
    let mut out = Vec::with_capacity(message.len());
    let mut has_result = false;
    let rewrite = Rewrite { reader, out: &mut out, level: Level::Envelope { has_result: &mut has_result } };
    rewrite.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|_| Undecodable)?;
    Ok(if has_result { out } else { message.to_vec() })
}

/// Writes an object anew, member by member: values as they stand, but for the lists in a result.
struct Rewrite<'r, 'o> {
    reader: Reader<'r>,
    out: &'o mut Vec<u8>,
    level: Level<'o>,
}

/// Which object of a message.
enum Level<'o> {
    Envelope { has_result: &'o mut bool },
    Result,
}

impl Rewrite<'_, '_> {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match &mut self.level {
            Level::Envelope { has_result } if name == "result" => {
                **has_result = true;
                members.next_value_seed(Rewrite { reader: self.reader, out: self.out, level: Level::Result })
            }
            Level::Envelope { .. } => self.as_it_stands(members),
            Level::Result => self.result_member(name, members),
        }
    }

    fn result_member<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        let listed = match name {
            "tools" => Listed::Tools,
            "prompts" => Listed::Prompts,
            "resources" => Listed::Resources,
            "resourceTemplates" => Listed::Templates,
            "tasks" => Listed::Tasks,
            // What one principal sees must not be kept for another.
            "cacheScope" => {
                self.out.extend_from_slice(b"\"private\"");
                return members.next_value::<IgnoredAny>().map(drop);
            }
            "nextCursor" => {
                let cursor: &'de RawValue = members.next_value()?;
                if cursor.get() != "null" {
                    self.reader.look.goes_on();
                }
                self.out.extend_from_slice(cursor.get().as_bytes());
                return Ok(());
            }
            _ => return self.as_it_stands(members),
        };
        members.next_value_seed(Items { reader: self.reader, out: self.out, listed })
    }

    fn as_it_stands<'de, A: MapAccess<'de>>(&mut self, members: &mut A) -> Result<(), A::Error> {
        let value: &'de RawValue = members.next_value()?;
        self.out.extend_from_slice(value.get().as_bytes());
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Rewrite<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Rewrite<'_, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.out.push(b'{');
        let mut is_first = true;
        while let Some(name) = members.next_key_seed(MemberName)? {
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            serde_json::to_writer(&mut *self.out, &name).map_err(A::Error::custom)?;
            self.out.push(b':');
            self.member(&name, &mut members)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// What a list is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Prompts,
    Resources,
    Tasks,
    Templates,
    Tools,
}

impl Listed {
    /// The member that names an item.
    fn key(self) -> &'static str {
        match self {
            Self::Prompts | Self::Tools => "name",
            Self::Resources => "uri",
            Self::Tasks => "taskId",
            Self::Templates => "uriTemplate",
        }
    }
}

impl Reader<'_> {
    fn may_see(&self, listed: Listed, name: &str) -> bool {
        match listed {
            Listed::Prompts => self.shows(Operation::Prompt(name)),
            Listed::Resources | Listed::Templates => self.shows(Operation::Resource(name)),
            Listed::Tasks => {
                let made_by = self.tasks.of(self.policy.server().id, name, self.principal);
                made_by.is_some_and(|made_by| self.shows(Operation::Tool(&made_by.tool)))
            }
            Listed::Tools => self.shows(Operation::Tool(name)),
        }
    }

    fn shows(&self, operation: Operation<'_>) -> bool {
        self.policy.shows(self.principal, operation, &self.circumstances)
    }
}

/// Writes those items of a list that the reader may see.
struct Items<'r, 'o> {
    reader: Reader<'r>,
    out: &'o mut Vec<u8>,
    listed: Listed,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { reader, out, listed } = self;
        out.push(b'[');
        let mut is_first = true;
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            let name = text_under(listed.key(), item).map_err(A::Error::custom)?;
            // Every tool is looked at, whoever reads the list.
            let is_as_pinned = listed != Listed::Tools || reader.look.tool(name.as_deref(), item);
            if !is_as_pinned || !name.as_deref().is_some_and(|name| reader.may_see(listed, name)) {
                continue;
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(item.get().as_bytes());
        }
        out.push(b']');
        Ok(())
    }
}

/// The text under `key` of an object that names no member twice. `None` when there is none, or it is no text; an error when
/// `item` is no object.
fn text_under<'i>(key: &str, item: &'i RawValue) -> serde_json::Result<Option<Cow<'i, str>>> {
    let mut found = None;
    let read =
        serde_json::Deserializer::from_str(item.get()).deserialize_map(Find { key, found: &mut found });
    match (found, read) {
        // What follows is not read again: then the reader says that the object does not end.
        (Some(value), _) if value.get().starts_with('"') => {
            MemberName.deserialize(&mut serde_json::Deserializer::from_str(value.get())).map(Some)
        }
        (Some(_), _) | (None, Ok(())) => Ok(None),
        (None, Err(error)) => Err(error),
    }
}

/// Reads an object up to the member `key`.
struct Find<'f, 'de> {
    key: &'f str,
    found: &'f mut Option<&'de RawValue>,
}

impl<'de> Visitor<'de> for Find<'_, 'de> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key_seed(MemberName)? {
            if name == self.key {
                *self.found = Some(members.next_value()?);
                return Ok(());
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}
