//! Pinned tool definitions (PC-33): what a tool said of itself when it was approved, by digest; and what is told apart.
//!
//! The digest covers the whole definition: name, title, description, schemas, annotations, icons, `_meta`. Whatever a model
//! reads of a tool can steer it, so whatever changes is another tool until somebody looked at it.

mod difference;
mod known;

pub use difference::{Change, difference};
pub use known::{KnownTool, unknown_arguments};

use crate::id::ServerId;
use crate::registry::Pinning;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The longest definition that can be pinned, in bytes; nobody reads a longer one before approving it.
pub const MAX_DEFINITION: usize = 256 * 1024;

/// The most tools of one server that can be pinned, or wait.
pub const MAX_TOOLS: usize = 1000;

/// The longest name of a tool that can be pinned, in bytes.
const MAX_NAME: usize = 512;

/// Marks what stands for an unreadable definition.
const UNREADABLE: &str = "portcullis.unreadable";

/// SHA-256 of a definition's canonical JSON, 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 of 0-9 a-f")]
pub struct InvalidDigest;

impl Digest {
    fn of(text: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let legal = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !legal {
            return Err(InvalidDigest);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| InvalidDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a tool says of itself, in canonical form: members by name, no blanks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Definition {
    text: String,
    digest: Digest,
}

/// A definition that cannot be pinned, and is never shown or callable where pins hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpinnable {
    /// No JSON object.
    #[error("not a definition of a tool")]
    Malformed,
    /// Longer than [`MAX_DEFINITION`].
    #[error("longer than 256 KiB")]
    TooLong,
}

impl Definition {
    /// Reads a definition as it stands in a list whose member names were checked to be unique.
    pub fn read(text: &str) -> Result<Self, Unpinnable> {
        let definition = Self::try_from(text.to_owned())?;
        if definition.is_unreadable() { Err(Unpinnable::Malformed) } else { Ok(definition) }
    }

    /// What stands for a definition that cannot be pinned: nobody can approve it, and everything differs from it.
    pub fn of_unreadable(name: &str) -> Self {
        let value = serde_json::json!({ "name": name, UNREADABLE: Unpinnable::TooLong.to_string() });
        let text = value.to_string();
        Self { digest: Digest::of(&text), text }
    }

    /// Whether it stands for one that cannot be pinned.
    pub fn is_unreadable(&self) -> bool {
        self.value().get(UNREADABLE).is_some()
    }

    /// The digest of the whole.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The canonical JSON.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As a value.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl TryFrom<String> for Definition {
    type Error = Unpinnable;
    /// One that was read before, and stored or sent.
    fn try_from(text: String) -> Result<Self, Unpinnable> {
        if text.len() > MAX_DEFINITION {
            return Err(Unpinnable::TooLong);
        }
        let value: Value = serde_json::from_str(&text).map_err(|_| Unpinnable::Malformed)?;
        if !value.is_object() {
            return Err(Unpinnable::Malformed);
        }
        let mut canonical = String::with_capacity(text.len());
        write_canonical(&value, &mut canonical);
        Ok(Self { digest: Digest::of(&canonical), text: canonical })
    }
}

impl From<Definition> for String {
    fn from(definition: Definition) -> Self {
        definition.text
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    let comma = |at: usize, out: &mut String| {
        if at > 0 {
            out.push(',');
        }
    };
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                comma(at, out);
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            out.push('{');
            for (at, (name, value)) in sorted.into_iter().enumerate() {
                comma(at, out);
                write_canonical(&Value::String(name.clone()), out);
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _infallible = write!(out, "{value}");
        }
    }
}

/// Whether a tool of this name can be pinned: what cannot be called need not be.
pub fn is_nameable(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What is known of an approved tool where calls are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Of the approved definition.
    pub digest: Digest,
    /// Which approval of this tool it is. What was seen before it does not count after it.
    pub approval: u64,
    /// Another definition was seen since: not callable before somebody approves one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// The pins of one server, by the names of its tools.
pub type Pins = BTreeMap<String, Pin>;

/// How the tools of one server stand, ready to be asked at each call.
#[derive(Debug)]
pub struct PinnedTools {
    pinning: Pinning,
    pins: HashMap<String, Pin>,
}

/// How one tool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Definitions may change here, or nothing was pinned yet and the first sight will be.
    Free,
    /// Not the pinned definition was seen: not callable.
    Held(Pin),
    /// Nobody approved it: not callable.
    NotApproved,
    /// Callable while its definition is this one.
    Pinned(Pin),
}

impl PinnedTools {
    /// For a server with these pins; none if there is nothing under its id.
    pub fn new(pinning: Pinning, pins: Option<&Pins>) -> Self {
        let pins = match pinning {
            Pinning::Off => HashMap::new(),
            Pinning::Approved | Pinning::FirstSight => {
                pins.into_iter().flatten().map(|(tool, pin)| (tool.clone(), *pin)).collect()
            }
        };
        Self { pinning, pins }
    }

    /// How a tool stands.
    pub fn standing(&self, tool: &str) -> Standing {
        match (self.pinning, self.pins.get(tool)) {
            (Pinning::Off, _) => Standing::Free,
            (Pinning::FirstSight, None) if self.pins.is_empty() => Standing::Free,
            (Pinning::Approved | Pinning::FirstSight, None) => Standing::NotApproved,
            (Pinning::Approved | Pinning::FirstSight, Some(pin)) if pin.held => Standing::Held(*pin),
            (Pinning::Approved | Pinning::FirstSight, Some(pin)) => Standing::Pinned(*pin),
        }
    }

    /// Whether what is listed is compared at all.
    pub fn are_watched(&self) -> bool {
        self.pinning != Pinning::Off
    }

    /// Whether the next whole list becomes the pins.
    pub fn await_first_sight(&self) -> bool {
        self.pinning == Pinning::FirstSight && self.pins.is_empty()
    }
}

/// Tools as an upstream showed them: those that are not as pinned, or all of them where nothing is pinned yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Whose.
    pub server: ServerId,
    /// Whether these are all tools that the upstream listed.
    pub whole: bool,
    /// In the list's order; no name twice.
    pub tools: Vec<SeenTool>,
}

/// One tool as an upstream showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTool {
    /// Its name.
    pub name: String,
    /// What it said of itself.
    pub definition: Definition,
    /// The approval that it was compared with; 0 where there was none.
    pub approval: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Definition::read(text).unwrap().digest()
    }

    #[test]
    fn pc_33_a_digest_is_of_what_is_said_not_of_how_it_is_written() {
        let one = digest(r#"{"name":"a","inputSchema":{"type":"object","required":["x","y"]}}"#);
        let same = digest(r#" {"inputSchema" : {"required":["x" ,"\u0079"],"type":"object"}, "name":"a"}"#);
        assert_eq!(one, same);
        for other in [
            r#"{"name":"a","inputSchema":{"type":"object","required":["y","x"]}}"#,
            r#"{"name":"a","inputSchema":{"type":"object","required":["x","y"]},"_meta":{}}"#,
            r#"{"name":"a","inputSchema":{"type":"object","required":["x","y"]},"description":""}"#,
            r#"{"name":"a ","inputSchema":{"type":"object","required":["x","y"]}}"#,
        ] {
            assert_ne!(digest(other), one, "{other}");
        }
        assert_eq!(one.to_string().parse(), Ok(one));
        assert!("0".repeat(63).parse::<Digest>().is_err() && "é".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn pc_33_what_is_no_definition_or_too_long_to_read_is_not_pinned() {
        for bad in ["[]", "1", "\"a\"", "{", ""] {
            assert_eq!(Definition::read(bad), Err(Unpinnable::Malformed), "{bad}");
        }
        let long = format!(r#"{{"name":"a","description":"{}"}}"#, "x".repeat(MAX_DEFINITION));
        assert_eq!(Definition::read(&long), Err(Unpinnable::TooLong));
        let stands_for_it = Definition::of_unreadable("a");
        let text = String::from(stands_for_it.clone());
        assert_eq!(Definition::read(&text), Err(Unpinnable::Malformed), "no upstream says so itself");
        assert_eq!(Definition::try_from(text), Ok(stands_for_it), "but it can be stored");
        assert!(is_nameable("read_note") && !is_nameable("") && !is_nameable("a\u{0}"));
    }

    #[test]
    fn pc_33_only_what_is_pinned_and_not_held_is_callable() {
        let pin = |held| Pin { digest: digest("{}"), approval: 3, held };
        let pins = Pins::from([("good".to_owned(), pin(false)), ("held".to_owned(), pin(true))]);
        for pinning in [Pinning::FirstSight, Pinning::Approved] {
            let tools = PinnedTools::new(pinning, Some(&pins));
            assert_eq!(tools.standing("good"), Standing::Pinned(pin(false)));
            assert_eq!(tools.standing("held"), Standing::Held(pin(true)));
            assert_eq!(tools.standing("new"), Standing::NotApproved);
            assert!(tools.are_watched() && !tools.await_first_sight());
        }
        let first = PinnedTools::new(Pinning::FirstSight, None);
        assert!(first.standing("any") == Standing::Free && first.await_first_sight());
        let none = PinnedTools::new(Pinning::Approved, None);
        assert!(none.standing("any") == Standing::NotApproved && !none.await_first_sight());
        let off = PinnedTools::new(Pinning::Off, Some(&pins));
        assert!(off.standing("held") == Standing::Free && !off.are_watched());
    }
}
