//! The change feed: whoever reads up to a number has seen all that are smaller.

use crate::world::{NOW, World, event};
use portcullis_domain::id::TokenId;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ChangeKind, Store};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const UNTIL: Timestamp = Timestamp::from_seconds(1_900_000_000);
const PATIENCE: Duration = Duration::from_secs(20);

fn revocation(n: u8) -> Revocation {
    let target = RevokedTarget::Token(TokenId::from_bytes([n; 16]));
    Revocation { target, at: NOW, until: UNTIL }
}

async fn revoke(store: &Store, n: u8) {
    let write = store.write(NOW, n, |n, tx| {
        Box::pin(async move {
            tx.revoke(&revocation(*n)).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
}

/// Polls as a follower does: what is after the last number that it has seen.
struct Follower {
    task: tokio::task::JoinHandle<Vec<u64>>,
    done: Arc<AtomicBool>,
}

impl Follower {
    fn start(store: &Store) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (store, end) = (store.clone(), done.clone());
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let is_last = end.load(Ordering::Acquire);
                let after = seen.last().copied().unwrap_or(0);
                let mut handle = store.read().await.unwrap();
                let changes = handle.reader().changes_after(after).await.unwrap();
                seen.extend(changes.into_iter().map(|change| change.number));
                if is_last {
                    return seen;
                }
                tokio::task::yield_now().await;
            }
        });
        Self { task, done }
    }

    /// What it saw, and what there was to see.
    async fn stop(self, store: &Store) -> (Vec<u64>, Vec<u64>) {
        self.done.store(true, Ordering::Release);
        let seen = self.task.await.unwrap();
        let all = store.read().await.unwrap().reader().changes_after(0).await.unwrap();
        (seen, all.into_iter().map(|change| change.number).collect())
    }
}

/// The closure has made its change and waits before its end, while others commit changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_closure_hides_no_change() {
    let world = World::new().await;
    let follower = Follower::start(&world.store);
    for round in 0..5 {
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let input = (round, entered.clone(), release.clone());
        let store = world.store.clone();
        let slow = tokio::spawn(async move {
            let write = store.write(NOW, input, |(round, entered, release), tx| {
                Box::pin(async move {
                    tx.revoke(&revocation(*round)).await?;
                    entered.notify_one();
                    release.notified().await;
                    tx.record(&event(), ()).await
                })
            });
            write.await.unwrap();
        });
        entered.notified().await;
        let others: Vec<_> = (0..4)
            .map(|n| {
                let store = world.store.clone();
                tokio::spawn(async move { revoke(&store, 100 + 10 * round + n).await })
            })
            .collect();
        // On PostgreSQL they do not wait for the slow one; SQLite's writer does one thing at a time.
        if world.database.is_postgres() {
            for other in others {
                other.await.unwrap();
            }
            release.notify_one();
        } else {
            release.notify_one();
            for other in others {
                other.await.unwrap();
            }
        }
        slow.await.unwrap();
    }
    let (seen, all) = follower.stop(&world.store).await;
    assert_eq!(seen, all, "the follower skipped a change");
    assert_eq!(all.len(), 1 + 5 * 5, "one of the registry, and those of the rounds");
}

/// Another process has taken its number and holds its transaction open; others that want to commit changes must wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_taken_holds_up_larger_ones() {
    let world = World::new().await;
    let follower = Follower::start(&world.store);
    let mut held = Held::take(&world).await;
    let others: Vec<_> = (0..4)
        .map(|n| {
            let store = world.store.clone();
            tokio::spawn(async move { revoke(&store, n).await })
        })
        .collect();
    held.until_somebody_waits().await;
    assert!(others.iter().all(|other| !other.is_finished()));
    let latest = world.read().await.reader().latest_change().await.unwrap();
    assert!(latest < held.number, "nothing at or after the held number may be seen");
    let number = held.number;
    held.commit().await;
    for other in others {
        other.await.unwrap();
    }
    let (seen, all) = follower.stop(&world.store).await;
    assert_eq!(seen, all, "the follower skipped a change");
    assert!(all.contains(&number));
    assert_eq!(all.iter().filter(|n| **n > number).count(), 4);
}

/// A transaction of another process, open after it took the number of its change.
struct Held {
    connection: Engine,
    number: u64,
}

enum Engine {
    Postgres(PgConnection, String),
    Sqlite(SqliteConnection),
}

impl Held {
    async fn take(world: &World) -> Self {
        let url = world.database.url();
        if world.database.is_postgres() {
            let mut connection = PgConnection::connect(url).await.unwrap();
            connection.execute("BEGIN; SELECT pg_advisory_xact_lock(7813557249410)").await.unwrap();
            let number: i64 = sqlx::query_scalar(
                "INSERT INTO change (number, at, kind) VALUES (nextval('change_number'), 0, 'keys') RETURNING number",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap();
            let connection = Engine::Postgres(connection, url.to_owned());
            Self { connection, number: number.try_into().unwrap() }
        } else {
            let mut connection = SqliteConnection::connect(url).await.unwrap();
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
            let number: i64 =
                sqlx::query_scalar("INSERT INTO change (at, kind) VALUES (0, 'keys') RETURNING number")
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
            Self { connection: Engine::Sqlite(connection), number: number.try_into().unwrap() }
        }
    }

    /// On PostgreSQL until all four are seen to wait for the lock. SQLite cannot tell; its one file lock is the rule.
    async fn until_somebody_waits(&mut self) {
        let Engine::Postgres(_, url) = &self.connection else { return };
        let mut observer = PgConnection::connect(url).await.unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .fetch_one(&mut observer)
            .await
            .unwrap();
            if waiting == 4 {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{waiting} wait");
        }
    }

    async fn commit(self) {
        match self.connection {
            Engine::Postgres(mut connection, _) => {
                connection.execute("COMMIT").await.unwrap();
            }
            Engine::Sqlite(mut connection) => {
                connection.execute("COMMIT").await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn followers_are_woken_after_the_commit() {
    let world = World::new().await;
    let mut changes = world.store.changes();
    let before = *changes.borrow_and_update();
    assert_eq!(before, world.read().await.reader().latest_change().await.unwrap());
    let write = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            tx.put_setting("a", "1").await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    assert!(!changes.has_changed().unwrap(), "a setting is no change of the feed");
    revoke(&world.store, 1).await;
    tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    let number = *changes.borrow_and_update();
    assert_eq!(number, before + 1);
    let news = world.read().await.reader().changes_after(before).await.unwrap();
    assert_eq!(news.len(), 1);
    assert_eq!((news[0].number, &news[0].kind), (number, &ChangeKind::Revoked(revocation(1))));
}

#[tokio::test]
async fn followers_in_other_processes_are_woken_or_see_it_when_they_poll() {
    let world = World::new().await;
    let elsewhere = world.database.open().await;
    let mut changes = elsewhere.changes();
    let before = *changes.borrow_and_update();
    revoke(&world.store, 1).await;
    if world.database.is_postgres() {
        tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
        assert_eq!(*changes.borrow(), before + 1);
    }
    let news = elsewhere.read().await.unwrap().reader().changes_after(before).await.unwrap();
    assert_eq!(news.len(), 1);
}
