//! What the gateway knows: one snapshot, swapped atomically, the revocations beside it, and how fresh both are.

mod revocations;

use crate::bounds::rates::TooOften;
use crate::known::caller::Caller;
use crate::known::door::Door;
use crate::known::external::{self, Believed, Here, Trusts};
use crate::reach::target::{self, Targets};
use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_domain::id::{ConnectionId, ServerId};
use portcullis_domain::pins::PinnedTools;
use portcullis_domain::policy::{Policy, ServerPolicy, UnusableSnapshot};
use portcullis_domain::principal::{Principal, Revocation, Subject};
use portcullis_domain::registry::{Name, OtherTransport, Server};
use portcullis_domain::snapshot::{ChangedAgents, Snapshot, Update};
use portcullis_guard::verifier::Verifier;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwk::InvalidKeySet;
use portcullis_oauth::jwt::{Expected, TokenRefusal};
use portcullis_oauth::time::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

use revocations::Revocations;

/// PC-03: no snapshot may ask for more.
const MAX_LEEWAY_SECONDS: u64 = 60;

/// An open stream asks this often about a token of another issuer.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// Why an update was not taken. The state is what it was.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The public half of this gateway's assertion key stands among the keys of access tokens.
    #[error("the assertion key is among the keys of access tokens")]
    AssertionKeyAmongAccessKeys,
    /// Another issuer's.
    #[error("the snapshot is of another issuer")]
    Issuer,
    /// The keys cannot be used.
    #[error("the snapshot's keys cannot be used")]
    Keys(#[from] InvalidKeySet),
    /// PC-03.
    #[error("the leeway is more than 60 seconds")]
    Leeway,
    /// The bytes are no update.
    #[error("not an update")]
    Malformed(#[source] serde_json::Error),
    /// A change came between that was not heard of: a full update is needed.
    #[error("a change was missed")]
    Missed,
    /// An earlier state than the one that is known.
    #[error("older than what is known")]
    Older,
    /// Two servers share an address, or a name.
    #[error("two servers share an address or a name")]
    SharedAddress,
    /// The policy cannot be used.
    #[error("the snapshot's policy cannot be used")]
    Unusable(#[from] UnusableSnapshot),
}

/// What is needed to serve with a snapshot.
pub(crate) struct Means {
    /// To ask issuers about tokens.
    pub(crate) issuers: external::Means,
    /// To reach upstreams.
    pub(crate) upstreams: target::Means,
}

/// What stands at a path. In this order, where several of one host do.
#[derive(Clone)]
pub(crate) enum Place {
    /// A server's MCP endpoint.
    Endpoint(Arc<Door>),
    /// Where a server takes another transport.
    Line(Arc<Door>, OtherTransport),
    /// A server's metadata.
    Metadata(Arc<Door>),
}

impl Place {
    pub(crate) fn door(&self) -> &Arc<Door> {
        match self {
            Self::Endpoint(door) | Self::Line(door, _) | Self::Metadata(door) => door,
        }
    }

    fn order(&self) -> u8 {
        match self {
            Self::Endpoint(_) => 0,
            Self::Line(..) => 1,
            Self::Metadata(_) => 2,
        }
    }
}

/// One snapshot, made ready to serve with.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) number: u64,
    policy: Policy,
    pinned: Arc<HashMap<ServerId, PinnedTools>>,
    agents: HashMap<ClientId, Name>,
    issuer: Issuer,
    leeway: Duration,
    max_life: Duration,
    verifier: Arc<Verifier>,
    trusts: Arc<Trusts>,
    targets: Arc<Targets>,
    by_path: Arc<HashMap<String, Vec<Place>>>,
}

impl Known {
    fn new(snapshot: &Snapshot, before: Option<&Known>, means: &Means) -> Result<Self, FeedError> {
        if snapshot.leeway_seconds > MAX_LEEWAY_SECONDS {
            return Err(FeedError::Leeway);
        }
        let verifier = match before {
            Some(before) if before.verifier.is_for(&snapshot.keys) => Arc::clone(&before.verifier),
            _ => Arc::new(Verifier::new(&snapshot.keys, means.issuers.capacity)?),
        };
        let policy = Policy::compile(snapshot)?;
        let targets = Targets::of(&snapshot.servers, before.map(|before| &*before.targets), &means.upstreams);
        let doors = policy.servers().filter_map(|policy| Door::of(policy, &targets)).map(Arc::new);
        let by_path = by_path(doors)?;
        let mut names: Vec<_> = policy.servers().map(|entry| &entry.server().name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(FeedError::SharedAddress);
        }
        let pinned = |server: &Server| PinnedTools::new(server.pinning, snapshot.pins.get(&server.id));
        Ok(Self {
            number: snapshot.number,
            pinned: Arc::new(snapshot.servers.iter().map(|server| (server.id, pinned(server))).collect()),
            agents: snapshot
                .agents
                .iter()
                .map(|agent| (agent.client_id.clone(), agent.name.clone()))
                .collect(),
            issuer: snapshot.issuer.clone(),
            leeway: Duration::from_secs(snapshot.leeway_seconds),
            max_life: Duration::from_secs(snapshot.max_life_seconds),
            verifier,
            trusts: Arc::new(Trusts::of(
                &snapshot.servers,
                before.map(|before| &*before.trusts),
                &means.issuers,
            )),
            targets: Arc::new(targets),
            by_path: Arc::new(by_path),
            policy,
        })
    }

    /// The same with these agents; `None` where only a full update can tell.
    fn with_agents(&self, changed: &ChangedAgents, number: u64) -> Option<Self> {
        let policy = self.policy.with_agents(changed)?;
        let mut known = Self { number, policy, ..self.clone() };
        known.agents.retain(|client, _| !changed.concern(client));
        let put = changed.put.iter().map(|agent| (agent.client_id.clone(), agent.name.clone()));
        known.agents.extend(put);
        Some(known)
    }

    /// What stands at exactly this path, under whatever host.
    pub(crate) fn places_at(&self, path: &str) -> &[Place] {
        self.by_path.get(path).map_or(&[], Vec::as_slice)
    }

    /// The policy of a server, if it still is behind this gateway.
    pub(crate) fn policy_of(&self, door: &Door) -> Option<&ServerPolicy> {
        let policy = self.policy.server(door.server.name.as_str())?;
        let (known, here) = (policy.server(), &door.server);
        // A server removed and made anew under its name is another one.
        let is_it = Arc::ptr_eq(known, here)
            || (known.id == here.id
                && known.canonical_uri == here.canonical_uri
                && known.placement == here.placement);
        is_it.then_some(policy)
    }

    /// What an agent is called, for the record.
    pub(crate) fn agent_name(&self, principal: &Principal) -> Option<&Name> {
        match &principal.subject {
            Subject::Agent(client) => self.agents.get(client),
            Subject::External { .. } | Subject::User(_) => None,
        }
    }

    /// The pinned tools of a server.
    pub(crate) fn pinned_tools(&self, server: ServerId) -> Option<&PinnedTools> {
        self.pinned.get(&server)
    }

    /// Every door.
    pub(crate) fn doors(&self) -> impl Iterator<Item = &Arc<Door>> {
        self.by_path.values().flatten().filter_map(|place| match place {
            Place::Endpoint(door) => Some(door),
            Place::Line(..) | Place::Metadata(_) => None,
        })
    }

    /// The door of a server.
    pub(crate) fn door_of(&self, server: ServerId) -> Option<&Arc<Door>> {
        self.doors().find(|door| door.server.id == server)
    }

    fn here<'a>(&'a self, door: &'a Door, now: Timestamp) -> Here<'a> {
        let audience = door.server.canonical_uri.as_str();
        Here { own: &self.issuer, audience, now, leeway: self.leeway }
    }

    /// When it has to be asked again about a token at this door, whatever the token says.
    pub(crate) fn ask_again(&self, door: &Door, now: Timestamp) -> Option<Timestamp> {
        self.trusts.at(door.server.id).map(|_| now + ASK_AGAIN)
    }

    /// How long after its `exp` a token still counts.
    pub(crate) fn leeway(&self) -> Duration {
        self.leeway
    }
}

/// Everything that stands at some path. Endpoints that share one have different hosts.
fn by_path(doors: impl Iterator<Item = Arc<Door>>) -> Result<HashMap<String, Vec<Place>>, FeedError> {
    let mut by_path: HashMap<String, Vec<Place>> = HashMap::new();
    for door in doors {
        let at_its_own = by_path.entry(door.path().to_owned()).or_default();
        let is_another =
            |place: &Place| matches!(place, Place::Endpoint(other) if other.authority == door.authority);
        if at_its_own.iter().any(is_another) {
            return Err(FeedError::SharedAddress);
        }
        at_its_own.push(Place::Endpoint(Arc::clone(&door)));
        for (path, transport) in door.line_paths() {
            by_path.entry(path).or_default().push(Place::Line(Arc::clone(&door), transport));
        }
        by_path.entry(door.metadata_path.clone()).or_default().push(Place::Metadata(door));
    }
    for places in by_path.values_mut() {
        places.sort_by_key(Place::order);
        places.shrink_to_fit();
    }
    Ok(by_path)
}

/// Why a token was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disbelief {
    /// Another issuer would have to say something about it, and does not now.
    IssuerAway,
    /// The issuer says that it is not, or no longer, good.
    NotActive,
    Revoked,
    Token(TokenRefusal),
    /// It was never seen, and its signature is not checked now.
    Unchecked(TooOften),
}

/// Everything that is known; updates come one at a time.
pub(crate) struct Knowledge {
    issuer: Issuer,
    assertion_kid: String,
    max_staleness: Duration,
    means: Means,
    known: ArcSwapOption<Known>,
    revocations: ArcSwap<Revocations>,
    as_of: AtomicI64,
    feeding: Mutex<()>,
    changed: watch::Sender<u64>,
    news: AtomicU64,
}

impl Knowledge {
    pub(crate) fn new(issuer: Issuer, assertion_kid: String, max_staleness: Duration, means: Means) -> Self {
        Self {
            issuer,
            assertion_kid,
            max_staleness,
            means,
            known: ArcSwapOption::empty(),
            revocations: ArcSwap::default(),
            as_of: AtomicI64::new(i64::MIN),
            feeding: Mutex::new(()),
            changed: watch::Sender::new(0),
            news: AtomicU64::new(0),
        }
    }

    /// The current snapshot.
    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.known.load_full()
    }

    /// Told after every update; open streams ask again whether they may.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The moment at which what is known becomes too old to decide by.
    pub(crate) fn stale_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.as_of.load(Ordering::Acquire)) + self.max_staleness
    }

    /// How long ago the newest update was made; none if there was none.
    pub(crate) fn age(&self, now: Timestamp) -> Option<Duration> {
        let as_of = self.as_of.load(Ordering::Acquire);
        (as_of != i64::MIN).then(|| now.since(Timestamp::from_seconds(as_of)))
    }

    /// Whether calls may be decided now. News from a future further away than news may be old mean that our clock was set
    /// back: how old they are is not known then.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        let as_of = Timestamp::from_seconds(self.as_of.load(Ordering::Acquire));
        self.known.load().is_some() && now <= self.stale_at() && as_of <= now + self.max_staleness
    }

    /// How often there was news. To be read before anybody is believed: what comes meanwhile is then news again.
    pub(crate) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// Whether the caller was believed in this second, by what is known now.
    pub(crate) fn is_of_this_moment(&self, caller: &Caller, now: Timestamp) -> bool {
        let known = self.known.load();
        now == caller.now
            && self.news() == caller.news
            && known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &caller.known))
            && self.is_fresh(now)
    }

    /// Whether asking again who calls must find what it found before: it is the same second, nothing was heard since, and
    /// nobody else has a say.
    pub(crate) fn is_as_it_was(&self, caller: &Caller, now: Timestamp) -> bool {
        self.is_of_this_moment(caller, now) && caller.known.trusts.at(caller.door.server.id).is_none()
    }

    /// Who presents `token` to `door` now: a token that was let in before.
    pub(crate) fn believe(
        &self,
        known: &Known,
        door: &Door,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Disbelief> {
        self.believe_if((known, door), token, now, || Ok(()))
    }

    /// Who presents `token` to `door` now; `may_check` is asked before the signature of one that was never seen is checked.
    pub(crate) fn believe_if(
        &self,
        (known, door): (&Known, &Door),
        token: &str,
        now: Timestamp,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<Arc<Principal>, Disbelief> {
        let mut may_check = Some(may_check);
        let mut may_check = || may_check.take().map_or(Ok(()), |may_check| may_check());
        if let Some(trust) = known.trusts.at(door.server.id) {
            match trust.believe(known.here(door, now), token, &mut may_check)? {
                Believed::Own => {}
                Believed::Other(principal) => return self.unless_revoked(Arc::new(principal), (known, door)),
            }
        }
        let expected = Expected {
            issuer: &known.issuer,
            audience: door.server.canonical_uri.as_str(),
            now,
            leeway: known.leeway,
            max_life: known.max_life,
        };
        let verified = known.verifier.verify_if(token, &expected, may_check);
        let principal = verified.map_err(Disbelief::Unchecked)?.map_err(Disbelief::Token)?;
        self.unless_revoked(principal, (known, door))
    }

    /// Whether a person's connection to a third party ended.
    pub(crate) fn has_ended(&self, connection: ConnectionId) -> bool {
        self.revocations.load().has_ended(connection)
    }

    fn unless_revoked(
        &self,
        principal: Arc<Principal>,
        (known, door): (&Known, &Door),
    ) -> Result<Arc<Principal>, Disbelief> {
        if self.revocations.load().concern(&principal, door.server.id, known.leeway) {
            Err(Disbelief::Revoked)
        } else {
            Ok(principal)
        }
    }

    /// To be awaited before a token is judged: where others' tokens count, their issuer may have to be asked.
    pub(crate) async fn ready(
        &self,
        (known, door): (&Known, &Door),
        token: &str,
        now: Timestamp,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<(), Disbelief> {
        match known.trusts.at(door.server.id) {
            None => Ok(()),
            Some(trust) => trust.ready(known.here(door, now), token, may_check).await,
        }
    }

    /// Takes an update, or changes nothing.
    pub(crate) fn feed(&self, bytes: &[u8], now: Timestamp) -> Result<(), FeedError> {
        let update: Update = serde_json::from_slice(bytes).map_err(FeedError::Malformed)?;
        let _one_at_a_time = self.feeding.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes ahead is followed by everything.
        let tells_nothing = matches!(update, Update::Ahead { .. } | Update::Fresh { .. });
        let taken = self.take(update, now);
        // Also of one that was refused: it may have been taken in part.
        self.news.fetch_add(1, Ordering::Release);
        // Once, and when all of it is there: every open stream looks again.
        if !tells_nothing {
            self.changed.send_modify(|_| ());
        }
        taken
    }

    fn take(&self, update: Update, now: Timestamp) -> Result<(), FeedError> {
        let before = self.known.load_full();
        let as_of = match update {
            Update::Ahead { revocations } => {
                self.take_revocations(&revocations, now);
                return Ok(());
            }
            Update::Fresh { number, as_of } => {
                match number.cmp(&self.heard_of()) {
                    std::cmp::Ordering::Less => return Err(FeedError::Older),
                    std::cmp::Ordering::Equal if before.is_some() => {}
                    std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => {
                        return Err(FeedError::Missed);
                    }
                }
                as_of
            }
            Update::Full { snapshot, revocations, as_of } => {
                let known = self.prepared(&snapshot, before.as_deref())?;
                // Revocations first: no request may meet the new snapshot without them.
                self.take_revocations(&revocations, now);
                self.known.store(Some(Arc::new(known)));
                self.hear_of(snapshot.number);
                as_of
            }
            Update::Agents { after, number, agents, revocations, as_of } => {
                // Disbelief is taken at once, whatever comes of the rest.
                self.take_revocations(&revocations, now);
                let before = before.filter(|_| after == self.heard_of() && after < number);
                let known = before.and_then(|before| before.with_agents(&agents, number));
                self.known.store(Some(Arc::new(known.ok_or(FeedError::Missed)?)));
                self.hear_of(number);
                as_of
            }
            Update::Revoked { number, revocations, as_of } => {
                // Disbelief is taken at once, whatever the order: it only ever refuses more.
                self.take_revocations(&revocations, now);
                if before.is_none() {
                    return Err(FeedError::Missed);
                }
                self.hear_of(number.max(self.heard_of()));
                as_of
            }
        };
        // A clock ahead of ours must not keep us believing longer than we would ourselves.
        let as_of = as_of.min(now).seconds();
        let latest_possible = (now + self.max_staleness).seconds();
        // It only grows, except that what was heard in a future that our clock no longer believes in is forgotten.
        let grown = |before: i64| Some(if before > latest_possible { as_of } else { before.max(as_of) });
        let _always_taken = self.as_of.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown);
        Ok(())
    }

    /// Nothing is known any more, and nobody is believed.
    pub(crate) fn forget(&self) {
        let _one_at_a_time = self.feeding.lock().unwrap_or_else(PoisonError::into_inner);
        self.known.store(None);
        self.as_of.store(i64::MIN, Ordering::Release);
        self.changed.send_replace(0);
    }

    /// The position in the feed up to which everything was heard.
    fn heard_of(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Notes it; nobody is woken.
    fn hear_of(&self, number: u64) {
        self.changed.send_if_modified(|heard| {
            *heard = number;
            false
        });
    }

    fn prepared(&self, snapshot: &Snapshot, before: Option<&Known>) -> Result<Known, FeedError> {
        if snapshot.issuer != self.issuer {
            return Err(FeedError::Issuer);
        }
        if snapshot.keys.keys.iter().any(|key| key.kid == self.assertion_kid) {
            return Err(FeedError::AssertionKeyAmongAccessKeys);
        }
        if self.heard_of() > snapshot.number {
            return Err(FeedError::Older);
        }
        Known::new(snapshot, before, &self.means)
    }

    fn take_revocations(&self, new: &[Revocation], now: Timestamp) {
        let log = self.revocations.load().with(new, now);
        self.revocations.store(Arc::new(log));
    }
}
