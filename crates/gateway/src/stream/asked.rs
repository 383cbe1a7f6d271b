//! Questions of sessions that streams answer. Where a client goes on with such a stream (`Last-Event-ID`), what is told again is
//! decided about as the question would be at that moment, for policy, pins and conditions may be others than when it was asked
//! (PC-45). The stream itself is one GET, and says nothing about it.
//!
//! Remembered by this node, in so much memory and for as long as the session is; in the place of an answer to one that is not
//! there is an error, because whoever asked would wait for ever.

mod memory;

use crate::decide::authorize::is_still_allowed;
use crate::decide::circumstances::InMessage;
use crate::decide::pins::ServerPins;
use crate::message::call::Aim;
use bytes::Bytes;
use memory::Memory;
use portcullis_domain::condition::{Arguments, Circumstances};
use portcullis_domain::id::ServerId;
use portcullis_domain::policy::ServerPolicy;
use portcullis_domain::principal::Principal;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest id of a request whose answer can be gone on with.
const MAX_ID: usize = 512;

/// Longest message that is kept for conditions on arguments. A longer one is not known later, and such conditions forbid it.
const MAX_MESSAGE: usize = 16 * 1024;

/// Longest name that is kept, with that of what made a task and its message.
const MAX_AIM: usize = 40 * 1024;

/// What all questions together may take.
const ALL_BYTES: usize = 8 * 1024 * 1024;

/// What was asked in a session.
#[derive(PartialEq, Eq)]
struct Question {
    aim: Aim,
    /// The call itself, where conditions look at arguments.
    message: Option<Bytes>,
}

/// Server, session, and the id of the request, written in one way.
type Key = (ServerId, String, String);

impl Question {
    /// About what it takes, in bytes.
    fn length(&self) -> usize {
        self.aim.length() + self.message.as_ref().map_or(0, Bytes::len)
    }
}

/// Every question that may be gone on with.
pub(crate) struct Asked {
    known: Mutex<Memory>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { known: Mutex::new(Memory::new(ALL_BYTES)) }
    }
}

impl Asked {
    /// The session is over: nobody goes on with its streams.
    pub(crate) fn forget(&self, server: ServerId, session: &str) {
        self.known().forget_session(server, session);
    }

    fn known(&self) -> MutexGuard<'_, Memory> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is being answered by a stream, until it is known whether the stream can be gone on with.
pub(crate) struct Resumable {
    asked: Arc<Asked>,
    who: Arc<Principal>,
    key: Key,
    question: Arc<Question>,
}

impl Resumable {
    /// None where its answer cannot be told again.
    pub(crate) fn of(
        asked: &Arc<Asked>,
        (who, server, session): (&Arc<Principal>, ServerId, &str),
        id: &RawValue,
        (aim, arguments): (&Aim, Option<&InMessage>),
    ) -> Option<Self> {
        if aim.length() > MAX_AIM {
            return None;
        }
        // A copy: it may be a small part of what was received.
        let message = arguments.map(|InMessage(message)| message).filter(|all| all.len() <= MAX_MESSAGE);
        let message = message.map(|message| Bytes::copy_from_slice(message));
        let question = Arc::new(Question { aim: aim.clone(), message });
        let key = (server, session.to_owned(), written(id)?);
        Some(Self { asked: Arc::clone(asked), who: Arc::clone(who), key, question })
    }

    /// An event of the stream has an id, so clients can go on from there.
    pub(crate) fn remember(self) {
        self.asked.known().remember(self.key, &self.who.subject, self.question);
    }
}

/// What of a stream is told again to whom.
pub(crate) struct Replay {
    asked: Arc<Asked>,
    server: ServerId,
    session: String,
}

/// What is done with a message that is told again.
#[derive(Debug)]
pub(crate) enum ToldAgain {
    /// It answers nothing, or what is allowed now.
    AsItIs,
    /// It answers no request.
    Nobodys,
    /// It answers this request, and nobody knows what that asked.
    Forgotten(Box<RawValue>),
    /// It answers this request, which is not allowed any more.
    Withdrawn(Box<RawValue>),
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<IgnoredAny>,
}

impl Replay {
    pub(crate) fn of(asked: &Arc<Asked>, server: ServerId, session: &str) -> Self {
        Self { asked: Arc::clone(asked), server, session: session.to_owned() }
    }

    /// Decides by `circumstances`, and the arguments of what was asked.
    pub(crate) fn judge(
        &self,
        message: &[u8],
        rules: (&ServerPolicy, &ServerPins<'_>),
        principal: &Principal,
        circumstances: &Circumstances<'_>,
    ) -> ToldAgain {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(message) else {
            return ToldAgain::Nobodys;
        };
        if message.method.is_some() {
            return ToldAgain::AsItIs;
        }
        let Some(id) = message.id else { return ToldAgain::Nobodys };
        let questions = self.questions(id);
        let is_allowed = |question: &Arc<Question>| {
            let arguments = question.message.clone().map(InMessage);
            let arguments = arguments.as_ref().map(|arguments| arguments as &dyn Arguments);
            let circumstances = Circumstances { arguments, ..*circumstances };
            is_still_allowed(rules, principal, &question.aim, &circumstances)
        };
        if questions.is_empty() {
            if is_id(id) { ToldAgain::Forgotten(id.to_owned()) } else { ToldAgain::Nobodys }
        } else if questions.iter().all(is_allowed) {
            ToldAgain::AsItIs
        } else {
            ToldAgain::Withdrawn(id.to_owned())
        }
    }

    fn questions(&self, id: &RawValue) -> Vec<Arc<Question>> {
        written(id)
            .map(|id| self.asked.known().of(&(self.server, self.session.clone(), id)))
            .unwrap_or_default()
    }
}

/// Whether requests can have such an id.
fn is_id(id: &RawValue) -> bool {
    id.get().starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'))
}

/// An id as text, however it was written.
fn written(id: &RawValue) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(id.get()).ok()?;
    Some(value.to_string()).filter(|text| text.len() <= MAX_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::principal::Subject;

    fn key(id: &str) -> Key {
        let id = RawValue::from_string(id.to_owned()).unwrap();
        (ServerId::from_bytes([1; 16]), "s-1".to_owned(), written(&id).unwrap())
    }

    fn tool(name: &str) -> Arc<Question> {
        Arc::new(Question { aim: Aim::CallTool(name.to_owned()), message: None })
    }

    #[test]
    fn pc_45_an_id_stands_for_everything_that_it_stood_for() {
        let who = Subject::Agent("cli_1".parse().unwrap());
        let asked = Asked::default();
        let remember = |key: Key, question| asked.known().remember(key, &who, question);
        let of = |key: &Key| asked.known().of(key);
        remember(key("1"), tool("read"));
        remember(key(r#""1""#), tool("write"));
        assert!(of(&key("1")) == [tool("read")], "a text is no number");
        remember(key("1"), tool("read"));
        assert!(of(&key("1")) == [tool("read")], "the same, asked again");
        remember(key("1"), tool("write"));
        assert!(of(&key("1")) == [tool("read"), tool("write")]);
        assert!(of(&key(r#""\u0031""#)) == [tool("write")], "escapes are read");
        for number in 0..20 {
            remember(key("1"), tool(&format!("t{number}")));
        }
        remember(key("1"), tool("read"));
        assert!(of(&key("1")).is_empty(), "of too many, none, for as long as the id is remembered");
        asked.forget(ServerId::from_bytes([1; 16]), "s-1");
        remember(key("1"), tool("read"));
        assert!(of(&key("1")) == [tool("read")], "another session of that name begins with nothing");
    }
}
