//! An end to what was issued, now: one token, session or grant, or everything of a client, agent, person or server, or
//! everything at all (PC-45). One transaction each, with its audit event, refused or not (ADM-10).

use super::door::administers;
use super::error::Refusal;
use super::input::{Input, Missing};
use super::names::{self, Names};
use super::operator::{Operator, RightName, Writes};
use crate::app::App;
use crate::once::{Kept, Once};
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::builtin;
use portcullis_domain::id::{GrantId, ServerId, SessionId, TokenId, UserId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::LONGEST_EXTERNAL_LIFE;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Recorded, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an operator wants to end, as they name it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id", deny_unknown_fields)]
#[schemars(rename = "Revocation")]
pub(super) enum Asked {
    /// Every token and session of everybody; people sign in again. For owners only.
    All,
    /// Everything of an agent, by its name. It stays registered, and its secrets count.
    Agent(String),
    /// Everything of a client, by its id, or by its name in the fleet file. It stays registered.
    Client(String),
    /// What a person agreed to, with its sessions.
    Grant(String),
    /// As `client`, and the client is removed too.
    #[serde(skip)]
    Removal(String),
    /// Everything on a server, by its name: tokens of other issuers too. It stays registered.
    Server(String),
    /// One session, with its tokens. Tokens of other issuers are in none: revoke the token, or the server.
    Session(String),
    /// One access token, by its `jti`. Its session goes on.
    Token(String),
    /// Everything of a person, by their name. They may sign in again.
    User(String),
}

/// What was ended.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(super) struct Ended {
    /// Sessions that were alive.
    sessions: u64,
    /// Grants that counted.
    grants: u64,
}

/// The same, by ids.
#[derive(Clone, Debug)]
enum Target {
    All,
    Client(ClientId),
    Grant(GrantId),
    Removal(ClientId),
    Server(ServerId),
    Session(SessionId),
    Token(TokenId),
    User(UserId),
}

/// `POST /api/v1/revocations`. When it answers, the gateway here refuses already.
pub(super) async fn revoke(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Input(asked): Input<Asked>,
) -> Result<Kept, Refusal> {
    let kept = |ended: &Ended| Kept::json(StatusCode::OK, ended);
    let missing = asked.missing();
    let (target, event) = find(&app, &operator, asked).await?;
    let change = async {
        let ended = write_end(&app, operator.once(), (target, event)).await?.ok_or(missing)?;
        Ok::<_, Refusal>(kept(&ended)?)
    };
    Box::pin(operator.once().or_do(change)).await
}

/// Ends it, if the operator may.
pub(super) async fn end(app: &App, operator: &Operator<Writes>, asked: Asked) -> Result<Ended, Refusal> {
    let missing = asked.missing();
    let (target, event) = find(app, operator, asked).await?;
    Ok(write_end(app, &Once::default(), (target, event)).await?.ok_or(missing)?)
}

async fn write_end(app: &App, once: &Once, what: (Target, Event)) -> Result<Option<Ended>, Error> {
    let now = app.clock.now();
    let memory = app.config.tokens.revocation_memory();
    // These end tokens of other issuers too, which may live longer than ours.
    let until = now
        + match what.0 {
            Target::All | Target::Server(_) | Target::Token(_) => {
                memory.max(LONGEST_EXTERNAL_LIFE + app.config.tokens.leeway)
            }
            Target::Client(_)
            | Target::Grant(_)
            | Target::Removal(_)
            | Target::Session(_)
            | Target::User(_) => memory,
        };
    let answer = |ended: &Option<Ended>| Kept::json(StatusCode::OK, ended.as_ref()?).ok();
    let written = once.write(
        (app, now),
        what,
        move |(target, event), tx| Box::pin(write(target, event, until, tx)),
        answer,
    );
    let ended = written.await?;
    if ended.is_some() {
        app.catch_up().await;
    }
    Ok(ended)
}

async fn write(
    target: &Target,
    event: &Event,
    until: Timestamp,
    tx: &mut Tx,
) -> Result<Recorded<Option<Ended>>, Error> {
    let ended = target.end(until, tx).await?;
    let mut event = event.clone();
    match ended {
        None => event.outcome = Outcome::Refused("nothing_to_end".to_owned()),
        Some(ended) => {
            event = event.with("ended.sessions", ended.sessions).with("ended.grants", ended.grants);
        }
    }
    let ended = ended.map(|ended| Ended { sessions: ended.sessions, grants: ended.grants });
    tx.record(&event, ended).await
}

impl Target {
    /// The record says which it was.
    fn named_in(&self, mut event: Event) -> Event {
        match self {
            Self::All => {}
            Self::Client(client) | Self::Removal(client) => event.client = Some(client.clone()),
            Self::Grant(grant) => event.grant = Some(*grant),
            Self::Server(server) => event.server = Some(*server),
            Self::Session(session) => event.session = Some(*session),
            Self::Token(token) => event = event.with("token.id", *token),
            Self::User(user) => event.user = Some(*user),
        }
        event
    }

    async fn end(&self, until: Timestamp, tx: &mut Tx) -> Result<Option<portcullis_store::Ended>, Error> {
        match self {
            Self::All => tx.end_everything(until).await.map(Some),
            Self::Client(client) => tx.end_all_of_client(client, until).await,
            Self::Grant(grant) => tx.end_grant(*grant, until).await,
            Self::Removal(client) => tx.remove_client(client, until).await,
            Self::Server(server) => tx.end_all_on_server(*server, until).await,
            Self::Session(session) => {
                let done = tx.revoke_session(*session, until).await?;
                Ok(done.then_some(portcullis_store::Ended { sessions: 1, grants: 0 }))
            }
            Self::Token(token) => {
                let target = RevokedTarget::Token(*token);
                tx.revoke(&Revocation { target, at: tx.now(), until }).await?;
                Ok(Some(portcullis_store::Ended::default()))
            }
            Self::User(user) => tx.end_all_of_user(*user, until).await,
        }
    }
}

/// What belongs to no server needs all of them.
fn reaches(operator: &Operator<Writes>, asked: &Asked) -> Result<(), Refusal> {
    match asked {
        Asked::Server(_) | Asked::Session(_) | Asked::Grant(_) => Ok(()),
        Asked::All if !operator.owns() => Err(Refusal::NoRight(RightName::Owns)),
        Asked::All
        | Asked::Agent(_)
        | Asked::Client(_)
        | Asked::Removal(_)
        | Asked::Token(_)
        | Asked::User(_) => operator.everywhere(),
    }
}

/// Which that is, and whether the operator reaches it.
async fn find(app: &App, operator: &Operator<Writes>, asked: Asked) -> Result<(Target, Event), Refusal> {
    reaches(operator, &asked)?;
    let missing = asked.missing();
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let mut event = operator.event(Kind::TokenRevoked, Outcome::Allowed).with("revoked", asked.kind());
    let target = match asked {
        Asked::All => Target::All,
        Asked::Agent(name) => Target::Client(names.agent(&name)?.client_id.clone()),
        Asked::Client(id) => {
            Target::Client(names.registered(&id).or_else(|| id.parse().ok()).ok_or(missing)?)
        }
        Asked::Removal(id) => {
            event.kind = Kind::ClientRemoved;
            Target::Removal(id.parse().map_err(|_| missing)?)
        }
        Asked::Grant(id) => {
            let id: GrantId = id.parse().map_err(|_| missing)?;
            let grant = handle.reader().listed_grant(id).await?;
            let grant = grant.filter(|grant| names.may_touch(grant.server, operator));
            let grant = grant.ok_or_else(|| Missing::exactly("grant", &id))?;
            event.user = Some(grant.user);
            event.client = Some(grant.client);
            event.server = Some(grant.server);
            Target::Grant(id)
        }
        Asked::Server(name) if name == builtin::SERVER => {
            let says = "portcullis is the admin API itself: revoke the sessions on it one by one (session list \
                        --server portcullis), what an agent or a user has, or all";
            return Err(Refusal::Conflict(says.to_owned()));
        }
        Asked::Server(name) => Target::Server(names.server(&name, operator)?.id),
        Asked::Session(id) => {
            let id: SessionId = id.parse().map_err(|_| missing)?;
            let session = handle.reader().session(id).await?;
            let session = session.filter(|session| names.may_touch(session.server, operator));
            let session = session.ok_or_else(|| Missing::Session(id.to_string()))?;
            event.client = Some(session.client_id);
            event.server = Some(session.server);
            Target::Session(id)
        }
        Asked::Token(id) => Target::Token(id.parse().map_err(|_| missing)?),
        Asked::User(name) => {
            let user = names::user(&mut handle, &name).await?;
            // ADM-03: as disabling them.
            if (user.admin || administers(&user, &app.current.load())) && !operator.owns() {
                return Err(Refusal::NoRight(RightName::Owns));
            }
            event = event.with("user.name", &user.username);
            Target::User(user.id)
        }
    };
    let event = target.named_in(event);
    Ok((target, event))
}

impl Asked {
    fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Agent(_) => "agent",
            Self::Client(_) | Self::Removal(_) => "client",
            Self::Grant(_) => "grant",
            Self::Server(_) => "server",
            Self::Session(_) => "session",
            Self::Token(_) => "token",
            Self::User(_) => "user",
        }
    }

    /// What to say when there is none, or it has ended before.
    fn missing(&self) -> Missing {
        match self {
            Self::All => Missing::Address,
            Self::Session(id) => Missing::Session(id.clone()),
            Self::Agent(id)
            | Self::Client(id)
            | Self::Removal(id)
            | Self::Grant(id)
            | Self::Server(id)
            | Self::Token(id)
            | Self::User(id) => Missing::exactly(self.kind(), id),
        }
    }
}
