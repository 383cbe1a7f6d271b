//! A message with lists in it, read once: where each item stands, and what else of it is not passed on as it came.

use super::{Reader, Undecodable};
use portcullis_domain::policy::Operation;
use portcullis_oauth::strict_json::{self, MemberName};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Lists are checked no deeper than the JSON library reads.
const MAX_DEPTH: usize = 100;

/// The most items of one message. What is remembered of one takes more room than the shortest takes in the message.
const MAX_ITEMS: usize = 10_000;

/// Where things stand in a message. What is not named here is passed on as it stands.
pub(super) struct Page {
    /// In the order of the text.
    cuts: Vec<Cut>,
    /// How many items there are.
    items: usize,
    /// Another page follows.
    goes_on: bool,
}

enum Cut {
    /// `cacheScope`.
    CacheScope(Range<usize>),
    /// `id` of the message.
    Id(Range<usize>),
    /// All of one list that stands between its brackets; not empty.
    Items(Range<usize>, Vec<Item>),
}

struct Item {
    at: Range<usize>,
    /// None if it has none: then nobody may see it.
    name: Option<Box<str>>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prompt,
    Resource,
    ResourceTemplate,
    Task,
    Tool,
}

impl Kind {
    /// Of the items under this name in a result.
    fn of_list(name: &str) -> Option<Self> {
        match name {
            "prompts" => Some(Self::Prompt),
            "resources" => Some(Self::Resource),
            "resourceTemplates" => Some(Self::ResourceTemplate),
            "tasks" => Some(Self::Task),
            "tools" => Some(Self::Tool),
            _ => None,
        }
    }

    /// The member that names an item.
    fn key(self) -> &'static str {
        match self {
            Self::Prompt | Self::Tool => "name",
            Self::Resource => "uri",
            Self::ResourceTemplate => "uriTemplate",
            Self::Task => "taskId",
        }
    }
}

impl Page {
    /// Reads a message, in which nothing may stand that readers could read differently.
    pub(super) fn read(text: &str) -> Result<Self, Undecodable> {
        strict_json::check(text.as_bytes(), MAX_DEPTH).map_err(|_| Undecodable::Garbled)?;
        let mut page = Self { cuts: Vec::new(), items: 0, goes_on: false };
        let reading = Members { text, page: &mut page, level: Level::Envelope };
        match reading.deserialize(&mut serde_json::Deserializer::from_str(text)) {
            Ok(()) => Ok(page),
            Err(_) if page.items > MAX_ITEMS => Err(Undecodable::TooManyItems),
            Err(_) => Err(Undecodable::Garbled),
        }
    }

    /// Where the message's id stands.
    pub(super) fn id(&self) -> Option<&Range<usize>> {
        self.cuts.iter().find_map(|cut| match cut {
            Cut::Id(at) => Some(at),
            Cut::CacheScope(_) | Cut::Items(..) => None,
        })
    }

    /// Whether somebody else may see other items from the same standpoint.
    pub(super) fn is_personal(&self) -> bool {
        self.cuts.iter().any(|cut| match cut {
            Cut::Items(_, items) => items.iter().any(|item| item.kind == Kind::Task),
            Cut::CacheScope(_) | Cut::Id(_) => false,
        })
    }

    /// About what it takes.
    pub(super) fn bytes(&self) -> usize {
        let of_cut = |cut: &Cut| match cut {
            Cut::CacheScope(_) | Cut::Id(_) => size_of::<Cut>(),
            // And what stands on the heap of its name.
            Cut::Items(_, items) => items.len() * (size_of::<Item>() + 32),
        };
        self.cuts.iter().map(of_cut).sum()
    }

    /// Which of the items the reader may see, in their order.
    pub(super) fn shown(&self, text: &str, reader: &Reader<'_>) -> Vec<bool> {
        if self.goes_on {
            reader.look.goes_on();
        }
        let lists = self.cuts.iter().filter_map(|cut| match cut {
            Cut::Items(_, items) => Some(items),
            Cut::CacheScope(_) | Cut::Id(_) => None,
        });
        lists.flatten().map(|item| item.is_shown(text, reader)).collect()
    }

    /// The message anew, with these of its items; and with another id, if one is given.
    pub(super) fn written(&self, text: &[u8], shown: &[bool], id: Option<&str>) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut shown = shown.iter();
        let mut from = 0;
        for cut in &self.cuts {
            let at = cut.at();
            out.extend_from_slice(&text[from..at.start]);
            from = at.end;
            match cut {
                // What one principal sees must not be kept for another.
                Cut::CacheScope(_) => out.extend_from_slice(b"\"private\""),
                Cut::Id(at) => out.extend_from_slice(id.map_or(&text[at.clone()], str::as_bytes)),
                Cut::Items(_, items) => {
                    let visible = items.iter().zip(shown.by_ref()).filter(|(_, shown)| **shown);
                    for (number, (item, _)) in visible.enumerate() {
                        if number > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(&text[item.at.clone()]);
                    }
                }
            }
        }
        out.extend_from_slice(&text[from..]);
        out
    }
}

impl Cut {
    fn at(&self) -> Range<usize> {
        match self {
            Self::CacheScope(at) | Self::Id(at) | Self::Items(at, _) => at.clone(),
        }
    }
}

impl Item {
    fn is_shown(&self, text: &str, reader: &Reader<'_>) -> bool {
        let name = self.name.as_deref();
        // Every tool is looked at, whoever reads the list.
        let is_as_pinned = self.kind != Kind::Tool || reader.look.tool(name, &text[self.at.clone()]);
        is_as_pinned && name.is_some_and(|name| reader.may_see(self.kind, name))
    }
}

impl Reader<'_> {
    fn may_see(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Prompt => self.shows(Operation::Prompt(name)),
            Kind::Resource | Kind::ResourceTemplate => self.shows(Operation::Resource(name)),
            Kind::Task => {
                let made_by = self.tasks.of(self.policy.server().id, name, self.principal);
                made_by.is_some_and(|made_by| self.shows(Operation::Tool(&made_by.tool)))
            }
            Kind::Tool => self.shows(Operation::Tool(name)),
        }
    }

    fn shows(&self, operation: Operation<'_>) -> bool {
        self.policy.shows_from(&self.standpoint, operation)
    }
}

/// Where `part`, which is a part of `text`, stands in it.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The same place with the blanks around it.
fn with_blanks(text: &str, place: Range<usize>) -> Range<usize> {
    let start = text[..place.start].trim_ascii_end().len();
    start..text.len() - text[place.end..].trim_ascii_start().len()
}

/// Reads the members of an object that hold lists, or lead to them.
struct Members<'m, 'p> {
    text: &'m str,
    page: &'p mut Page,
    level: Level,
}

/// Which object of a message.
#[derive(Clone, Copy)]
enum Level {
    Envelope,
    Result,
}

impl<'de> Members<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match (self.level, name) {
            (Level::Envelope, "id") => {
                let id: &RawValue = members.next_value()?;
                self.page.cuts.push(Cut::Id(place(self.text, id.get())));
                Ok(())
            }
            (Level::Envelope, "result") => {
                members.next_value_seed(Members { text: self.text, page: self.page, level: Level::Result })
            }
            (Level::Envelope, _) => ignored(members),
            (Level::Result, "cacheScope") => {
                let scope: &RawValue = members.next_value()?;
                self.page.cuts.push(Cut::CacheScope(place(self.text, scope.get())));
                Ok(())
            }
            (Level::Result, "nextCursor") => {
                let cursor: &RawValue = members.next_value()?;
                self.page.goes_on |= cursor.get() != "null";
                Ok(())
            }
            (Level::Result, name) => match Kind::of_list(name) {
                None => ignored(members),
                Some(kind) => {
                    let items = members.next_value_seed(Items {
                        text: self.text,
                        kind,
                        count: &mut self.page.items,
                    })?;
                    if let (Some(first), Some(last)) = (items.first(), items.last()) {
                        let between = with_blanks(self.text, first.at.start..last.at.end);
                        self.page.cuts.push(Cut::Items(between, items));
                    }
                    Ok(())
                }
            },
        }
    }
}

fn ignored<'de, A: MapAccess<'de>>(members: &mut A) -> Result<(), A::Error> {
    members.next_value::<IgnoredAny>().map(drop)
}

impl<'de> DeserializeSeed<'de> for Members<'de, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'de, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key_seed(MemberName)? {
            self.member(&name, &mut members)?;
        }
        Ok(())
    }
}

/// Reads one list.
struct Items<'m, 'c> {
    text: &'m str,
    kind: Kind,
    count: &'c mut usize,
}

impl<'de> DeserializeSeed<'de> for Items<'de, '_> {
    type Value = Vec<Item>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Item>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'de, '_> {
    type Value = Vec<Item>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Item>, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            *self.count += 1;
            if *self.count > MAX_ITEMS {
                return Err(A::Error::custom("too many items"));
            }
            let name = text_under(self.kind.key(), item).map_err(A::Error::custom)?;
            let at = place(self.text, item.get());
            read.push(Item { at, name: name.map(Into::into), kind: self.kind });
        }
        Ok(read)
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
