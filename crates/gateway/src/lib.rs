//! What Portcullis forwards: the one door in front of every registered MCP server.
//!
//! A token becomes a principal (`authenticate`), a body a call (`call`), both a permit (`authorize`); the decision is
//! recorded (`spool`) before the original bytes go upstream (`forward`, `stdio`). What the gateway knows arrives as bytes
//! ([`Gateway::feed`]), so that it can run alone: it can name neither SQL nor the key that signs access tokens.
//!
//! The folders are layers, the lowest first; each imports those before it only (`cargo xtask check` reads this list):
//!
//! - `settings`: what a gateway is told at its start, part by part
//! - `bounds`: how much there may be, of memory and of calls
//! - `message`: the messages, as they stand in bodies, events and headers, and whose a session is, or a task
//! - `reach`: how upstreams and issuers are reached
//! - `known`: the snapshot and its doors, who calls, which sessions and tasks are whose
//! - `decide`: permits and refusals
//! - `filter`: what of an answer is for its reader
//! - `record`: decisions, outcomes, figures and spans
//! - `upstream`: a permitted message on its way there and back
//! - `stream`: answers that stay open
//! - `request`: one HTTP request, from its headers to its answer
//! - `line`: older transports, which carry the same messages
//!
//! Above them stand this file, `start`, how a gateway begins, and `survey`, our own look at a server's tools. `Inner` holds
//! everything of one gateway; its methods stand where their subject is.

mod bounds;
mod decide;
mod filter;
mod known;
mod line;
mod message;
mod reach;
mod record;
mod request;
mod settings;
mod start;
mod stream;
mod survey;
#[cfg(any(test, feature = "fuzzing"))]
mod testing;
mod upstream;

pub use decide::circumstances::ClientAddress;
pub use decide::pins::Survey;
pub use known::feed_error::FeedError;
pub use reach::connector::Connector;
pub use reach::tls::{NoTls, Unusable, check as check_tls, connector};
pub use record::figures::{Figures, Histogram, ServerFigures};
pub use record::spans::Spans;
pub use record::spool::SpoolSegment;
pub use settings::{AtOnce, CallRates, Clock, IssuerTimes, Limits, Program, Secrets, SpoolSettings};
pub use start::StartError;
pub use survey::SurveyFailure;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use testing::fuzzing;
pub use upstream::connections::{Connections, CopyId, NoCopy, TokenCopy, Wanted};

use axum::body::Body;
use bounds::rates::Rates;
use bounds::room::Room;
use bounds::slots::Slots;
use bounds::strangers::Strangers;
use decide::pins::Pinboard;
use filter::list::Lists;
use http::{Request, Response};
use known::door::{Behind, Door};
use known::sessions::Sessions;
use known::state::Knowledge;
use known::tasks::Tasks;
use line::Lines;
use portcullis_domain::pins::Sighting;
use portcullis_oauth::issuer::Issuer;
use record::figures::Counters;
use record::spool::Spool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stream::{Asked, Closing};
use tokio::sync::{mpsc, watch};
use upstream::assertion::Assertions;
use upstream::connections::Copies;
use upstream::stdio;

/// What a gateway needs besides snapshots and its assertion key.
#[derive(Clone)]
pub struct Settings {
    /// Whose tokens count; its origin is also the public origin of the gateway.
    pub issuer: Issuer,
    /// `iss` of our assertions: `ISSUER/assertions`.
    pub assertion_issuer: String,
    /// The machine's own `[command]` table: the only programs that may be upstreams.
    pub programs: BTreeMap<String, Program>,
    /// Sizes and times.
    pub limits: Limits,
    /// Web origins, besides the issuer's own, whose pages may call.
    pub allowed_origins: Vec<String>,
    /// How old the newest update may be before every call is refused.
    pub max_staleness: Duration,
    /// Where decisions are recorded.
    pub spool: SpoolSettings,
    /// The present.
    pub clock: Clock,
    /// Reads a secret of this machine: for issuers that are asked about tokens, and for programs.
    pub secrets: Secrets,
    /// Who keeps people's connections to third-party servers; without anybody there are none.
    pub connections: Option<Arc<dyn Connections>>,
    /// Where spans of calls go, if anywhere.
    pub spans: Option<Arc<Spans>>,
}

/// The gateway. Cheap to clone; clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

/// Everything of one gateway.
struct Inner {
    settings: Settings,
    knowledge: Arc<Knowledge>,
    assertions: Assertions,
    sessions: Sessions,
    tasks: Arc<Tasks>,
    asked: Arc<Asked>,
    spool: Spool,
    copies: Copies,
    slots: Slots,
    rates: Rates,
    room: Room,
    children: stdio::Children,
    lines: Lines,
    closing: watch::Sender<Closing>,
    strangers: Strangers,
    counters: Counters,
    lists: Lists,
    pins: Arc<Pinboard>,
    /// Makes names that no other run of any gateway makes.
    run: String,
    named: AtomicU64,
}

impl Gateway {
    /// Takes one [`portcullis_domain::snapshot::Update`] as JSON bytes. A bad update never replaces a good state.
    /// Streams that a revocation or a change of policy concerns end by themselves.
    pub fn feed(&self, bytes: &[u8]) -> Result<(), FeedError> {
        let now = (self.inner.settings.clock)();
        self.inner.knowledge.feed(bytes, now)
    }

    /// Whether some server, or its metadata, stands at `path`, exactly so written. For paths that are not of the usual form.
    pub fn owns(&self, path: &str) -> bool {
        self.inner.owns(path)
    }

    /// Answers a request to a server or for its metadata: one at `ISSUER/mcp/{name}` and below it, at
    /// `/.well-known/oauth-protected-resource` and below it, or at a path that [`Gateway::owns`]. What is not there is said as a
    /// gateway says it, and counted.
    pub async fn answer(&self, request: Request<Body>, from: Option<ClientAddress>) -> Response<Body> {
        Arc::clone(&self.inner).serve(request, from).await
    }

    /// Tools that were seen to be other than they are pinned, or all of a server where nothing is pinned yet (PC-33). For
    /// whoever stores them; can be taken once. When nobody reads them, or not fast enough, they are told again later.
    pub fn sightings(&self) -> Option<mpsc::Receiver<Sighting>> {
        self.inner.pins.sightings()
    }

    /// The segments of the record on this machine's disk, the oldest first: for whoever keeps them elsewhere.
    pub fn segments(&self) -> std::io::Result<Vec<SpoolSegment>> {
        self.inner.spool.segments()
    }

    /// Removes a closed segment that is kept elsewhere; false for the one that is written to.
    pub fn cut(&self, number: u64) -> std::io::Result<bool> {
        self.inner.spool.cut(number)
    }

    /// Forgets everything and refuses every call, until it is fed again: for a gateway that is none any more. What is no
    /// longer believed stays so.
    pub fn forget(&self) {
        self.inner.knowledge.forget();
    }

    /// Whether calls are served now: fed, and not longer ago than `max_staleness`.
    pub fn is_fresh(&self) -> bool {
        let now = (self.inner.settings.clock)();
        self.inner.knowledge.is_fresh(now)
    }

    /// What the gateway does, since its start and now.
    pub fn figures(&self) -> Figures {
        let inner = &self.inner;
        let (spool_bytes, spool_limit) = inner.spool.room();
        Figures {
            servers: inner.counters.servers(),
            strangers: inner.strangers.counts(),
            calls: inner.slots.total(),
            streams: inner.counters.streams(),
            programs: inner.children.count(),
            resting: inner.resting(),
            room_taken: inner.room.taken(),
            room: inner.settings.limits.memory as u64,
            feed_age: inner.knowledge.age((inner.settings.clock)()),
            spool_bytes,
            spool_limit,
        }
    }

    /// How many requests of unidentified callers were refused, by reason and server (empty: no server).
    pub fn refused_strangers(&self) -> BTreeMap<(&'static str, String), u64> {
        self.inner.strangers.counts()
    }

    /// Ends open streams cleanly and the programs behind stdio upstreams, within about `deadline`: streams that end at
    /// nobody's word at once, answers that are under way when they are complete or when two thirds of the time are over.
    pub async fn shutdown(&self, deadline: Duration) {
        let inner = &self.inner;
        inner.closing.send_replace(Closing::Draining);
        let patience = deadline / 3;
        if tokio::time::timeout(patience * 2, inner.slots.all_over()).await.is_err() {
            inner.closing.send_replace(Closing::Now);
        }
        inner.children.shutdown(patience).await;
    }
}

impl Inner {
    /// Of servers with an HTTP upstream, whether callers are turned away because it cannot be reached.
    fn resting(&self) -> BTreeMap<String, bool> {
        let known = self.knowledge.known();
        let doors = known.iter().flat_map(|known| known.doors());
        let rests = |door: &Arc<Door>| match &door.behind {
            Behind::Address(target) => Some((door.server.name.to_string(), target.rests())),
            Behind::Nothing | Behind::Program(_) => None,
        };
        doors.filter_map(rests).collect()
    }

    /// A name for a call or an assertion. Nobody is harmed who guesses it.
    fn unique(&self) -> String {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        [&*self.run, "-", &number.to_string()].concat()
    }
}
