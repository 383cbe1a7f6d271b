//! What was recorded: searched, page by page (PC-52).

use super::error::Refusal;
use super::input::BadInput;
use super::names::{self, Names, moment};
use super::operator::{Audits, Operator};
use super::page::{Page, Paging};
use super::period;
use crate::app::App;
use axum::Json;
use axum::extract::State;
use portcullis_domain::audit::{Event, Kind};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_oauth::client::ClientId;
use portcullis_store::{AuditFilter, AuditOrder, AuditRecord, ReadHandle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One record.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditRecord")]
pub(super) struct Record {
    /// Grows with every record.
    number: u64,
    at: String,
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, Value>")]
    event: Event,
    /// What the ids are called today.
    names: Called,
}

#[derive(Serialize, JsonSchema)]
struct Called {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

/// Which records, and from which end.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AuditFilter")]
pub(super) struct Wanted {
    /// What happened, such as `token.decided`.
    #[schemars(with = "Option<String>")]
    kind: Option<String>,
    /// `allowed` or `refused`.
    outcome: Option<Decided>,
    /// Who did it: an id, `operator`, `system` or `stranger`.
    actor: Option<String>,
    /// An agent, by name.
    agent: Option<String>,
    /// A client, by id.
    #[schemars(with = "Option<String>")]
    client: Option<ClientId>,
    /// A user, by name or id.
    user: Option<String>,
    /// A server, by name.
    server: Option<String>,
    /// A session, by id.
    #[schemars(with = "Option<String>")]
    session: Option<SessionId>,
    /// Not before this: RFC 3339, or how long ago, such as `7d` or `12h`.
    since: Option<String>,
    /// Before this, said in the same way.
    until: Option<String>,
    /// `newest` (first), or `oldest`.
    #[serde(default)]
    order: Order,
    /// Those with larger numbers only, the oldest first.
    after: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Decided {
    Allowed,
    Refused,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Newest,
    Oldest,
}

/// `GET /api/v1/audit`
pub(super) async fn list(
    operator: Operator<Audits>,
    State(app): State<Arc<App>>,
    paging: Paging<Wanted>,
) -> Result<Json<Page<Record>>, Refusal> {
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let now = app.clock.now();
    let time = |text: Option<&String>| text.map(|text| period::moment(text, now)).transpose();
    let filter = AuditFilter {
        since: time(paging.filter.since.as_ref())?,
        until: time(paging.filter.until.as_ref())?,
        ..filter(&paging.filter, &names, &operator, &mut handle).await?
    };
    let last: Option<u64> = paging.after()?;
    let order = match (paging.filter.order, paging.filter.after) {
        (Order::Newest, None) => AuditOrder::Newest { before: last },
        (Order::Oldest, after) | (Order::Newest, after @ Some(_)) => {
            AuditOrder::Oldest { after: last.or(after).unwrap_or(0) }
        }
    };
    let found = handle.reader().audit_page(&filter, order, paging.one_more()).await?;
    let mut users = BTreeMap::new();
    let mut records = Vec::new();
    for record in found {
        records.push(named(record, &names, &mut users, &mut handle).await?);
    }
    Ok(Json(paging.page(records, |record| record.number.to_string())))
}

/// Whatever is asked for besides the time.
async fn filter(
    wanted: &Wanted,
    names: &Names,
    operator: &Operator<Audits>,
    handle: &mut ReadHandle,
) -> Result<AuditFilter, Refusal> {
    let kind = wanted.kind.as_deref().map(|text| {
        text.parse::<Kind>().map_err(|_| BadInput::Malformed(format!("there is no kind of event {text:?}")))
    });
    if wanted.agent.is_some() && wanted.client.is_some() {
        return Err(BadInput::Malformed("either agent or client".to_owned()).into());
    }
    Ok(AuditFilter {
        kind: kind.transpose()?,
        allowed: wanted.outcome.map(|outcome| outcome == Decided::Allowed),
        actor: wanted.actor.clone().filter(|actor| !actor.contains('\0')),
        client: names::client(names, wanted.agent.as_deref(), wanted.client.as_ref(), operator)?,
        user: names::user_id(handle, wanted.user.as_deref(), operator).await?,
        server: names::server_id(names, wanted.server.as_deref(), operator)?,
        session: wanted.session,
        since: None,
        until: None,
    })
}

async fn named(
    (number, at, event): AuditRecord,
    names: &Names,
    users: &mut BTreeMap<UserId, Option<String>>,
    handle: &mut ReadHandle,
) -> Result<Record, Refusal> {
    let user = match event.user {
        None => None,
        Some(id) => {
            if let Some(known) = users.get(&id) {
                known.clone()
            } else {
                let user = handle.reader().user(id).await?.map(|user| user.username);
                users.insert(id, user.clone());
                user
            }
        }
    };
    let called = Called {
        agent: event.client.as_ref().and_then(|client| names.of_agent(client)),
        user,
        server: event.server.map(|server| names.of_server(server)),
    };
    Ok(Record { number, at: moment(at)?, event, names: called })
}
