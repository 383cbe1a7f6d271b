//! The list filter (PC-22): an answer shows what its reader may call or could be allowed to, and nothing else.
//!
//! By content, whatever its type says (SCOPE-17). Items are passed on as they stand or left out; nothing is printed anew.

use portcullis_domain::policy::{Operation, ServerPolicy};
use portcullis_domain::principal::Principal;
use portcullis_oauth::strict_json;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
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
}

/// The message, with every list in its result filtered. Messages without a result are passed on as they are.
pub(crate) fn filtered(message: &[u8], reader: Reader<'_>) -> Result<Vec<u8>, Undecodable> {
    strict_json::check(message, MAX_DEPTH).map_err(|_| Undecodable)?;
    let envelope: Members<'_> = serde_json::from_slice(message).map_err(|_| Undecodable)?;
    let Some(result) = envelope.find("result") else {
        return Ok(message.to_vec());
    };
    let result: Members<'_> = serde_json::from_str(result.get()).map_err(|_| Undecodable)?;
    let mut written = Vec::with_capacity(message.len());
    envelope.write(&mut written, |name, value, out| {
        if name != "result" {
            out.extend_from_slice(value.get().as_bytes());
            return Ok(());
        }
        result.write(out, |name, value, out| reader.write_member(name, value, out))
    })?;
    Ok(written)
}

impl Reader<'_> {
    fn write_member(self, name: &str, value: &RawValue, out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let operation: fn(&str) -> Operation<'_> = match name {
            "tools" => |name| Operation::Tool(name),
            "prompts" => |name| Operation::Prompt(name),
            "resources" | "resourceTemplates" => |uri| Operation::Resource(uri),
            // What one principal sees must not be kept for another.
            "cacheScope" => {
                out.extend_from_slice(b"\"private\"");
                return Ok(());
            }
            _ => {
                out.extend_from_slice(value.get().as_bytes());
                return Ok(());
            }
        };
        let key = match name {
            "resources" => "uri",
            "resourceTemplates" => "uriTemplate",
            _ => "name",
        };
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| Undecodable)?;
        out.push(b'[');
        let mut is_first = true;
        for item in items {
            let members: Members<'_> = serde_json::from_str(item.get()).map_err(|_| Undecodable)?;
            let named = members.find(key).and_then(|name| serde_json::from_str::<String>(name.get()).ok());
            if !named.is_some_and(|name| self.policy.shows(self.principal, operation(&name))) {
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

/// An object's members in their order, values as they stand.
struct Members<'m>(Vec<(String, &'m RawValue)>);

impl<'m> Members<'m> {
    fn find(&self, name: &str) -> Option<&'m RawValue> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        mut value: impl FnMut(&str, &RawValue, &mut Vec<u8>) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        out.push(b'{');
        for (at, (name, raw)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let quoted = serde_json::to_vec(name).map_err(|_| Undecodable)?;
            out.extend_from_slice(&quoted);
            out.push(b':');
            value(name, raw, out)?;
        }
        out.push(b'}');
        Ok(())
    }
}

impl<'de: 'm, 'm> Deserialize<'de> for Members<'m> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}
