//! Who is calling: taken from a validated token and from nowhere else (PC-04).

mod external;

use crate::id::{ConnectionId, InvalidId, ServerId, SessionId, TokenId, UserId};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::jwt::AccessClaims;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// For whom a token speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A machine, for itself; its name is its client id (AS-CC-04).
    Agent(ClientId),
    /// Whoever another issuer says it is (PC-06): none of ours, whatever the text.
    External {
        /// Who says so.
        issuer: ExternalIssuer,
        /// In its words.
        subject: String,
    },
    /// A person.
    User(UserId),
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(client) => fmt::Display::fmt(client, formatter),
            // No issuer has a `|` in it, so the first one ends it.
            Self::External { issuer, subject } => write!(formatter, "{issuer}|{subject}"),
            Self::User(user) => fmt::Display::fmt(user, formatter),
        }
    }
}

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// For whom.
    pub subject: Subject,
    /// Through which client.
    pub client_id: ClientId,
    /// In which session.
    pub session: SessionId,
    /// By which token.
    pub token: TokenId,
    /// What the token carries.
    pub scopes: ScopeSet,
    /// The user's roles when the token was issued; empty for agents.
    pub roles: Vec<String>,
    /// When the token was made; revocations of everything before a moment compare with it.
    pub issued_at: Timestamp,
    /// When the token ends.
    pub expires_at: Timestamp,
}

impl TryFrom<AccessClaims> for Principal {
    type Error = InvalidId;

    /// From claims that were checked. An id that is none of ours means that the token is none of ours.
    fn try_from(claims: AccessClaims) -> Result<Self, InvalidId> {
        let subject = match claims.roles {
            None if claims.sub == claims.client_id.as_str() => Subject::Agent(claims.client_id.clone()),
            None => return Err(InvalidId),
            Some(_) => Subject::User(claims.sub.parse()?),
        };
        Ok(Self {
            subject,
            client_id: claims.client_id,
            session: claims.sid.parse()?,
            token: claims.jti.parse()?,
            scopes: claims.scope,
            roles: claims.roles.unwrap_or_default(),
            issued_at: claims.iat,
            expires_at: claims.exp,
        })
    }
}

/// What is no longer believed, although its tokens have not expired (PC-45).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What was revoked.
    pub target: RevokedTarget,
    /// Only tokens made up to this moment are meant.
    pub at: Timestamp,
    /// No token concerned lives past this; then the entry may be forgotten.
    pub until: Timestamp,
}

/// The kinds of things that can be revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum RevokedTarget {
    /// Everything that was issued.
    All,
    /// Everything of a client.
    Client(ClientId),
    /// Everything on a server, whoever issued it.
    Server(ServerId),
    /// Copies of the tokens of a person's connection to a third-party server, whatever their times.
    Connection(ConnectionId),
    /// One session, whatever its tokens' times.
    Session(SessionId),
    /// One access token.
    Token(TokenId),
    /// Everything of a person.
    User(UserId),
}
