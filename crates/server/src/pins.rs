//! Pinned tool definitions in the control room (PC-33): what gateways saw becomes pins, or waits for a person.

pub(crate) mod surveys;

pub(crate) use surveys::Surveys;

use crate::app::App;
use crate::once::{Kept, Once};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::{Definition, Digest, SeenTool, Sighting};
use portcullis_domain::registry::{Pinning, Server};
use portcullis_gateway::SurveyFailure;
use portcullis_store::{Error, PinnedTool, Recorded, Sighted, Tx};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Names the clash with what the operator looked at, as a constraint.
const LOOKED_AT: &str = "tool_as_it_was_looked_at";

/// The most names that one audit record tells.
const MOST_NAMES: usize = 50;

/// What is known of one server's tools.
pub(crate) struct Known {
    pub(crate) pinned: BTreeMap<String, PinnedTool>,
    pub(crate) sighted: BTreeMap<String, Sighted>,
}

impl Known {
    /// Of this server, now.
    pub(crate) async fn read(app: &App, server: ServerId) -> Result<Self, Error> {
        let mut handle = app.store.read().await?;
        let pinned = handle.reader().pinned_tools(server).await?;
        let sighted = handle.reader().sighted_tools(server).await?;
        Ok(Self {
            pinned: pinned.into_iter().map(|tool| (tool.name.clone(), tool)).collect(),
            sighted: sighted.into_iter().map(|tool| (tool.name.clone(), tool)).collect(),
        })
    }

    /// Whether storing what was seen would change anything.
    fn would_learn(&self, seen: &SeenTool) -> bool {
        let digest = seen.definition.digest();
        let is_pinned = self.pinned.get(&seen.name).is_some_and(|pin| pin.definition.digest() == digest);
        let is_known =
            self.sighted.get(&seen.name).is_some_and(|sighted| sighted.definition.digest() == digest);
        !is_pinned && !is_known
    }
}

/// Why a server's tools were not surveyed.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The server did not let us.
    #[error(transparent)]
    Failure(#[from] SurveyFailure),
    /// What was seen could not be stored.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Looks at the tools of a server now, and takes in what is seen.
pub async fn survey(app: &App, server: ServerId) -> Result<(), SurveyError> {
    let outcome = app.gateway.survey(server).await;
    app.surveys.went(
        server,
        &outcome,
        (app.clock.now(), Instant::now(), app.config.survey.unwrap_or_default()),
    );
    Ok(take(app, outcome?.sighting).await?)
}

/// Stores what a gateway saw: as the first pins of a server that takes them so, or to wait for a person. The gateway of
/// this node knows of it when this returns.
pub async fn take(app: &App, sighting: Sighting) -> Result<(), Error> {
    let current = app.current.load_full();
    let Some(server) = current.snapshot.servers.iter().find(|server| server.id == sighting.server) else {
        return Ok(());
    };
    let known = Known::read(app, server.id).await?;
    let first = server.pinning == Pinning::FirstSight && sighting.whole && known.pinned.is_empty();
    let learns = sighting.tools.iter().any(|seen| known.would_learn(seen));
    let waits = server.pinning == Pinning::Approved || !known.pinned.is_empty();
    if server.pinning == Pinning::Off || !(first || waits) || !learns {
        return Ok(());
    }
    let input = (server.id, sighting.tools, first);
    app.store.write(app.clock.now(), input, |input, tx| Box::pin(store(input, tx))).await?;
    app.catch_up().await;
    Ok(())
}

type Seen = (ServerId, Vec<SeenTool>, bool);

async fn store((server, tools, first): &Seen, tx: &mut Tx) -> Result<Recorded<()>, Error> {
    if *first {
        let readable: Vec<SeenTool> =
            tools.iter().filter(|seen| !seen.definition.is_unreadable()).cloned().collect();
        if tx.pin_first(*server, &readable).await? {
            let names: Vec<&str> = readable.iter().map(|seen| seen.name.as_str()).collect();
            let event = about(*server, Event::new(Kind::ToolPinned, Outcome::Allowed, Actor::System), &names);
            return tx.record(&event.with("by", "first sight"), ()).await;
        }
    }
    let news = tx.sight(*server, tools).await?;
    let names: Vec<&str> = news.iter().map(String::as_str).collect();
    let event = Event::new(Kind::ToolChanged, Outcome::Refused("not_as_approved".into()), Actor::System);
    tx.record(&about(*server, event, &names), ()).await
}

/// Names of tools are free text from outside: stored as data.
fn about(server: ServerId, mut event: Event, names: &[&str]) -> Event {
    event.server = Some(server);
    let told = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    event.with("count", names.len()).with("tools", told)
}

/// Why nothing was approved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApproveError {
    /// What the operator looked at is not what there is.
    #[error("the tools are not as they were looked at")]
    Moved,
    #[error(transparent)]
    Store(#[from] Error),
}

/// Approves exactly the definitions with these digests, all or none: those that were seen, or once more those that are pinned.
pub(crate) async fn approve(
    app: &App,
    server: &Server,
    digests: BTreeMap<String, Digest>,
    (event, once): (Event, &Once),
) -> Result<(), ApproveError> {
    let by = words(&event);
    let names: Vec<&str> = digests.keys().map(String::as_str).collect();
    let event = about(server.id, event, &names);
    let input = (server.id, digests, event, by);
    let written = once.write(
        (app, app.clock.now()),
        input,
        |input, tx| Box::pin(write(input, tx)),
        |()| Some(Kept::nothing()),
    );
    written.await.map_err(|error| {
        let moved = matches!(error, Error::Conflict(LOOKED_AT));
        if moved { ApproveError::Moved } else { ApproveError::Store(error) }
    })?;
    app.catch_up().await;
    Ok(())
}

type Approved = (ServerId, BTreeMap<String, Digest>, Event, String);

async fn write((server, digests, event, by): &Approved, tx: &mut Tx) -> Result<Recorded<()>, Error> {
    if !tx.take_server(*server).await? {
        return Err(Error::Conflict(LOOKED_AT));
    }
    let pinned = tx.read().pinned_tools(*server).await?;
    let sighted = tx.read().sighted_tools(*server).await?;
    for (tool, digest) in digests {
        let seen = sighted.iter().filter(|it| it.name == *tool).map(|it| &it.definition);
        let kept = pinned.iter().filter(|it| it.name == *tool).map(|it| &it.definition);
        let meant = |definition: &&Definition| definition.digest() == *digest && !definition.is_unreadable();
        let definition = seen.chain(kept).find(meant).ok_or(Error::Conflict(LOOKED_AT))?;
        tx.approve_tool(*server, (tool, definition), by).await?;
    }
    tx.record(event, ()).await
}

/// Who it was, for those who look later.
fn words(event: &Event) -> String {
    let uid = event.detail.get("uid").map(|uid| format!(" (uid {uid})")).unwrap_or_default();
    match &event.actor {
        Actor::Client(client) => format!("client {client}"),
        Actor::Operator => format!("operator{uid}"),
        Actor::Stranger => "stranger".to_owned(),
        Actor::System => "system".to_owned(),
        Actor::User(user) => format!("user {user}"),
    }
}
