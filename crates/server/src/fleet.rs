//! Applying a fleet (PC-34): the difference to the registry, in one transaction with its audit event, or not at all.

mod deliver;
mod file;
mod followed;
mod leavers;
mod plan;
mod preview;
mod remarks;
mod rotate;
mod seen;

pub use deliver::DeliverError;
pub use deliver::resume;
pub(crate) use deliver::{Delivered, Recipient, delivered};
pub(crate) use file::FleetFile;
pub use followed::{Followed, Standing};
pub use preview::{Ending, Preview, Version, export, preview};
pub use remarks::remarks;
pub(crate) use remarks::{observed, old_transports, strangers, unguarded};
pub(crate) use rotate::{Delivery, RotateError, Rotation, rotate};
pub(crate) use seen::seen_tools;

use crate::api::{By, IfMatch};
use crate::app::App;
use crate::fault::Fault;
use crate::once::{Kept, Once};
use deliver::Pending;
use http::StatusCode;
use plan::{Plan, World};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::fleet::{Fleet, new_places, owners_only};
use portcullis_domain::registry::{Agent, Client, ClientAuth};
use portcullis_domain::secret::{ClientSecret, Hashed};
use portcullis_oauth::client::{AuthMethod, ClientId, GrantType};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ClientKind, Error, Inserted, NewClient, Recorded, Tx};
use schemars::JsonSchema;
use serde::Serialize;

/// Somebody else may change the registry between our reading and our writing; then we plan again.
const ATTEMPTS: usize = 5;

/// Names the clash with somebody else's change, as a constraint.
const STALE: &str = "fleet_planned_on_this_registry";

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Applied {
    /// Servers, agents, clients and roles that are new or changed.
    pub put: usize,
    /// Servers, agents, clients and roles that are gone.
    pub removed: usize,
    /// Secrets that were made and delivered.
    pub secrets: usize,
}

impl Applied {
    /// As it is told.
    pub(crate) fn answer(&self) -> Result<Kept, Fault> {
        Kept::json(StatusCode::OK, self)
    }
}

/// Why a fleet was not applied. Nothing was changed then, but for files of secrets that nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A secret cannot be delivered.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    /// The registry is not the one that the change was planned for.
    #[error("the registry has changed since this was planned")]
    Moved,
    /// It would give somebody more access to the admin API.
    #[error("only an owner may do this: {}", .0.join("; "))]
    OwnersOnly(Vec<String>),
    /// It names new files of this machine, from elsewhere.
    #[error("only on the machine itself: {}", .0.join("; "))]
    Places(Vec<String>),
    /// The database.
    #[error("the fleet cannot be applied")]
    Store(#[from] Error),
}

/// Who applies, and to what.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Who asked; `None` means whoever started the process.
    pub by: Option<By>,
    /// Only to such a registry.
    pub only_to: IfMatch,
    /// Under a key, perhaps.
    pub(crate) once: Once,
}

/// What of a change somebody may not ask for (ADM-03).
struct Beyond {
    /// Only an owner of the deployment may.
    owners_only: Vec<String>,
    /// Only somebody on the machine itself may: for whom there are new files.
    new_places: Vec<String>,
}

impl Beyond {
    fn of(by: Option<&By>, before: &Fleet, after: &Fleet) -> Self {
        let is_owner = by.is_none_or(By::owns);
        let is_here = by.is_none_or(|by| !by.is_elsewhere());
        Self {
            owners_only: if is_owner { Vec::new() } else { owners_only(before, after) },
            new_places: if is_here { Vec::new() } else { new_places(before, after) },
        }
    }
}

/// Everything that one transaction writes. Cloned into the closure, which may run again.
#[derive(Debug)]
struct Change {
    plan: Plan,
    secrets: Vec<(ClientId, Hashed<ClientSecret>)>,
    until: Timestamp,
    applied: Applied,
    by: Option<By>,
}

/// Makes the registry what the fleet says. An unchanged fleet writes nothing.
pub async fn apply(app: &App, fleet: &Fleet) -> Result<Applied, ApplyError> {
    apply_on(app, fleet, &Terms::default()).await
}

/// The same, on terms.
pub async fn apply_on(app: &App, fleet: &Fleet, terms: &Terms) -> Result<Applied, ApplyError> {
    for remark in remarks(app, fleet).await? {
        tracing::warn!("{remark}");
    }
    for _ in 1..ATTEMPTS {
        match apply_once(app, fleet, terms).await {
            Err(ApplyError::Store(Error::Conflict(_))) => {}
            outcome => return outcome,
        }
    }
    apply_once(app, fleet, terms).await
}

async fn apply_once(app: &App, fleet: &Fleet, terms: &Terms) -> Result<Applied, ApplyError> {
    let _turn = app.deliveries.lock().await;
    let now = app.clock.now();
    let world = World::read(app, now).await?;
    // The write below demands that the registry is still this one.
    if !terms.only_to.holds(&world.version().etag()) {
        return Err(ApplyError::Moved);
    }
    allowed(&world, fleet, terms)?;
    let plan = Plan::between(&world, fleet, now, &mut app.entropy.rng());
    if plan.is_empty() && !terms.once.has_key() {
        return Ok(Applied::default());
    }
    // The files first: a secret that is stored but was never written down would be lost.
    let pending = prepare(app, &plan.without_secret)?;
    let secrets: Vec<_> = pending.iter().map(|one| (one.client_id.clone(), one.secret.clone())).collect();
    let applied = Applied { put: plan.puts(), removed: plan.removals(), secrets: secrets.len() };
    // Read anew: whoever leaves a role has everything revoked that was issued until then.
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let change = Change { plan, secrets, until, applied, by: terms.by.clone() };
    let answer = |applied: &Applied| applied.answer().ok();
    let written =
        terms.once.write((app, now), change, |change, tx| Box::pin(write(change, tx)), answer).await;
    deliver::finish(app, &pending, &written).await;
    written?;
    app.catch_up().await;
    Ok(applied)
}

/// ADM-03: not everybody may ask for everything.
fn allowed(world: &World, fleet: &Fleet, terms: &Terms) -> Result<(), ApplyError> {
    let before = preview::fleet_of(world.registry());
    let Beyond { owners_only, new_places } = Beyond::of(terms.by.as_ref(), &before, fleet);
    if !owners_only.is_empty() {
        return Err(ApplyError::OwnersOnly(owners_only));
    }
    if !new_places.is_empty() {
        return Err(ApplyError::Places(new_places));
    }
    Ok(())
}

fn prepare(app: &App, recipients: &[Recipient]) -> Result<Vec<Pending>, DeliverError> {
    Pending::prepare(recipients, &app.config.issuer, &mut app.entropy.rng())
}

/// A new secret for agents whose file is gone, without an end to the old one: for the demo, whose files are all there is.
pub(crate) async fn deliver_again(app: &App, names: &[&str]) -> Result<(), ApplyError> {
    let _turn = app.deliveries.lock().await;
    let current = app.current.load_full();
    for agent in current.snapshot.agents.iter().filter(|agent| names.contains(&agent.name.as_str())) {
        let recipient = Recipient::from(agent);
        if deliver::is_there(&recipient) {
            continue;
        }
        let pending = prepare(app, &[recipient])?;
        let input = pending.iter().map(|one| (one.client_id.clone(), one.secret.clone())).collect();
        let written = app
            .store
            .write(app.clock.now(), input, |secrets: &Vec<_>, tx| {
                Box::pin(async move {
                    for (client, secret) in secrets {
                        tx.insert_secret(client, secret, None).await?;
                        tx.also(&secret_created(client)).await?;
                    }
                    tx.record(&applied_event(&Applied { secrets: secrets.len(), ..Applied::default() }), ())
                        .await
                })
            })
            .await;
        deliver::finish(app, &pending, &written).await;
        written?;
    }
    Ok(())
}

async fn write(change: &Change, tx: &mut Tx) -> Result<Recorded<Applied>, Error> {
    let Change { plan, secrets, until, applied, by } = change;
    if plan.has_leavers() {
        tx.take_registry().await?;
    }
    let registry = tx.read().registry().await?;
    if !plan.was_made_for(&registry) {
        return Err(Error::Conflict(STALE));
    }
    // Removals first: a new server may take the name or the address of one that goes.
    remove(plan, *until, tx).await?;
    put(plan, tx).await?;
    leavers::revoke(plan, tx, *until).await?;
    if let Some(access) = &plan.self_registered {
        tx.set_self_registered(access).await?;
    }
    if let Some(forbids) = &plan.forbids {
        tx.set_forbids(forbids).await?;
    }
    for (client, secret) in secrets {
        tx.insert_secret(client, secret, None).await?;
        tx.also(&marked(by.as_ref(), secret_created(client))).await?;
    }
    tx.record(&marked(by.as_ref(), applied_event(applied)), *applied).await
}

async fn remove(plan: &Plan, until: Timestamp, tx: &mut Tx) -> Result<(), Error> {
    for server in &plan.remove_servers {
        tx.remove_server(*server, until).await?;
    }
    for agent in &plan.remove_agents {
        tx.remove_agent(agent, until).await?;
    }
    for client in &plan.remove_clients {
        tx.remove_registered(client, until).await?;
    }
    for role in &plan.remove_roles {
        tx.remove_role(role).await?;
    }
    Ok(())
}

async fn put(plan: &Plan, tx: &mut Tx) -> Result<(), Error> {
    for server in &plan.put_servers {
        tx.put_server(server).await?;
    }
    for agent in &plan.new_agents {
        if tx.insert_client(&client_of(agent, tx.now())).await? != Inserted::New {
            return Err(Error::Conflict(STALE));
        }
    }
    for agent in &plan.put_agents {
        tx.put_agent(agent).await?;
    }
    for client in &plan.new_clients {
        if tx.insert_client(&row_of(client, tx.now())).await? != Inserted::New {
            return Err(Error::Conflict(STALE));
        }
    }
    for client in &plan.put_clients {
        tx.put_registered(client).await?;
    }
    for role in &plan.put_roles {
        tx.put_role(role).await?;
    }
    Ok(())
}

fn client_of(agent: &Agent, now: Timestamp) -> NewClient {
    NewClient {
        client_id: agent.client_id.clone(),
        kind: ClientKind::Agent { name: agent.name.clone() },
        name: Some(agent.name.to_string()),
        client_uri: None,
        redirect_uris: Vec::new(),
        auth_method: AuthMethod::ClientSecretBasic,
        grant_types: vec![GrantType::ClientCredentials],
        created_at: now,
        fingerprint: None,
    }
}

fn row_of(client: &Client, now: Timestamp) -> NewClient {
    NewClient {
        client_id: client.client_id.clone(),
        kind: ClientKind::Registered,
        name: Some(client.title.clone()),
        client_uri: None,
        redirect_uris: client.redirect_uris.clone(),
        auth_method: match client.auth {
            ClientAuth::None => AuthMethod::None,
            ClientAuth::Secret => AuthMethod::ClientSecretBasic,
        },
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        created_at: now,
        fingerprint: None,
    }
}

/// Names the operator who asked.
fn marked(by: Option<&By>, event: Event) -> Event {
    match by {
        Some(by) => by.mark(event),
        None => event,
    }
}

fn secret_created(client: &ClientId) -> Event {
    let mut event = Event::new(Kind::SecretCreated, Outcome::Allowed, Actor::Operator);
    event.client = Some(client.clone());
    event
}

fn applied_event(applied: &Applied) -> Event {
    Event::new(Kind::FleetApplied, Outcome::Allowed, Actor::Operator)
        .with("put", applied.put)
        .with("removed", applied.removed)
        .with("secrets", applied.secrets)
}
