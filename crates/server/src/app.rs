//! `App`: everything that a handler may ask for. One per server, behind one `Arc`; no globals.

use crate::clock::Clock;
use crate::config::Config;
use crate::connections::Keeper;
use crate::connections::keeper::{Flights, Pauses};
use crate::deployment::{self, DeploymentError};
use crate::entropy::Entropy;
use crate::feed::{self, FeedError, Follower, Full};
use crate::fetch::{Fetcher, NoTrust};
use crate::fleet::Followed;
use crate::gateways::records::Writing;
use crate::gateways::streams::Streams;
use crate::keys::{self, KeyError, Keys, master};
use crate::ops::figures::Figures;
use crate::passwords::Passwords;
use crate::pins::Surveys;
use crate::telemetry::{OtlpError, Traces};
use crate::throttle::Throttle;
use arc_swap::ArcSwap;
use portcullis_domain::policy::{Policy, UnusableSnapshot};
use portcullis_domain::registry::Placement;
use portcullis_domain::seal::MasterKey;
use portcullis_domain::snapshot::{ChangedAgents, Snapshot};
use portcullis_gateway::{Connections, Gateway, Limits, Settings, SpoolSettings};
use portcullis_store::{Heard, OpenError, Store};
use std::collections::HashSet;
use std::sync::Arc;

/// Everything that a handler may ask for.
pub struct App {
    /// What we remember.
    pub store: Store,
    /// The present, and the only way to it.
    pub clock: Clock,
    /// Chance, and the only way to it.
    pub entropy: Entropy,
    /// What the deployment decided.
    pub config: Config,
    /// Held from planning to COMMIT by whoever delivers secrets to files: what a file holds is what was stored last.
    pub(crate) deliveries: tokio::sync::Mutex<()>,
    /// Swapped when a key is made or retired.
    pub keys: ArcSwap<Keys>,
    /// Registry and policy of today; swapped when they change. Load once per request.
    pub current: ArcSwap<Current>,
    /// The door in front of the servers.
    pub gateway: Gateway,
    /// Where spans go, if anywhere.
    pub(crate) traces: Option<Traces>,
    /// What is counted for operators.
    pub(crate) figures: Figures,
    /// Guessing is slowed down.
    pub throttle: Throttle,
    /// How the fleet file stands that is followed.
    pub followed: Followed,
    /// How looking at the servers' tools went.
    pub(crate) surveys: Surveys,
    /// Asks other people's servers for small documents.
    pub(crate) fetcher: Arc<Fetcher>,
    /// Third parties that do not answer.
    pub(crate) pauses: Pauses,
    /// Copies of connections' tokens that are being got.
    pub(crate) flights: Flights,
    /// Slow hashes, a few at a time.
    pub passwords: Passwords,
    /// Gateways that run alone and listen to this node.
    pub(crate) gateways: Streams,
    /// What they recorded is written by one at a time.
    pub(crate) records: Writing,
    pub(crate) master: MasterKey,
    pub(crate) follower: Follower,
}

/// Registry and policy of one moment, as written and as compiled.
#[derive(Debug)]
pub struct Current {
    /// Servers, agents, roles, self-registered access; its `number` is the position in the feed.
    pub snapshot: Snapshot,
    /// The same, ready to decide with.
    pub policy: Policy,
    /// `host[:port]` of every address that we answer under, with a default port and without.
    pub hosts: HashSet<String>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// Whose it is.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The first snapshot.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Whom we believe.
    #[error(transparent)]
    Trust(#[from] NoTrust),
    /// Where spans go.
    #[error(transparent)]
    Telemetry(#[from] OtlpError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] portcullis_gateway::StartError),
}

impl App {
    /// Opens the database, makes the keys if there are none, and hands the gateway its first snapshot.
    pub async fn open(config: Config, clock: Clock, entropy: Entropy) -> Result<Arc<Self>, StartError> {
        portcullis_oauth::jwt::install_crypto();
        let registration = &config.registration;
        let fetcher = Fetcher::new(registration.internal_hosts.clone(), registration.extra_ca.as_deref())?;
        let store = Store::open(&config.database).await?;
        let state = keys::database_state(&store).await?;
        let master = master::open(&config.master_key, state, &entropy).map_err(KeyError::from)?;
        let now = clock.now();
        deployment::settle(&store, &config, now).await?;
        if state == master::Database::New {
            keys::create(&store, &master, &entropy, now).await?;
        }
        let Full { keys, assertion_key, snapshot, as_of } = Full::read(&store, &config, &master, now).await?;
        let current = Current::new(snapshot).map_err(FeedError::from)?;
        let traces = config.otlp.as_ref().map(Traces::open).transpose()?;
        let keeper = Arc::new(Keeper::default());
        let connections = Arc::clone(&keeper) as Arc<dyn Connections>;
        let settings = gateway_settings(&config, &clock, (traces.as_ref(), connections));
        let gateway = Gateway::new(settings, assertion_key)?;
        let app = Arc::new(Self {
            follower: Follower::starting_at(Heard { number: current.snapshot.number, as_of: now }),
            store,
            clock,
            entropy,
            config,
            deliveries: tokio::sync::Mutex::default(),
            keys: ArcSwap::from_pointee(keys),
            current: ArcSwap::from_pointee(current),
            gateway,
            traces,
            figures: Figures::default(),
            throttle: Throttle::default(),
            followed: Followed::default(),
            surveys: Surveys::default(),
            fetcher: Arc::new(fetcher),
            pauses: Pauses::default(),
            flights: Flights::default(),
            passwords: Passwords::default(),
            gateways: Streams::default(),
            records: Writing::default(),
            master,
        });
        keeper.works_for(&app);
        feed::bring((&app.gateway, &app.store), &app.current.load_full().snapshot, as_of).await?;
        Ok(app)
    }

    /// Spans that wait are delivered, within a bound.
    pub async fn flush(&self) {
        if let Some(traces) = &self.traces {
            traces.end().await;
        }
    }

    /// Makes the gateway and the policy of this node know everything that is committed. Call it after a revocation, before
    /// the answer. A failure is logged and not told: the follower tries again, and a stale gateway refuses.
    pub async fn catch_up(&self) {
        if let Err(error) = feed::catch_up(self).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the feed cannot be followed");
        }
    }
}

impl Current {
    /// Compiles a snapshot.
    pub fn new(snapshot: Snapshot) -> Result<Self, UnusableSnapshot> {
        let behind_us = snapshot.servers.iter().filter_map(|server| match server.placement {
            Placement::Gateway { .. } => Some(server.canonical_uri.origin()),
            Placement::Direct => None,
        });
        let hosts = behind_us.chain([snapshot.issuer.origin()]).flat_map(names_of).collect();
        let policy = Policy::compile(&snapshot)?;
        Ok(Self { snapshot, policy, hosts })
    }

    /// The same with these agents; `None` where only everything anew can tell.
    pub(crate) fn with_agents(&self, changed: &ChangedAgents, number: u64) -> Option<Self> {
        let policy = self.policy.with_agents(changed)?;
        let snapshot = self.snapshot.clone().with_agents(changed, number);
        Some(Self { snapshot, policy, hosts: self.hosts.clone() })
    }
}

/// An origin in the two ways in which a request may name it.
fn names_of(origin: &str) -> Vec<String> {
    let host = host_of(origin);
    let has_port = host.rfind(':').is_some_and(|colon| !host[colon..].contains(']'));
    let default_port = if origin.starts_with("https:") { 443 } else { 80 };
    let written_out = (!has_port).then(|| format!("{host}:{default_port}"));
    written_out.into_iter().chain([host.to_owned()]).collect()
}

/// `host[:port]` of an origin, which is canonical: no default port.
pub(crate) fn host_of(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

pub(crate) fn gateway_settings(
    config: &Config,
    clock: &Clock,
    (traces, connections): (Option<&Traces>, Arc<dyn Connections>),
) -> Settings {
    let clock = clock.clone();
    Settings {
        issuer: config.issuer.clone(),
        assertion_issuer: config.issuer.join("/assertions"),
        programs: config.commands.clone(),
        limits: gateway_limits(&config.limits),
        allowed_origins: config.allowed_origins.clone(),
        max_staleness: config.max_staleness,
        spool: SpoolSettings { dir: config.data.join("spool"), max_bytes: config.spool_bytes },
        clock: Arc::new(move || clock.now()),
        secrets: Arc::new(crate::config::environment::secret_at),
        connections: Some(connections),
        spans: traces.map(|traces| Arc::clone(&traces.spans)),
    }
}

fn gateway_limits(limits: &crate::config::Limits) -> Limits {
    Limits {
        body_bytes: limits.body,
        calls_at_once: limits.calls_at_once,
        calls_per_minute: limits.calls_per_minute,
        bad_signatures_per_minute: limits.bad_signatures_per_minute,
        upstream_timeout: limits.upstream_timeout,
        upstream_idle: limits.upstream_idle,
        answer_bytes: limits.answer,
        memory: limits.memory,
        children: limits.programs,
        child_idle: limits.program_idle,
        ..Limits::default()
    }
}
