//! What the gateway counts (PC-54): calls per server and outcome, and how long they took. Labels are registered servers and
//! words of ours. One atomic step per number on the way of a call that is served.

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds.
const BOUNDS: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000,
    60_000_000,
];

/// Everything that is counted.
#[derive(Default)]
pub(crate) struct Counters {
    servers: ArcSwap<HashMap<String, Arc<OfServer>>>,
}

/// Of one server.
#[derive(Default)]
pub(crate) struct OfServer {
    answered: AtomicU64,
    /// By the word for why not.
    failed: Mutex<BTreeMap<&'static str, u64>>,
    streams: AtomicU64,
    /// By the word for how.
    streams_ended: Mutex<BTreeMap<&'static str, u64>>,
    decision: Times,
    upstream: Times,
}

/// A histogram.
#[derive(Default)]
struct Times {
    buckets: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
    micros: AtomicU64,
}

impl Times {
    fn take(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound);
        let bucket = bucket.and_then(|at| self.buckets.get(at)).unwrap_or(&self.longer);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn read(&self) -> Histogram {
        let mut count = 0;
        let mut up_to = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let buckets = BOUNDS.iter().zip(&self.buckets);
        let buckets = buckets.map(|(bound, bucket)| (Duration::from_micros(*bound), up_to(bucket))).collect();
        let count = up_to(&self.longer);
        Histogram { buckets, count, sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)) }
    }
}

impl OfServer {
    /// A call was decided about: from its last byte to the record of the decision.
    pub(crate) fn decided(&self, took: Duration) {
        self.decision.take(took);
    }

    /// The upstream began to answer, or did not.
    pub(crate) fn upstream(&self, took: Duration) {
        self.upstream.take(took);
    }

    /// How a call ended.
    pub(crate) fn ended(&self, outcome: &'static str) {
        if outcome == ANSWERED {
            self.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            *failed.entry(outcome).or_default() += 1;
        }
    }

    /// One more stream is open.
    pub(crate) fn stream_opened(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// It is over.
    pub(crate) fn stream_closed(&self, how: &'static str) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
        let mut ended = self.streams_ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended.entry(how).or_default() += 1;
    }
}

/// The outcome of a call that was served.
pub(crate) const ANSWERED: &str = "answered";

impl Counters {
    /// `name` is a registered server's.
    pub(crate) fn of(&self, name: &str) -> Arc<OfServer> {
        if let Some(known) = self.servers.load().get(name) {
            return Arc::clone(known);
        }
        let new = Arc::new(OfServer::default());
        self.servers.rcu(|servers| {
            let mut servers = HashMap::clone(servers);
            servers.entry(name.to_owned()).or_insert_with(|| Arc::clone(&new));
            servers
        });
        self.servers.load().get(name).map_or(new, Arc::clone)
    }

    pub(crate) fn streams(&self) -> u64 {
        self.servers.load().values().map(|counted| counted.streams.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn servers(&self) -> BTreeMap<String, ServerFigures> {
        let servers = self.servers.load();
        servers.iter().map(|(name, counted)| (name.clone(), ServerFigures::of(counted))).collect()
    }
}

/// What a gateway does, since its start and now.
#[derive(Clone, Debug)]
pub struct Figures {
    /// By name.
    pub servers: BTreeMap<String, ServerFigures>,
    /// Refusals of unidentified callers, by reason and server (empty: no server).
    pub strangers: BTreeMap<(&'static str, String), u64>,
    /// Calls under way, streams included.
    pub calls: u64,
    /// Open streams.
    pub streams: u64,
    /// Programs of stdio servers that run.
    pub programs: u64,
    /// Of servers with an HTTP upstream, by name: whether callers are turned away because it cannot be reached.
    pub resting: BTreeMap<String, bool>,
    /// Memory that long bodies and answers take now.
    pub room_taken: u64,
    /// What they may take.
    pub room: u64,
    /// How long ago the gateway last heard that it knows everything.
    pub feed_age: Option<Duration>,
    /// What the record of calls holds, promised outcomes included.
    pub spool_bytes: u64,
    /// What it may hold.
    pub spool_limit: u64,
}

impl Figures {
    /// Whether calls are refused because there is no room for one more record.
    pub fn spool_is_full(&self) -> bool {
        // The longest record of a decision is shorter.
        self.spool_bytes.saturating_add(4096) > self.spool_limit
    }
}

/// Of one server.
#[derive(Clone, Debug)]
pub struct ServerFigures {
    /// Calls of identified callers by how they ended: `answered`, or the word for why not.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Open streams.
    pub streams: u64,
    /// Streams that are over, by how they ended.
    pub streams_ended: BTreeMap<&'static str, u64>,
    /// From the last byte of a call to the record of the decision.
    pub decision: Histogram,
    /// From the record of the decision to the beginning of the upstream's answer.
    pub upstream: Histogram,
}

impl ServerFigures {
    fn of(counted: &OfServer) -> Self {
        let mut outcomes = counted.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outcomes.insert(ANSWERED, counted.answered.load(Ordering::Relaxed));
        Self {
            outcomes,
            streams: counted.streams.load(Ordering::Relaxed),
            streams_ended: counted.streams_ended.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            decision: counted.decision.read(),
            upstream: counted.upstream.read(),
        }
    }
}

/// How often something took how long.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Up to this long, this often; each includes those before it.
    pub buckets: Vec<(Duration, u64)>,
    /// In all.
    pub count: u64,
    /// Together.
    pub sum: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_54_times_fall_into_buckets_that_add_up() {
        let counters = Counters::default();
        let notes = counters.of("notes");
        for micros in [10, 60, 60, 3_000, 90_000_000] {
            notes.upstream(Duration::from_micros(micros));
        }
        counters.of("notes").ended(ANSWERED);
        counters.of("notes").ended("no_rule");
        let read = &counters.servers()["notes"];
        assert_eq!((read.upstream.count, read.upstream.sum), (5, Duration::from_micros(90_003_130)));
        let at = |micros| {
            let bound = Duration::from_micros(micros);
            read.upstream.buckets.iter().find(|(up_to, _)| *up_to == bound).unwrap().1
        };
        assert_eq!((at(50), at(100), at(2_500), at(5_000), at(60_000_000)), (1, 3, 3, 4, 4));
        assert_eq!(read.outcomes, BTreeMap::from([(ANSWERED, 1), ("no_rule", 1)]));
        assert_eq!(read.decision.count, 0);
    }

    #[test]
    fn pc_54_a_stream_counts_until_it_ends() {
        let counters = Counters::default();
        counters.of("notes").stream_opened();
        counters.of("ops").stream_opened();
        counters.of("ops").stream_opened();
        assert_eq!(counters.streams(), 3);
        counters.of("ops").stream_closed("complete");
        let read = &counters.servers()["ops"];
        assert_eq!((read.streams, &read.streams_ended), (1, &BTreeMap::from([("complete", 1)])));
        assert_eq!(counters.streams(), 2);
    }
}
