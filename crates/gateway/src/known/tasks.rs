//! Tasks: calls whose results are fetched later (2025-11-25 "Tasks"; for 2026-07-28 the extension `io.modelcontextprotocol/tasks`).
//! A task belongs to whoever made the call, and what is done with it needs what the call needed, today.
//!
//! Remembered by this node, as many as are remembered; one that is not is answered as one that never was.

use crate::known::caller::Caller;
use crate::message::answer::is_response_to;
use crate::message::call::{Aim, Call, MadeBy};
use crate::message::headers::Era;
use crate::message::owner::Owner;
use bytes::Bytes;
use memchr::memmem::Finder;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::Principal;
use portcullis_guard::bounded::BoundedMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Longest id that is taken from an upstream.
const MAX_ID: usize = 512;

/// Longest message that is kept for conditions on arguments. Those of a longer one are not known later, and forbid.
const MAX_MESSAGE: usize = 16 * 1024;

/// Longest name of a tool whose tasks are tied to their maker. Those of others are nobody's, so nobody gets at them.
const MAX_NAME: usize = 1024;

/// By which a client of each era asks for a task.
static TASK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"task\""));
static TASKS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"io.modelcontextprotocol/tasks\""));

/// Every task that was made here.
pub(crate) struct Tasks {
    known: Mutex<BoundedMap<(ServerId, String), Arc<MadeBy>>>,
}

/// The upstream gave an id that is no task's, or one that is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnusableTask;

impl Tasks {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { known: Mutex::new(BoundedMap::new(capacity)) }
    }

    /// What made the task, if it is the principal's.
    pub(crate) fn of(&self, server: ServerId, id: &str, principal: &Principal) -> Option<Arc<MadeBy>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let made_by = known.get(&(server, id.to_owned()))?;
        (made_by.owner == Owner::of(principal)).then(|| Arc::clone(made_by))
    }

    fn begin(&self, server: ServerId, id: String, made_by: &Arc<MadeBy>) -> Result<(), UnusableTask> {
        if !(1..=MAX_ID).contains(&id.len()) || id.chars().any(char::is_control) {
            return Err(UnusableTask);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server, id);
        match known.get(&key) {
            // The same id for another call would lend this one's rights to that one.
            Some(other) if other.owner != made_by.owner || other.tool != made_by.tool => Err(UnusableTask),
            _ => {
                known.insert(key, Arc::clone(made_by));
                Ok(())
            }
        }
    }
}

/// A call whose answer may be a task.
pub(crate) struct MayBegin {
    tasks: Arc<Tasks>,
    server: ServerId,
    id: Box<RawValue>,
    made_by: Arc<MadeBy>,
}

impl MayBegin {
    /// `None` where there can be no task: it was not asked for, and the client does not know what one is.
    pub(crate) fn of(
        tasks: &Arc<Tasks>,
        caller: &Caller,
        (call, era, body): (&Call, Era, &Bytes),
        keeps_arguments: bool,
    ) -> Option<Self> {
        let Aim::CallTool(tool) = &call.aim else { return None };
        if tool.len() > MAX_NAME {
            return None;
        }
        // Who writes these otherwise gets a task that nobody finds again, and nothing else.
        let word = match era {
            Era::Sessions => &TASK,
            Era::Stateless => &TASKS,
        };
        word.find(body)?;
        // A copy: it may be a small part of what was received.
        let message = (keeps_arguments && body.len() <= MAX_MESSAGE).then(|| Bytes::copy_from_slice(body));
        let owner = Owner::of(&caller.principal);
        Some(Self {
            tasks: Arc::clone(tasks),
            server: caller.door.server.id,
            id: call.id.clone()?,
            made_by: Arc::new(MadeBy { owner, tool: tool.clone(), message }),
        })
    }

    /// Looks at one message of the answer.
    pub(crate) fn look_at(&self, message: &[u8]) -> Result<(), UnusableTask> {
        if !is_response_to(message, &self.id) {
            return Ok(());
        }
        match begun(message) {
            Some(id) => self.tasks.begin(self.server, id, &self.made_by),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    result: Begun,
}

/// `CreateTaskResult` of either revision.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    task: Option<Task>,
    result_type: Option<String>,
    task_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    task_id: String,
}

fn begun(message: &[u8]) -> Option<String> {
    let Answer { result } = serde_json::from_slice(message).ok()?;
    match (result.task, result.result_type.as_deref()) {
        (Some(task), _) => Some(task.task_id),
        (None, Some("task")) => result.task_id,
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_task_is_found_in_the_answer_of_either_revision() {
        let begun =
            |result: &str| begun(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).as_bytes());
        assert_eq!(begun(r#"{"task":{"taskId":"t","status":"working"}}"#).as_deref(), Some("t"));
        assert_eq!(begun(r#"{"resultType":"task","taskId":"t"}"#).as_deref(), Some("t"));
        for none in [
            r#"{"content":[],"taskId":"t"}"#,
            r#"{"resultType":"complete","taskId":"t"}"#,
            r#"{"resultType":"task"}"#,
        ] {
            assert_eq!(begun(none), None, "{none}");
        }
    }
}
