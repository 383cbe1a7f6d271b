//! One look at a list of tools: what may be shown, and what is not as it was approved.

use super::ServerPins;
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::{Definition, MAX_TOOLS, SeenTool, Standing, Unpinnable, is_nameable};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Looks at the lists of one answer. Shared with what reads the answer.
pub(crate) struct Look<'a> {
    pins: ServerPins<'a>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    tools: Vec<SeenTool>,
    drifted: Vec<(String, u64)>,
    names: BTreeSet<String>,
    goes_on: bool,
}

/// What a look found.
pub(crate) struct Found {
    pub(crate) server: ServerId,
    /// What is not as it was approved; everything where nothing is pinned yet.
    pub(crate) tools: Vec<SeenTool>,
    /// Pinned tools that differ, with the approval that they differ from.
    pub(crate) drifted: Vec<(String, u64)>,
    /// Of all tools that were listed.
    pub(crate) names: BTreeSet<String>,
    /// Whether another page follows.
    pub(crate) goes_on: bool,
    /// Whether nothing is pinned yet, and the first sight will be.
    pub(crate) is_first: bool,
}

impl<'a> Look<'a> {
    pub(crate) fn new(pins: ServerPins<'a>) -> Self {
        Self { pins, seen: Mutex::default() }
    }

    /// Sees a tool of the list; whether it may be shown, if the caller may call it.
    pub(crate) fn tool(&self, name: Option<&str>, item: &str) -> bool {
        let tools = self.pins.tools;
        if !tools.are_watched() {
            return true;
        }
        let Some(name) = name.filter(|name| is_nameable(name)) else {
            return tools.await_first_sight();
        };
        let standing = tools.standing(name);
        let approval = match standing {
            Standing::Held(pin) | Standing::Pinned(pin) => pin.approval,
            Standing::Free | Standing::NotApproved => 0,
        };
        let definition = match Definition::read(item) {
            Ok(definition) => definition,
            Err(Unpinnable::Malformed | Unpinnable::TooLong) => Definition::of_unreadable(name),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_second = !seen.names.insert(name.to_owned());
        match standing {
            Standing::Pinned(pin) if pin.digest == definition.digest() => {
                return !self.pins.has_drifted(name, pin);
            }
            Standing::Held(pin) if pin.digest == definition.digest() => return false,
            Standing::Pinned(pin) => seen.drifted.push((name.to_owned(), pin.approval)),
            // Of two tools of one name the first is pinned; then the second is a change of it.
            Standing::Free if is_second => return true,
            Standing::Free | Standing::Held(_) | Standing::NotApproved => {}
        }
        if seen.tools.len() < MAX_TOOLS {
            seen.tools.push(SeenTool { name: name.to_owned(), definition, approval });
        }
        standing == Standing::Free
    }

    /// Another page follows.
    pub(crate) fn goes_on(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).goes_on = true;
    }

    /// Whether there is nothing that anybody needs to be told.
    pub(crate) fn found_nothing(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.tools.is_empty() && seen.drifted.is_empty()
    }

    /// How much this node had seen to differ when the look began.
    pub(crate) fn drifts(&self) -> u64 {
        self.pins.drifts.count
    }

    pub(super) fn found(self) -> Found {
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        Found {
            server: self.pins.server,
            tools: seen.tools,
            drifted: seen.drifted,
            names: seen.names,
            goes_on: seen.goes_on,
            is_first: self.pins.tools.await_first_sight(),
        }
    }
}
