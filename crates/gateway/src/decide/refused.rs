//! A refusal, with what was refused.

use crate::decide::refusal::Refusal;
use crate::message::call::Call;
use crate::message::headers::Era;
use serde_json::value::RawValue;

/// A request of a caller that is not served, with what the record and the answer need.
pub(crate) struct Refused {
    pub(crate) refusal: Box<Refusal>,
    pub(crate) id: Option<Box<RawValue>>,
    pub(crate) in_session: bool,
    pub(crate) method: String,
    pub(crate) object: Option<String>,
    pub(crate) object_kind: Option<&'static str>,
    /// Whether the spool knows of it already, as of an allowed call that failed.
    pub(crate) is_recorded: bool,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal: Box::new(refusal),
            id: None,
            in_session: false,
            method: String::new(),
            object: None,
            object_kind: None,
            is_recorded: false,
        }
    }
}

impl Refused {
    pub(crate) fn of(refusal: Refusal, call: &Call, era: Option<Era>) -> Self {
        let mut refused = Self::from(refusal);
        refused.id.clone_from(&call.id);
        refused.in_session = era == Some(Era::Sessions);
        refused.method.clone_from(&call.method);
        refused.object = call.aim.object().map(str::to_owned);
        refused.object_kind = call.aim.object_kind();
        refused
    }

    /// Of a request without a message.
    pub(crate) fn by_verb(mut self, verb: &str) -> Self {
        self.in_session = true;
        verb.clone_into(&mut self.method);
        self
    }

    /// Of a call that was allowed and failed: its decision is in the spool.
    pub(crate) fn recorded(mut self) -> Self {
        self.is_recorded = true;
        self
    }
}
