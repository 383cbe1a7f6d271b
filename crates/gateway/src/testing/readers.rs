//! Readers that are laxer than ours, for tests: whatever we let through, each of them must read in it what we decided about.
//!
//! They take the first or the last of two members of one name, and compare names exactly, or without case, separators and
//! invisible characters; those of programs split lines wherever any language does.

use crate::message::call::{Aim, Call, Kind};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// JSON as it stands: members in their order, none of them lost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lax {
    List(Vec<Lax>),
    Object(Vec<(String, Lax)>),
    Number(f64),
    Text(String),
    Word(Option<bool>),
}

/// Which of several members of one name.
#[derive(Clone, Copy, Debug)]
enum Pick {
    First,
    Last,
}

/// How names are compared.
#[derive(Clone, Copy, Debug)]
enum Names {
    Exact,
    Careless,
}

/// One kind of reader.
#[derive(Clone, Copy, Debug)]
struct Reader {
    pick: Pick,
    names: Names,
}

const READERS: [Reader; 4] = [
    Reader { pick: Pick::First, names: Names::Exact },
    Reader { pick: Pick::Last, names: Names::Exact },
    Reader { pick: Pick::First, names: Names::Careless },
    Reader { pick: Pick::Last, names: Names::Careless },
];

/// What a message says, as far as anybody decides by it.
#[derive(Debug, PartialEq)]
struct Said {
    method: Option<String>,
    id: Option<Lax>,
    /// Names and URIs that the method is about, in order.
    objects: Vec<String>,
}

/// Whether every reader reads `sent` as `call`; what one of them reads instead.
pub(crate) fn agree(sent: &[u8], call: &Call) -> Result<(), String> {
    let message: Lax = serde_json::from_slice(sent).map_err(|error| format!("no JSON: {error}"))?;
    let meant = meant(call);
    for reader in READERS {
        let mut said = reader.read(&message);
        if call.aim == Aim::Unknown {
            // Not forwarded, whatever it is about.
            said.objects.clear();
        }
        if said != meant {
            return Err(format!("{reader:?} reads {said:?}, we read {meant:?}"));
        }
    }
    Ok(())
}

/// The same for what a program is sent: each line that any reader of lines finds is the message, and there is one.
pub(crate) fn agree_on_lines(sent: &[u8], call: &Call) -> Result<(), String> {
    let text = std::str::from_utf8(sent).map_err(|error| format!("no text: {error}"))?;
    let splits_lines = |letter| {
        matches!(
            letter,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = text.split(splits_lines).filter(|line| !line.trim().is_empty());
    match (lines.next(), lines.next()) {
        (Some(line), None) => agree(line.as_bytes(), call),
        (_, other) => Err(format!("a second line: {other:?}")),
    }
}

fn meant(call: &Call) -> Said {
    let id = call.id.as_ref().and_then(|id| serde_json::from_str(id.get()).ok());
    let objects = match &call.aim {
        Aim::CallTool(name) | Aim::CompletePrompt(name) | Aim::GetPrompt(name) => vec![name.clone()],
        Aim::CompleteResource(uri) | Aim::ReadResource(uri) | Aim::WatchResource(uri) => vec![uri.clone()],
        Aim::Listen(uris) => uris.clone(),
        Aim::Task(task) => vec![task.id.clone()],
        Aim::Connect | Aim::Initialize | Aim::List | Aim::Method(_) | Aim::Unknown => Vec::new(),
    };
    // An empty name is one, too.
    Said { method: (call.kind != Kind::Response).then(|| call.method.clone()), id, objects }
}

impl Reader {
    fn read(self, message: &Lax) -> Said {
        let method = self.text(message, "method");
        let params = self.get(message, "params");
        let of = |object: Option<&Lax>, name: &str| object.and_then(|object| self.text(object, name));
        let reference = params.and_then(|params| self.get(params, "ref"));
        let filter = params.and_then(|params| self.get(params, "notifications"));
        let objects = match method.as_deref() {
            Some("tools/call" | "prompts/get") => vec![of(params, "name")],
            Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => {
                vec![of(params, "uri")]
            }
            Some("tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update") => {
                vec![of(params, "taskId")]
            }
            Some("completion/complete") => match of(reference, "type").as_deref() {
                Some("ref/prompt") => vec![of(reference, "name")],
                _ => vec![of(reference, "uri")],
            },
            Some("subscriptions/listen") => self.texts(filter, "resourceSubscriptions"),
            _ => Vec::new(),
        };
        let objects = objects.into_iter().map(Option::unwrap_or_default).collect();
        Said { method, id: self.get(message, "id").cloned(), objects }
    }

    fn get<'v>(self, object: &'v Lax, wanted: &str) -> Option<&'v Lax> {
        let Lax::Object(members) = object else { return None };
        let is_it = |(name, _): &&'v (String, Lax)| match self.names {
            Names::Exact => name == wanted,
            Names::Careless => careless(name) == careless(wanted),
        };
        let mut found = members.iter().filter(is_it);
        let member = match self.pick {
            Pick::First => found.next(),
            Pick::Last => found.next_back(),
        };
        member.map(|(_, value)| value)
    }

    fn text(self, object: &Lax, wanted: &str) -> Option<String> {
        match self.get(object, wanted)? {
            Lax::Text(text) => Some(text.clone()),
            Lax::List(_) | Lax::Object(_) | Lax::Number(_) | Lax::Word(_) => None,
        }
    }

    fn texts(self, object: Option<&Lax>, wanted: &str) -> Vec<Option<String>> {
        let Some(Lax::List(items)) = object.and_then(|object| self.get(object, wanted)) else {
            return Vec::new();
        };
        let text = |item: &Lax| if let Lax::Text(text) = item { Some(text.clone()) } else { None };
        items.iter().map(text).collect()
    }
}

/// A name as careless readers compare it: without case, width, invisible characters, and the separators of naming styles.
pub(crate) fn careless(name: &str) -> String {
    name.chars()
        .filter(|letter| letter.is_alphanumeric() || letter.is_ascii_punctuation())
        .filter(|letter| !matches!(letter, '_' | '-'))
        .map(|letter| match letter {
            '\u{ff41}'..='\u{ff5a}' => char::from_u32(u32::from(letter) - 0xff41 + 0x61).unwrap_or(letter),
            '\u{430}' => 'a',
            '\u{435}' => 'e',
            '\u{17f}' => 's',
            '\u{210e}' => 'h',
            '\u{212a}' => 'k',
            '\u{131}' => 'i',
            other => other,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

impl<'de> Deserialize<'de> for Lax {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Lax;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }
    fn visit_bool<E>(self, word: bool) -> Result<Lax, E> {
        Ok(Lax::Word(Some(word)))
    }
    fn visit_unit<E>(self) -> Result<Lax, E> {
        Ok(Lax::Word(None))
    }
    #[expect(clippy::cast_precision_loss, reason = "as many readers do")]
    fn visit_i64<E>(self, number: i64) -> Result<Lax, E> {
        Ok(Lax::Number(number as f64))
    }
    #[expect(clippy::cast_precision_loss, reason = "as many readers do")]
    fn visit_u64<E>(self, number: u64) -> Result<Lax, E> {
        Ok(Lax::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Lax, E> {
        Ok(Lax::Number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Lax, E> {
        Ok(Lax::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lax, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Lax::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Lax, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Lax::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::call::parse;

    fn read(text: &str) -> Call {
        parse(text.as_bytes(), "no token", 64).unwrap()
    }

    /// Of what our parser refuses, some reader reads something else: they are as lax as they are meant to be.
    #[test]
    fn rpc_07_08_the_readers_see_what_two_readers_can_see_differently() {
        let good = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list"}}"#;
        let call = read(good);
        assert_eq!(agree(good.as_bytes(), &call), Ok(()));
        assert_eq!(agree_on_lines(good.as_bytes(), &call), Ok(()));
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list","name":"wipe"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wipe","name":"list"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list","Name":"wipe"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list","n\u0430me":"wipe"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list","_name":"wipe"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","METHOD":"x","params":{"name":"list"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{},"params":{"name":"list"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"ID":2,"method":"tools/call","params":{"name":"list"}}"#,
            r#"{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"name":"list"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"list"}}"#,
        ] {
            assert!(agree(other.as_bytes(), &call).is_err(), "{other}");
            if let Ok(read) = parse(other.as_bytes(), "no token", 64) {
                assert_eq!(agree(other.as_bytes(), &read), Ok(()), "{other}");
            }
        }
        for terminator in ["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}", "\u{b}"] {
            let two = format!("{good}{terminator}{good}");
            assert!(agree_on_lines(two.as_bytes(), &call).is_err(), "{terminator:?}");
        }
    }
}
