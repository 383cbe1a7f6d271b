//! Audit: who did what, to what, allowed or refused, and by which rule (PC-50).

use crate::id::{GrantId, ServerId, SessionId, UserId};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use serde::de::IntoDeserializer as _;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What happened. Text form is stable: `noun.verb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Somebody known asked the admin API for what is not theirs.
    #[serde(rename = "admin.refused")]
    AdminRefused,
    /// A client registered itself.
    #[serde(rename = "client.registered")]
    ClientRegistered,
    /// A client that registered itself was removed.
    #[serde(rename = "client.removed")]
    ClientRemoved,
    /// A person went to a third-party server to connect an account there.
    #[serde(rename = "connection.begun")]
    ConnectionBegun,
    /// A person's connection to a third-party server ended here, and everywhere within a second.
    #[serde(rename = "connection.ended")]
    ConnectionEnded,
    /// A person connected an account at a third-party server, or could not.
    #[serde(rename = "connection.made")]
    ConnectionMade,
    /// A gateway that runs alone got a copy of the token of a connection.
    #[serde(rename = "connection.copied")]
    ConnectionCopied,
    /// The tokens of a connection were renewed at their issuer, or it does not want them any more.
    #[serde(rename = "connection.refreshed")]
    ConnectionRefreshed,
    /// This node is about to have the tokens of a connection renewed.
    #[serde(rename = "connection.renewing")]
    ConnectionRenewing,
    /// A person came back from a third-party server.
    #[serde(rename = "connection.returned")]
    ConnectionReturned,
    /// This node is about to tell the issuer of a connection that ended.
    #[serde(rename = "connection.revoking")]
    ConnectionRevoking,
    /// The issuer of a connection that ended was told, or could not be.
    #[serde(rename = "connection.revoked")]
    ConnectionRevoked,
    /// A person agreed or refused.
    #[serde(rename = "consent.decided")]
    ConsentDecided,
    /// A registry or policy was applied.
    #[serde(rename = "fleet.applied")]
    FleetApplied,
    /// The database became what a backup holds, and everything of before ended.
    #[serde(rename = "database.restored")]
    DatabaseRestored,
    /// A gateway that is to run alone was added.
    #[serde(rename = "gateway.added")]
    GatewayAdded,
    /// A gateway came for its identity, or was refused although it knew the secret.
    #[serde(rename = "gateway.enrolled")]
    GatewayEnrolled,
    /// A gateway that ran alone was removed.
    #[serde(rename = "gateway.removed")]
    GatewayRemoved,
    /// Rows past their end were removed.
    #[serde(rename = "housekeeping.done")]
    HousekeepingDone,
    /// The database was given the issuer that it is for.
    #[serde(rename = "issuer.set")]
    IssuerSet,
    /// A key was made.
    #[serde(rename = "key.created")]
    KeyCreated,
    /// A password was set.
    #[serde(rename = "password.set")]
    PasswordSet,
    /// A secret was made.
    #[serde(rename = "secret.created")]
    SecretCreated,
    /// A browser session began, ended, or was refused to an identified person.
    #[serde(rename = "sign_in.decided")]
    SignInDecided,
    /// A browser session ended.
    #[serde(rename = "sign_out.done")]
    SignOutDone,
    /// A token was issued or refused to an identified caller.
    #[serde(rename = "token.decided")]
    TokenDecided,
    /// A token was inspected.
    #[serde(rename = "token.introspected")]
    TokenIntrospected,
    /// A token, session or more was revoked.
    #[serde(rename = "token.revoked")]
    TokenRevoked,
    /// A tool was seen that is not as it was approved, or that nobody approved (PC-33).
    #[serde(rename = "tool.changed")]
    ToolChanged,
    /// Definitions of tools were approved: by a person, or by the first sight.
    #[serde(rename = "tool.pinned")]
    ToolPinned,
    /// Groups or rights of an account, or that it may sign in again.
    #[serde(rename = "user.changed")]
    UserChanged,
    /// An account was made.
    #[serde(rename = "user.created")]
    UserCreated,
    /// An account was ended.
    #[serde(rename = "user.disabled")]
    UserDisabled,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A unit variant is written as its name.
        self.serialize(formatter)
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
        Self::deserialize(text).map_err(|_| UnknownKind)
    }
}

/// A text is no kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of event")]
pub struct UnknownKind;

/// Allowed or refused; a refusal carries its reason code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reason")]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// It was not.
    Refused(String),
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "actor", content = "id")]
pub enum Actor {
    /// An authenticated client, or a public one that proved itself by a code or a token.
    Client(ClientId),
    /// Whoever runs the process.
    Operator,
    /// Portcullis itself, on schedule.
    System,
    /// Somebody who proved nothing; only where the change itself is open to anyone (registration).
    Stranger,
    /// A signed-in person.
    User(UserId),
}

/// One record. Values are ids and fixed words, never secrets; free text from outside is stored as data, one record one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Whether.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Who.
    #[serde(flatten)]
    pub actor: Actor,
    /// Through which client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// For whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// On which server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// In which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Under which grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Scopes asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<ScopeSet>,
    /// Scopes given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<ScopeSet>,
    /// Whatever else a reader needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, String>,
}

impl Event {
    /// An event of which nothing more is known yet.
    pub fn new(kind: Kind, outcome: Outcome, actor: Actor) -> Self {
        Self {
            kind,
            outcome,
            actor,
            client: None,
            user: None,
            server: None,
            session: None,
            grant: None,
            asked: None,
            granted: None,
            detail: BTreeMap::new(),
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.detail.insert(name.to_owned(), value.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_kind_is_the_one_that_is_stored() {
        for kind in [Kind::TokenDecided, Kind::UserChanged] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("token".parse::<Kind>(), Err(UnknownKind));
    }

    #[test]
    fn pc_50_a_record_is_one_line_and_reads_back() {
        let mut event = Event::new(
            Kind::TokenDecided,
            Outcome::Refused("invalid_scope".into()),
            Actor::Client("cli_1".parse().unwrap()),
        );
        event = event.with("client.name", "line\nbreak\u{1b}[31m");
        let text = serde_json::to_string(&event).unwrap();
        assert!(!text.contains(['\n', '\u{1b}']), "ADM-08: {text}");
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
