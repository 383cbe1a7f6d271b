//! What changes from one fleet to another, in the words of the fleet file, for a person to review (PC-34).

use super::Fleet;
use super::narrowed::{Narrowed, narrowed};
use super::written::{WrittenAgent, WrittenClient, WrittenForbid, WrittenRole, WrittenServer, written};
use crate::registry::{Name, Server};
use portcullis_oauth::issuer::Issuer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// A server under another canonical URI is another server: removed and added.
    pub servers: Changes,
    /// By name.
    pub agents: Changes,
    /// By name.
    #[serde(default)]
    pub clients: Changes,
    /// By name.
    pub roles: Changes,
    /// Fields of `[self_registered]`.
    pub self_registered: Vec<FieldChange>,
    /// By name: `forbid no writes at night`, or a field of one.
    #[serde(default)]
    pub forbids: Vec<FieldChange>,
    /// Who could do more before, on servers that stay. Agents that go lose everything and are not here.
    pub narrowed: Vec<Narrowed>,
}

/// Of one kind of thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// New.
    pub added: Vec<Name>,
    /// There before and after.
    pub changed: Vec<Changed>,
    /// Gone.
    pub removed: Vec<Name>,
}

/// A thing that is there before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its name.
    pub name: Name,
    /// What is not the same.
    pub fields: Vec<FieldChange>,
}

/// A field; `null` means that it is not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// As in the file: `upstream.url`, `access.notes`, `rule 2`.
    pub field: String,
    /// Its value.
    pub before: Value,
    /// Its value.
    pub after: Value,
}

impl Difference {
    /// From one to the other.
    pub fn between(before: &Fleet, after: &Fleet, issuer: &Issuer) -> Self {
        let server = |server: &Server<()>| (server.name.clone(), server.canonical_uri.clone());
        Self {
            servers: changes(
                (&before.servers, &after.servers),
                server,
                |key| &key.0,
                |server| value(&WrittenServer::of(server, issuer)),
            ),
            agents: changes(
                (&before.agents, &after.agents),
                |agent| agent.name.clone(),
                |key| key,
                |agent| value(&WrittenAgent::of(agent)),
            ),
            clients: changes(
                (&before.clients, &after.clients),
                |client| client.name.clone(),
                |key| key,
                |client| value(&WrittenClient::of(client)),
            ),
            roles: changes(
                (&before.roles, &after.roles),
                |role| role.name.clone(),
                |key| key,
                |role| value(&WrittenRole::of(role)),
            ),
            forbids: fields(
                &value(&WrittenForbid::by_name(&before.forbids)),
                &value(&WrittenForbid::by_name(&after.forbids)),
                "",
            ),
            self_registered: fields(
                &value(&written(&before.self_registered)),
                &value(&written(&after.self_registered)),
                "access",
            ),
            narrowed: narrowed(before, after),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let kinds = [&self.servers, &self.agents, &self.clients, &self.roles];
        kinds.iter().all(|changes| changes.is_empty())
            && self.self_registered.is_empty()
            && self.forbids.is_empty()
    }

    /// Whether something may be taken from somebody: a thing goes, a ceiling is lower, a rule or a condition is another, what
    /// was let through is refused, or an end is nearer.
    pub fn takes_away(&self) -> bool {
        let kinds = [&self.servers, &self.agents, &self.clients, &self.roles];
        kinds.iter().any(|changes| !changes.removed.is_empty())
            || !self.narrowed.is_empty()
            || self.servers.fields().any(FieldChange::may_close_a_server)
            || self.agents.fields().chain(self.clients.fields()).any(FieldChange::may_stop_a_program)
            || self.roles.fields().any(|field| field.is_in("members"))
            || self.forbids.iter().any(|field| !field.after.is_null())
    }
}

impl FieldChange {
    /// Whether it is the field or lies in it.
    fn is_in(&self, field: &str) -> bool {
        self.field.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ' ']))
    }

    /// Something that was written is another or gone.
    fn replaces(&self, field: &str) -> bool {
        self.is_in(field) && !self.before.is_null()
    }

    fn may_close_a_server(&self) -> bool {
        let anew = ["mode", "upstream", "credential", "labels", "pinning", "observe"];
        anew.iter().any(|field| self.is_in(field))
            || ["rule", "owners", "other_transports"].iter().any(|field| self.replaces(field))
    }

    fn may_stop_a_program(&self) -> bool {
        let anew = ["disabled", "labels", "auth"];
        anew.iter().any(|field| self.is_in(field) && !self.after.is_null())
            || self.is_in("expires") && !self.after.is_null()
            || self.replaces("introspects")
            || self.replaces("redirect_uris")
            || self.replaces("labels")
    }
}

impl Changes {
    fn fields(&self) -> impl Iterator<Item = &FieldChange> {
        self.changed.iter().flat_map(|changed| &changed.fields)
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

fn changes<T: PartialEq, Key: Ord>(
    (before, after): (&[T], &[T]),
    key: impl Fn(&T) -> Key,
    name: impl Fn(&Key) -> &Name,
    written: impl Fn(&T) -> Value,
) -> Changes {
    let old: BTreeMap<Key, &T> = before.iter().map(|thing| (key(thing), thing)).collect();
    let new: BTreeMap<Key, &T> = after.iter().map(|thing| (key(thing), thing)).collect();
    let mut changes = Changes::default();
    for (key, thing) in &new {
        match old.get(key) {
            None => changes.added.push(name(key).clone()),
            Some(known) if known == thing => {}
            Some(known) => changes.changed.push(Changed {
                name: name(key).clone(),
                fields: fields(&written(known), &written(thing), ""),
            }),
        }
    }
    changes.removed = old.keys().filter(|key| !new.contains_key(key)).map(|key| name(key).clone()).collect();
    changes
}

/// What is written always has a value.
fn value(written: &impl Serialize) -> Value {
    serde_json::to_value(written).unwrap_or_default()
}

/// Descends into tables; lists of tables are compared by position, apart from what is the same at both ends.
fn fields(before: &Value, after: &Value, path: &str) -> Vec<FieldChange> {
    let empty = serde_json::Map::new();
    let table = |value| match value {
        &Value::Null => Some(empty.clone()),
        Value::Object(members) => Some(members.clone()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    };
    if before == after {
        return Vec::new();
    }
    if let (Some(before), Some(after)) = (table(before), table(after)) {
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        let below = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let member =
            |of: &serde_json::Map<String, Value>, name: &String| of.get(name).cloned().unwrap_or_default();
        return names
            .into_iter()
            .flat_map(|name| fields(&member(&before, name), &member(&after, name), &below(name)))
            .collect();
    }
    if is_tables(before) || is_tables(after) {
        return elements(list(before), list(after), path);
    }
    vec![FieldChange { field: path.to_owned(), before: before.clone(), after: after.clone() }]
}

fn is_tables(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().any(Value::is_object))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Counted from 1, as decisions count rules.
fn elements(before: &[Value], after: &[Value], path: &str) -> Vec<FieldChange> {
    let same_start = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let (before, after) = (&before[same_start..], &after[same_start..]);
    let same_end = before.iter().rev().zip(after.iter().rev()).take_while(|(old, new)| old == new).count();
    let (before, after) = (&before[..before.len() - same_end], &after[..after.len() - same_end]);
    (0..before.len().max(after.len()))
        .map(|at| FieldChange {
            field: format!("{path} {}", same_start + at + 1),
            before: before.get(at).cloned().unwrap_or_default(),
            after: after.get(at).cloned().unwrap_or_default(),
        })
        .collect()
}
