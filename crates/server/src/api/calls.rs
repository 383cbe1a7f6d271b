//! The calls that the gateway of this machine, and those that run alone, decided about, searched (PC-50, PC-52).

use super::error::Refusal;
use super::names::{self, moment};
use super::operator::{Audits, Operator, Reach};
use super::page::{Paging, cursor};
use super::period;
use crate::app::App;
use crate::calls::{self, Call, Cursor, Filter, Found, Sources};
use crate::fault::Fault;
use axum::Json;
use axum::extract::State;
use portcullis_domain::id::UserId;
use portcullis_store::ReadHandle;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A part of the record of calls.
#[derive(Serialize, JsonSchema)]
pub(super) struct Calls {
    /// Newest first. A page may have fewer than asked for, and still not be the last.
    items: Vec<Shown>,
    /// What `cursor` has to be to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Lines that were cut off when a process was killed, or that are being written.
    torn: u64,
    /// Lines that cannot be read.
    unreadable: u64,
}

/// One call.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RecordedCall")]
struct Shown {
    /// RFC 3339, in UTC.
    time: String,
    /// What the user is called today.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(flatten)]
    call: Call,
}

/// Which calls.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CallFilter")]
pub(super) struct Wanted {
    /// An agent, by the name that it had.
    agent: Option<String>,
    /// A user, by name or id.
    user: Option<String>,
    /// A server, by the name that it had.
    server: Option<String>,
    /// A tool.
    tool: Option<String>,
    /// A gateway that runs alone, by name.
    gateway: Option<String>,
    /// A session, by id.
    session: Option<String>,
    /// `allowed`, `refused`, or `observed`: allowed only because the server is observed.
    outcome: Option<Outcome>,
    /// Not before this: RFC 3339, or how long ago, such as `7d`.
    since: Option<String>,
    /// Before this.
    until: Option<String>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Allowed,
    Observed,
    Refused,
}

/// `GET /api/v1/calls`
pub(super) async fn list(
    operator: Operator<Audits>,
    State(app): State<Arc<App>>,
    paging: Paging<Wanted>,
) -> Result<Json<Calls>, Refusal> {
    let mut handle = app.store.read().await?;
    let filter = filter(&app, &paging.filter, &operator, &mut handle).await?;
    let before: Option<Cursor> = paging.after()?;
    let limit = usize::try_from(paging.limit).unwrap_or(usize::MAX);
    let data = app.config.data.clone();
    let found = tokio::task::spawn_blocking(move || {
        calls::search(&Sources::of(&data)?, &filter, before.as_ref(), limit)
    });
    let found = found.await;
    let found = found.map_err(|_| Fault::Shape("the record of calls"))?.map_err(|error| {
        tracing::error!(error = %error, "the record of calls cannot be read");
        Fault::Shape("the record of calls")
    })?;
    let Found { calls, next, torn, unreadable } = found;
    let mut users = BTreeMap::new();
    let mut items = Vec::new();
    for call in calls {
        let user = user_of(&call, &mut users, &mut handle).await?;
        items.push(Shown { time: moment(call.at)?, user, call });
    }
    Ok(Json(Calls { items, next: next.map(|next| cursor(&next.to_string())), torn, unreadable }))
}

async fn filter(
    app: &App,
    wanted: &Wanted,
    operator: &Operator<Audits>,
    handle: &mut ReadHandle,
) -> Result<Filter, Refusal> {
    let now = app.clock.now();
    let time = |text: &Option<String>| text.as_deref().map(|text| period::moment(text, now)).transpose();
    let user = names::user_id(handle, wanted.user.as_deref(), operator).await?;
    Ok(Filter {
        agent: wanted.agent.clone(),
        user: user.map(|user| user.to_string()),
        server: wanted.server.clone(),
        tool: wanted.tool.clone(),
        gateway: wanted.gateway.clone(),
        session: wanted.session.clone(),
        outcome: wanted.outcome.map(|outcome| {
            let word = match outcome {
                Outcome::Allowed => "allowed",
                Outcome::Observed => "observed",
                Outcome::Refused => "refused",
            };
            word.to_owned()
        }),
        since: time(&wanted.since)?,
        until: time(&wanted.until)?,
        reach: match operator.reach() {
            Reach::Everything => None,
            // By name: what was done on a server of this name before it changed hands is shown too.
            Reach::Servers(own) => Some(own.iter().map(ToString::to_string).collect()),
        },
    })
}

async fn user_of(
    call: &Call,
    users: &mut BTreeMap<UserId, Option<String>>,
    handle: &mut ReadHandle,
) -> Result<Option<String>, Refusal> {
    let Ok(id) = call.subject.parse::<UserId>() else { return Ok(None) };
    if let Some(known) = users.get(&id) {
        return Ok(known.clone());
    }
    let user = handle.reader().user(id).await?.map(|user| user.username);
    users.insert(id, user.clone());
    Ok(user)
}
