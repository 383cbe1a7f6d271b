//! The follower: what the store's feed says becomes bytes for the gateway, and the policy that the authority asks.

use crate::app::{App, Current};
use crate::config::Config;
use crate::keys::{self, KeyError, Keys};
use portcullis_domain::builtin;
use portcullis_domain::policy::UnusableSnapshot;
use portcullis_domain::seal::MasterKey;
use portcullis_domain::snapshot::{ChangedAgents, Snapshot, Update};
use portcullis_gateway::Gateway;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::jwt::SigningKey;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ChangeKind, Heard, Place, Reader, Store};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Other nodes' changes are seen at the latest after this; our own wake us at once.
const POLL: Duration = Duration::from_millis(250);

/// So many revocations are read at once. The log of a gateway is copied as often.
const AT_ONCE: u32 = 20_000;

/// Everything of one moment.
pub(crate) struct Full {
    pub(crate) keys: Keys,
    /// For the gateway only.
    pub(crate) assertion_key: SigningKey,
    pub(crate) snapshot: Snapshot,
    pub(crate) as_of: Timestamp,
}

/// Where the follower is in the feed.
#[derive(Debug)]
pub(crate) struct Follower {
    heard: Mutex<Heard>,
}

/// Why the feed could not be followed. The gateway grows stale and refuses, until it can be again.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The keys.
    #[error("the keys cannot be loaded")]
    Keys(#[from] KeyError),
    /// The database.
    #[error("the feed cannot be read")]
    Store(#[from] portcullis_store::Error),
    /// A snapshot that nobody can decide with.
    #[error("the registry cannot be used")]
    Unusable(#[from] UnusableSnapshot),
    /// An update that cannot be written.
    #[error("an update cannot be written")]
    Encoding(#[from] serde_json::Error),
    /// The gateway did not take it.
    #[error("the gateway refused an update")]
    Gateway(#[from] portcullis_gateway::FeedError),
}

impl Full {
    /// Reads registry and keys in one transaction.
    pub(crate) async fn read(
        store: &Store,
        config: &Config,
        master: &MasterKey,
        now: Timestamp,
    ) -> Result<Self, FeedError> {
        let mut handle = store.read().await?;
        let registry = handle.reader().registry().await?;
        let pins = handle.reader().pins().await?;
        let (keys, assertion_key) = keys::load(&mut handle, master).await?;
        let snapshot = builtin::installed(Snapshot {
            number: registry.number,
            issuer: config.issuer.clone(),
            keys: keys.public.clone(),
            leeway_seconds: config.tokens.leeway.as_secs(),
            max_life_seconds: crate::config::Tokens::MAX_ACCESS.as_secs(),
            servers: registry.servers,
            agents: registry.agents,
            clients: registry.clients,
            roles: registry.roles,
            self_registered: registry.self_registered,
            forbids: registry.forbids,
            pins,
        });
        Ok(Self { keys, assertion_key, snapshot, as_of: now })
    }
}

/// Brings a snapshot and everything that is not believed to the gateway of this node, the latter first. It is read after the
/// snapshot: it may be more than was known then, and never less.
pub(crate) async fn bring(
    (gateway, store): (&Gateway, &Store),
    snapshot: &Snapshot,
    as_of: Timestamp,
) -> Result<(), FeedError> {
    let mut handle = store.read().await?;
    let mut after = Some(Place::default());
    while let Some(place) = after {
        let (revocations, next) = handle.reader().revocations_after(&place, AT_ONCE, as_of).await?;
        feed(gateway, &Update::Ahead { revocations })?;
        after = next;
    }
    let snapshot = Box::new(snapshot.clone());
    feed(gateway, &Update::Full { snapshot, revocations: Vec::new(), as_of })
}

impl Follower {
    pub(crate) fn starting_at(heard: Heard) -> Self {
        Self { heard: Mutex::new(heard) }
    }
}

/// What whoever has heard of everything up to a number is to hear next.
#[derive(Debug)]
pub(crate) enum News {
    /// Everything, read anew.
    Anew {
        /// The newest of the changes that make it so.
        number: u64,
    },
    /// This.
    Update(Update),
}

/// What is new since then. `now` was read before. Whoever heard nothing for long hears everything anew: of what came
/// meanwhile a part may have been purged, and the rest alone would be taken for all of it.
pub(crate) async fn news(
    store: &Store,
    heard: Heard,
    now: Timestamp,
) -> Result<News, portcullis_store::Error> {
    let mut handle = store.read().await?;
    let changes = handle.reader().changes_after(heard.number).await?;
    let Some(number) = changes.iter().map(|change| change.number).max() else {
        return Ok(News::Update(Update::Fresh { number: heard.number, as_of: now }));
    };
    if !heard.can_follow(now) {
        return Ok(News::Anew { number });
    }
    let mut revocations = Vec::new();
    let mut agents = BTreeSet::new();
    for change in changes {
        match change.kind {
            ChangeKind::Agents(named) => agents.extend(named),
            ChangeKind::Registry | ChangeKind::Keys => return Ok(News::Anew { number }),
            ChangeKind::Revoked(revocation) => revocations.push(revocation),
        }
    }
    if agents.is_empty() {
        return Ok(News::Update(Update::Revoked { number, revocations, as_of: now }));
    }
    // Read at the same moment as the changes.
    let agents = changed_agents(handle.reader(), agents).await?;
    Ok(News::Update(Update::Agents { after: heard.number, number, agents, revocations, as_of: now }))
}

/// Takes in everything that was committed before this call. Whoever revokes or changes something calls it before
/// answering, so that on this node the answer is never ahead of the gateway.
pub async fn catch_up(app: &App) -> Result<(), FeedError> {
    let mut heard = app.follower.heard.lock().await;
    // The clock first: what is read afterwards is at least as new.
    let now = app.clock.now();
    let update = match news(&app.store, *heard, now).await? {
        // Rare, and it takes much room.
        News::Anew { number } => return Box::pin(everything(app, &mut heard, number, now)).await,
        News::Update(update) => update,
    };
    let (number, is_taken) = match &update {
        Update::Agents { number, .. } => (*number, take_agents(app, &update)),
        Update::Fresh { number, .. } | Update::Revoked { number, .. } => {
            feed(&app.gateway, &update)?;
            (*number, true)
        }
        Update::Ahead { .. } => (heard.number, false),
        Update::Full { snapshot, .. } => (snapshot.number, false),
    };
    if !is_taken {
        return Box::pin(everything(app, &mut heard, number, now)).await;
    }
    *heard = Heard { number, as_of: now };
    Ok(())
}

/// Reads everything anew; there was a change of this number.
async fn everything(app: &App, heard: &mut Heard, number: u64, now: Timestamp) -> Result<(), FeedError> {
    let full = Full::read(&app.store, &app.config, &app.master, now).await?;
    let current = Current::new(full.snapshot.clone())?;
    bring((&app.gateway, &app.store), &full.snapshot, full.as_of).await?;
    app.current.store(Arc::new(current));
    app.keys.store(Arc::new(full.keys));
    *heard = Heard { number: number.max(full.snapshot.number), as_of: now };
    Ok(())
}

/// What became of some agents.
async fn changed_agents(
    mut reader: Reader<'_>,
    agents: BTreeSet<ClientId>,
) -> Result<ChangedAgents, portcullis_store::Error> {
    let mut changed = ChangedAgents::default();
    for client in agents {
        match reader.agent(&client).await? {
            Some(agent) => changed.put.push(agent),
            None => changed.removed.push(client),
        }
    }
    Ok(changed)
}

/// Brings some agents up to date, in the gateway and here; false: everything has to be read anew.
fn take_agents(app: &App, update: &Update) -> bool {
    let Update::Agents { agents, number, .. } = update else { return false };
    let Some(current) = app.current.load().with_agents(agents, *number) else { return false };
    if let Err(error) = feed(&app.gateway, update) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the gateway needs everything anew");
        return false;
    }
    app.current.store(Arc::new(current));
    true
}

/// Bytes, even within one process: the gateway can run alone.
fn feed(gateway: &Gateway, update: &Update) -> Result<(), FeedError> {
    Ok(gateway.feed(&serde_json::to_vec(update)?)?)
}

/// Follows until `stop`.
pub async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut wake = app.store.changes();
    let mut failing = false;
    loop {
        // Said once when it begins and once when it ends, not at every poll.
        let outcome = catch_up(&app).await;
        if let Err(error) = &outcome
            && !failing
        {
            tracing::error!(error = error as &dyn std::error::Error, "the feed cannot be followed");
        } else if outcome.is_ok() && failing {
            tracing::info!("the feed is followed again");
        }
        failing = outcome.is_err();
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = wake.changed() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}
