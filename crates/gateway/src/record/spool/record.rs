//! One record, one line of JSON. Ids and fixed words; of what a caller chose only the names of method and object, cut.
//! Never arguments, never a token.

use crate::decide::authorize::Permits;
use crate::message::call::Call;
use portcullis_domain::id::{ServerId, SessionId, TokenId};
use portcullis_domain::policy::{Permit, RuleRef};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::{Name, Server};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use serde::{Serialize, Serializer};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Longest text of a caller's choice, in characters.
const MAX_WORD: usize = 200;

/// Of nearly all records.
const USUAL_LENGTH: usize = 768;

/// Most rules that one record names.
const MOST_RULES: usize = 32;

/// What was decided about one call of an identified caller.
pub(crate) struct Decided<'a> {
    pub(crate) at: Timestamp,
    /// Joins decision and outcome; unique within the node's run.
    pub(crate) call: &'a str,
    pub(crate) principal: &'a Principal,
    /// Of an agent that the snapshot knows.
    pub(crate) agent: Option<&'a Name>,
    /// The number of the snapshot that it was decided by.
    pub(crate) policy: u64,
    pub(crate) server: &'a Server,
    pub(crate) what: What<'a>,
    /// Where it came from.
    pub(crate) address: Option<IpAddr>,
    pub(crate) judgement: Judgement<'a>,
}

/// What a caller wants, for the record.
#[derive(Clone, Copy)]
pub(crate) struct What<'a> {
    pub(crate) method: &'a str,
    pub(crate) object: Option<&'a str>,
    pub(crate) object_kind: Option<&'static str>,
}

impl<'a> What<'a> {
    pub(crate) fn of(call: &'a Call) -> Self {
        Self { method: &call.method, object: call.aim.object(), object_kind: call.aim.object_kind() }
    }

    /// Of a request without a message.
    pub(crate) fn verb(method: &'a str) -> Self {
        Self { method, object: None, object_kind: None }
    }
}

/// Allowed by these permits, or refused for this reason.
pub(crate) enum Judgement<'a> {
    Allowed(&'a Permits),
    Refused { reason: &'a str, needed: Option<&'a ScopeSet>, condition: Option<&'a str> },
}

/// How an allowed call ended.
pub(crate) struct Ended<'a> {
    pub(crate) at: Timestamp,
    pub(crate) call: &'a str,
    /// What the caller was answered.
    pub(crate) status: u16,
    /// A fixed word.
    pub(crate) how: &'a str,
    /// Until the answer began.
    pub(crate) took: Duration,
    /// What came after that, if it was a stream.
    pub(crate) stream: Option<Streamed>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Streamed {
    /// A fixed word.
    pub(crate) how: &'static str,
    /// Since it began.
    pub(crate) milliseconds: u64,
    /// What was passed on.
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Events of the upstream that were not the caller's to hear.
    pub(crate) left_out: u64,
}

#[derive(Serialize)]
struct DecidedLine<'a> {
    kind: &'static str,
    at: Timestamp,
    call: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    subject: SubjectText<'a>,
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a Name>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    session: SessionId,
    token: TokenId,
    server: ServerId,
    server_name: &'a str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleRef>,
    granted: &'a ScopeSet,
    policy: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<ScopeSet>,
    /// The `[[forbid]]` that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    /// What would have refused it, were the server not observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
}

#[derive(Serialize)]
struct EndedLine<'a> {
    kind: &'static str,
    at: Timestamp,
    call: &'a str,
    status: u16,
    how: &'a str,
    milliseconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Streamed>,
}

/// Something that is one line of the spool.
pub(crate) trait Record {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl Record for Decided<'_> {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        let (outcome, reason, rules, needed) = match &self.judgement {
            Judgement::Allowed(permits) => {
                let needed = permits.iter().fold(ScopeSet::default(), |all, permit| all.union(permit.used()));
                ("allowed", None, rules(permits), Some(needed))
            }
            Judgement::Refused { reason, needed, .. } => {
                ("refused", Some(*reason), Vec::new(), needed.cloned())
            }
        };
        // PC-36: what would have been refused, were the server not observed, is recorded with why.
        let (observed, condition) = match &self.judgement {
            Judgement::Refused { condition, .. } => (None, *condition),
            Judgement::Allowed(permits) => (permits.observed(), None),
        };
        let record = DecidedLine {
            kind: "call.decided",
            at: self.at,
            call: self.call,
            outcome,
            reason,
            subject: SubjectText(&self.principal.subject),
            client: self.principal.client_id.as_str(),
            agent: self.agent,
            roles: &self.principal.roles,
            session: self.principal.session,
            token: self.principal.token,
            server: self.server.id,
            server_name: self.server.name.as_str(),
            method: cut(self.what.method),
            object: self.what.object.map(cut),
            object_kind: self.what.object_kind,
            rules,
            granted: &self.principal.scopes,
            policy: self.policy,
            needed,
            condition,
            observed,
            address: self.address,
        };
        serde_json::to_writer(line, &record)
    }
}

impl Record for Ended<'_> {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        let record = EndedLine {
            kind: "call.ended",
            at: self.at,
            call: self.call,
            status: self.status,
            how: self.how,
            milliseconds: milliseconds(self.took),
            stream: self.stream,
        };
        serde_json::to_writer(line, &record)
    }
}

pub(crate) fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The record with its line end.
pub(super) fn line(record: &impl Record) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(USUAL_LENGTH);
    record.write(&mut line).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

/// Each once: a call that wants a thousand resources by one rule is no longer a record than one that wants one.
fn rules(permits: &Permits) -> Vec<RuleRef> {
    let mut rules: Vec<RuleRef> = Vec::new();
    for rule in permits.iter().map(Permit::rule) {
        if rules.len() < MOST_RULES && !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_WORD).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// As it is printed; an agent's, as nearly all are, without formatting.
struct SubjectText<'a>(&'a Subject);

impl Serialize for SubjectText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Subject::Agent(client) => serializer.serialize_str(client.as_str()),
            Subject::External { .. } | Subject::User(_) => serializer.collect_str(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::id::UserId;

    #[test]
    fn a_subject_is_recorded_as_it_is_printed() {
        for subject in [
            Subject::Agent("cli_1".parse().unwrap()),
            Subject::External { issuer: "https://other.test".parse().unwrap(), subject: "s\"1".to_owned() },
            Subject::User(UserId::from_bytes([7; 16])),
        ] {
            let recorded = serde_json::to_value(SubjectText(&subject)).unwrap();
            assert_eq!(recorded, subject.to_string());
        }
    }
}
