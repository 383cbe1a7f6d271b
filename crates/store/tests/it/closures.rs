//! Write closures: all or nothing, each for itself, and never without a record.

use crate::world::{NOW, World, event, race};
use futures_util::FutureExt as _;
use portcullis_store::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Barrier, Notify};

async fn setting(world: &World, name: &str) -> Option<String> {
    world.read().await.reader().setting(name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_write_does_not_harm_its_neighbours() {
    let world = World::new().await;
    let before = world.count_audit().await;
    let results = race(60, |racer| {
        let world = world.clone();
        async move {
            let name = format!("racer {racer}");
            let write = world.store.write(NOW, (racer, name), |(racer, name), tx| {
                Box::pin(async move {
                    tx.put_setting(name, "was here").await?;
                    tx.also(&event()).await?;
                    match racer % 4 {
                        1 => return Err(Error::Conflict("chosen")),
                        2 => panic!("chosen"),
                        // Breaks a constraint of the database.
                        3 => {
                            let session = portcullis_domain::id::SessionId::from_bytes([9; 16]);
                            let hash = portcullis_domain::secret::Hashed::of("no such client");
                            let nobody = "cli_nobody".parse().unwrap();
                            tx.insert_secret(&nobody, &hash, None).await?;
                            tx.revoke_session(session, NOW).await?;
                        }
                        _ => {}
                    }
                    tx.record(&event(), *racer).await
                })
            });
            write.await
        }
    });
    for (racer, result) in results.await.into_iter().enumerate() {
        let written = setting(&world, &format!("racer {racer}")).await.is_some();
        match racer % 4 {
            0 => assert_eq!((result.unwrap(), written), (racer, true)),
            1 => assert!(matches!(result, Err(Error::Conflict("chosen"))) && !written),
            2 => assert!(matches!(result, Err(Error::Unavailable(_))) && !written),
            _ => assert!(matches!(result, Err(Error::Conflict("foreign_key"))) && !written),
        }
    }
    assert_eq!(world.count_audit().await - before, 2 * 15, "failed writes leave no record");
}

#[tokio::test]
async fn pc_50_a_write_and_its_record_are_one() {
    let world = World::new().await;
    let before = world.count_audit().await;
    let good = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            tx.put_setting("a", "1").await?;
            let recorded = tx.record(&event().with("write", "good"), 7).await?;
            tx.put_setting("b", "2").await?;
            Ok(recorded)
        })
    });
    assert_eq!(good.await.unwrap(), 7);
    assert_eq!(setting(&world, "b").await.as_deref(), Some("2"));
    let records = world.read().await.reader().audit_after(0, 1000).await.unwrap();
    assert_eq!(records.len(), before + 1);
    assert_eq!(records.last().unwrap().2.detail["write"], "good");
    assert_eq!(records.last().unwrap().1, NOW);

    let bad = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            tx.put_setting("a", "changed").await?;
            drop(tx.record(&event(), ()).await?);
            Err::<portcullis_store::Recorded<()>, _>(Error::Conflict("chosen"))
        })
    });
    assert!(matches!(bad.await, Err(Error::Conflict("chosen"))));
    assert_eq!(setting(&world, "a").await.as_deref(), Some("1"));
    assert_eq!(world.count_audit().await, before + 1);
}

#[tokio::test]
async fn a_swallowed_error_fails_the_write() {
    let world = World::new().await;
    let before = world.count_audit().await;
    let write = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            tx.put_setting("a", "1").await?;
            let recorded = tx.record(&event(), ()).await?;
            let nobody = "cli_nobody".parse().unwrap();
            let hash = portcullis_domain::secret::Hashed::of("no such client");
            assert!(tx.insert_secret(&nobody, &hash, None).await.is_err());
            assert!(tx.read().setting("a").await.is_err(), "nothing runs after a failure");
            Ok(recorded)
        })
    });
    assert!(write.await.is_err(), "PostgreSQL would answer this COMMIT with ROLLBACK, as if that were well");
    assert_eq!(setting(&world, "a").await, None);
    assert_eq!(world.count_audit().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_before_commit() {
    let world = World::new().await;
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let input = (entered.clone(), release.clone());
    let slow = tokio::spawn({
        let world = world.clone();
        async move {
            let write = world.store.write(NOW, input, |(entered, release), tx| {
                Box::pin(async move {
                    tx.put_setting("slow", "1").await?;
                    let recorded = tx.record(&event(), ()).await?;
                    entered.notify_one();
                    release.notified().await;
                    Ok(recorded)
                })
            });
            write.await
        }
    });
    entered.notified().await;
    assert_eq!(setting(&world, "slow").await, None, "readers see what is committed");
    assert!(!slow.is_finished());
    release.notify_one();
    slow.await.unwrap().unwrap();
    assert_eq!(setting(&world, "slow").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_finished_when_nobody_waits_for_it() {
    let world = World::new().await;
    let write = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            tx.put_setting("left", "1").await?;
            tx.record(&event(), ()).await
        })
    });
    assert!(write.now_or_never().is_none(), "begun, and dropped");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while setting(&world, "left").await.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the write never happened");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pc_50_adm_07_records_cannot_be_changed_or_removed() {
    let world = World::new().await;
    let before = world.count_audit().await;
    assert!(before > 0);
    world.raw("UPDATE setting SET value = 'x'").await.unwrap();
    let mut statements = vec!["UPDATE audit SET body = '{}'", "DELETE FROM audit"];
    statements.push("DELETE FROM audit WHERE number = (SELECT MAX(number) FROM audit)");
    if world.database.is_postgres() {
        statements.push("TRUNCATE audit");
    }
    for sql in statements {
        let refused = world.raw(sql).await.unwrap_err().to_string();
        assert!(refused.contains("append only"), "{refused}");
    }
    assert_eq!(world.count_audit().await, before);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let world = World::new().await;
    let write = |value: &'static str| {
        world.store.write(NOW, value, |value, tx| {
            Box::pin(async move {
                tx.put_setting("a", value).await?;
                tx.record(&event(), ()).await
            })
        })
    };
    write("1").await.unwrap();
    world.store.close().await;
    assert!(matches!(write("2").await, Err(Error::Unavailable(_))));
    assert!(matches!(world.store.read().await, Err(Error::Unavailable(_))));
    let again = world.database.open().await;
    assert_eq!(again.read().await.unwrap().reader().setting("a").await.unwrap().as_deref(), Some("1"));
}

/// Two writes that lock two rows in opposite order: PostgreSQL ends one, and it runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_nobodys_problem() {
    let world = World::new().await;
    // The first two runs meet when each has its first row; on SQLite the second would not begin before the first has ended.
    let meet = Arc::new(Barrier::new(if world.database.is_postgres() { 2 } else { 1 }));
    let runs = Arc::new(AtomicU32::new(0));
    let results = race(2, |racer| {
        let (world, meet, runs) = (world.clone(), meet.clone(), runs.clone());
        async move {
            let order = if racer == 0 { ["a", "b"] } else { ["b", "a"] };
            let write =
                world.store.write(NOW, (order, racer, meet, runs), |(order, racer, meet, runs), tx| {
                    Box::pin(async move {
                        tx.put_setting(order[0], &racer.to_string()).await?;
                        if runs.fetch_add(1, Ordering::SeqCst) < 2 {
                            meet.wait().await;
                        }
                        tx.put_setting(order[1], &racer.to_string()).await?;
                        tx.record(&event(), ()).await
                    })
                });
            write.await
        }
    });
    for result in results.await {
        result.unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), if world.database.is_postgres() { 3 } else { 2 });
    assert_eq!(setting(&world, "a").await, setting(&world, "b").await, "one after the other");
}
