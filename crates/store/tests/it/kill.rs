//! `kill -9` at a random moment: what was acknowledged is there, once and whole, and nothing is there in part.

use crate::world::{HOUR, NOW, World, event};
use portcullis_domain::id::{FamilyId, TokenId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_store::testing::TestDatabase;
use portcullis_store::{ChangeKind, Store};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

const URL: &str = "PORTCULLIS_TEST_KILLED_URL";
const FAMILY: &str = "PORTCULLIS_TEST_KILLED_FAMILY";
const ROUND: &str = "PORTCULLIS_TEST_KILLED_ROUND";
const ROUNDS: u32 = 6;
const WRITERS: u32 = 8;

/// One write: which round, which writer, its how-manieth.
type Write = (u32, u32, u32);

fn name((round, writer, n): Write) -> String {
    format!("{round}.{writer}.{n}")
}

fn token((round, writer, n): Write) -> TokenId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&round.to_be_bytes());
    bytes[4..8].copy_from_slice(&writer.to_be_bytes());
    bytes[8..12].copy_from_slice(&n.to_be_bytes());
    TokenId::from_bytes(bytes)
}

/// Four places are written to, and a once-only is tried. Gives the generation that it advanced from, if it did.
async fn write(store: &Store, family: FamilyId, write: Write) -> Option<u32> {
    let writing = store.write(NOW, (family, write), |(family, write), tx| {
        Box::pin(async move {
            let name = name(*write);
            tx.put_setting(&name, "there").await?;
            let target = RevokedTarget::Token(token(*write));
            tx.revoke(&Revocation { target, at: NOW, until: NOW + HOUR }).await?;
            let generation = tx.read().family(*family).await?.unwrap().0.generation;
            let won = tx.advance_family(*family, generation, NOW + HOUR).await?;
            tx.put_setting(&format!("{name} twin"), "there").await?;
            tx.record(&event().with("write", name), won.then_some(generation)).await
        })
    });
    writing.await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the parent says by these that this is the child")]
fn from_parent(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Not a test by itself: the program that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn child_writes_until_it_is_killed() {
    let Some(url) = from_parent(URL) else { return };
    let family: FamilyId = from_parent(FAMILY).unwrap().parse().unwrap();
    let round = from_parent(ROUND).unwrap().parse().unwrap();
    let store = Store::open(&url).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let won = write(&store, family, (round, writer, n)).await;
                let won = won.map_or_else(|| "-".to_owned(), |generation| generation.to_string());
                let line = format!("\nack {round} {writer} {n} {won} .\n");
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// What the child acknowledged before it was killed, after about `patience` acknowledgements.
fn acknowledged_by_child(
    url: &str,
    family: FamilyId,
    round: u32,
    patience: u32,
) -> Vec<(Write, Option<u32>)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_writes_until_it_is_killed", "--nocapture"])
        .env(URL, url)
        .env(FAMILY, family.to_string())
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged: Vec<_> =
        lines.by_ref().filter_map(|line| read(&line)).take(patience as usize).collect();
    assert_eq!(acknowledged.len(), patience as usize, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    // What still lies in the pipe was acknowledged too.
    acknowledged.extend(lines.filter_map(|line| read(&line)));
    acknowledged
}

/// A whole line only: it ends with a dot.
fn read(line: &str) -> Option<(Write, Option<u32>)> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["ack", round, writer, n, won, "."] = words.as_slice() else { return None };
    let write = (round.parse().unwrap(), writer.parse().unwrap(), n.parse().unwrap());
    Some((write, won.parse().ok()))
}

/// Everything that is in the database, at one moment.
struct Found {
    records: BTreeMap<String, usize>,
    feed: Vec<(u64, TokenId)>,
    numbers: Vec<u64>,
    revocations: BTreeSet<TokenId>,
    settings: BTreeSet<String>,
    generation: u32,
}

impl Found {
    async fn read(store: &Store, family: FamilyId, asked: &[Write]) -> Self {
        let mut handle = store.read().await.unwrap();
        let mut reader = handle.reader();
        let mut records = BTreeMap::new();
        for (_, _, event) in reader.audit_after(0, 1_000_000).await.unwrap() {
            if let Some(write) = event.detail.get("write") {
                *records.entry(write.clone()).or_default() += 1;
            }
        }
        let changes = reader.changes_after(0).await.unwrap();
        let numbers = changes.iter().map(|change| change.number).collect();
        let feed = changes.into_iter().filter_map(|change| match change.kind {
            ChangeKind::Revoked(revocation) => Some((change.number, token_of(&revocation)?)),
            ChangeKind::Agents(_) | ChangeKind::Keys | ChangeKind::Registry => None,
        });
        let revocations = reader.revocations(NOW).await.unwrap();
        let mut settings = BTreeSet::new();
        for name in asked.iter().flat_map(|write| [name(*write), format!("{} twin", name(*write))]) {
            if reader.setting(&name).await.unwrap().is_some() {
                settings.insert(name);
            }
        }
        Self {
            records,
            feed: feed.collect(),
            numbers,
            revocations: revocations.iter().filter_map(token_of).collect(),
            settings,
            generation: reader.family(family).await.unwrap().unwrap().0.generation,
        }
    }

    /// How often a write is in each of its places: all once, or all never.
    fn places(&self, write: Write) -> [usize; 5] {
        let name = name(write);
        [
            self.records.get(&name).copied().unwrap_or(0),
            self.feed.iter().filter(|(_, id)| *id == token(write)).count(),
            usize::from(self.revocations.contains(&token(write))),
            usize::from(self.settings.contains(&name)),
            usize::from(self.settings.contains(&format!("{name} twin"))),
        ]
    }
}

fn token_of(revocation: &Revocation) -> Option<TokenId> {
    match revocation.target {
        RevokedTarget::Token(id) => Some(id),
        RevokedTarget::All
        | RevokedTarget::Client(_)
        | RevokedTarget::Connection(_)
        | RevokedTarget::Server(_)
        | RevokedTarget::Session(_)
        | RevokedTarget::User(_) => None,
    }
}

fn check(found: &Found, acknowledged: &[(Write, Option<u32>)], asked: &[Write], is_postgres: bool) {
    for (write, _) in acknowledged {
        assert_eq!(found.places(*write), [1; 5], "{write:?} was acknowledged");
    }
    for write in asked {
        let places = found.places(*write);
        assert!(places == [1; 5] || places == [0; 5], "{write:?} is there in part: {places:?}");
    }
    let all = asked.iter().filter(|write| found.places(**write) == [1; 5]).count();
    assert_eq!(found.records.len(), all, "nothing is there that nobody asked for");
    // One writer's writes follow each other, so their numbers do.
    for (write, next) in asked.iter().map(|write| (*write, (write.0, write.1, write.2 + 1))) {
        let number = |write| found.feed.iter().find(|(_, id)| *id == token(write)).map(|(number, _)| *number);
        if let (Some(number), Some(next)) = (number(write), number(next)) {
            assert!(number < next, "{write:?} has a later number than what followed it");
        }
    }
    if !is_postgres {
        let gapless: Vec<u64> = (1..).take(found.numbers.len()).collect();
        assert_eq!(found.numbers, gapless, "SQLite gives each number");
    }
    let won: Vec<u32> = acknowledged.iter().filter_map(|(_, won)| *won).collect();
    let distinct: BTreeSet<u32> = won.iter().copied().collect();
    assert_eq!(distinct.len(), won.len(), "two advanced from one generation");
    assert!(distinct.iter().all(|won| *won < found.generation), "an acknowledged advance is gone");
}

#[tokio::test]
async fn pc_60_what_was_acknowledged_survives_kill_9() {
    let world = World::on(TestDatabase::create().await).await;
    let (_, family) = world.begin().await;
    world.store.close().await;
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let patience = StdRng::seed_from_u64(u64::from(round)).random_range(1..400);
        println!("round and seed {round}: killed after {patience} acknowledgements");
        let url = world.database.url().to_owned();
        let killed =
            tokio::task::spawn_blocking(move || acknowledged_by_child(&url, family.id, round, patience));
        acknowledged.extend(killed.await.unwrap());

        // Each writer has at most one write behind what it acknowledged.
        let mut asked: BTreeSet<Write> = acknowledged.iter().map(|(write, _)| *write).collect();
        for (round, writer) in (0..=round).flat_map(|round| (0..WRITERS).map(move |writer| (round, writer))) {
            let of_writer = asked.range((round, writer, 0)..(round, writer + 1, 0));
            let next = of_writer.last().map_or(0, |(_, _, n)| n + 1);
            asked.insert((round, writer, next));
        }
        let asked: Vec<Write> = asked.into_iter().collect();
        let store = world.database.open().await;
        let found = Found::read(&store, family.id, &asked).await;
        check(&found, &acknowledged, &asked, world.database.is_postgres());
        store.close().await;
    }
}
