//! What is past its end is removed, and nothing else.

use crate::world::{HOUR, NOW, World, event, new_client};
use portcullis_domain::id::TokenId;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::secret::Hashed;
use portcullis_oauth::time::Timestamp;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);

async fn purge(world: &World, now: Timestamp) {
    let write = world.store.write(now, (), |(), tx| {
        Box::pin(async move {
            let purged = tx.purge().await?;
            tx.record(&event().with("purged", purged), ()).await
        })
    });
    write.await.unwrap();
}

#[tokio::test]
async fn as_code_03_a_redeemed_code_is_kept_as_long_as_its_session() {
    let world = World::new().await;
    let (redeemed, unused) = (world.issue().await, world.issue().await);
    let (session, family) = world.begin().await;
    let write = world.store.write(NOW, (redeemed.clone(), session.id), |(code, session), tx| {
        Box::pin(async move {
            assert!(tx.redeem_code(code, *session).await?);
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    purge(&world, NOW + HOUR - SECOND).await;
    let mut handle = world.read().await;
    assert!(handle.reader().code(&redeemed).await.unwrap().is_some(), "expired, but a replay must be seen");
    assert!(handle.reader().session(session.id).await.unwrap().is_some());
    drop(handle);
    purge(&world, NOW + HOUR).await;
    let mut handle = world.read().await;
    assert!(handle.reader().session(session.id).await.unwrap().is_none());
    assert!(handle.reader().family(family.id).await.unwrap().is_none());
    assert!(handle.reader().code(&redeemed).await.unwrap().is_none());
    assert!(handle.reader().code(&unused).await.unwrap().is_some(), "its flow may not be answered again");
    drop(handle);
    purge(&world, NOW + 2 * DAY).await;
    assert!(world.read().await.reader().code(&unused).await.unwrap().is_none());
    assert!(world.count_audit().await > 0, "audit is never purged");
}

#[tokio::test]
async fn as_dcr_08_unused_clients_expire_and_live_ones_never() {
    let world = World::new().await;
    let write = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            for id in ["cli_unused", "cli_used_once", "cli_secret"] {
                tx.insert_client(&new_client(id)).await?;
            }
            tx.insert_secret(&"cli_secret".parse().unwrap(), &Hashed::of("secret"), None).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    let write = world.store.write(NOW + DAY, (), |(), tx| {
        Box::pin(async move {
            tx.touch_client(&"cli_used_once".parse().unwrap()).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    let there = async |id: &str| {
        let id = id.parse().unwrap();
        world.read().await.reader().client(&id, NOW).await.unwrap().is_some()
    };
    purge(&world, NOW + 30 * DAY - SECOND).await;
    assert!(there("cli_unused").await && there("cli_used_once").await && there("cli_secret").await);
    purge(&world, NOW + 30 * DAY).await;
    assert!(!there("cli_unused").await && there("cli_used_once").await && !there("cli_secret").await);
    purge(&world, NOW + 31 * DAY).await;
    assert!(!there("cli_used_once").await);
    purge(&world, NOW + 1000 * DAY).await;
    assert!(there("cli_1").await, "somebody's grant is still alive");
    assert!(there("cli_agent").await, "an agent's client does not expire");
}

#[tokio::test]
async fn pc_45_expired_revocations_are_forgotten_and_the_feed_does_not_go_back() {
    let world = World::new().await;
    for n in 1..=3 {
        let target = RevokedTarget::Token(TokenId::from_bytes([n; 16]));
        let until = NOW + HOUR * u32::from(n);
        let write = world.store.write(NOW, Revocation { target, at: NOW, until }, |revocation, tx| {
            Box::pin(async move {
                tx.revoke(revocation).await?;
                tx.record(&event(), ()).await
            })
        });
        write.await.unwrap();
    }
    let latest = world.read().await.reader().latest_change().await.unwrap();
    let left = async || {
        let mut handle = world.read().await;
        let changes = handle.reader().changes_after(0).await.unwrap();
        (handle.reader().revocations(NOW).await.unwrap().len(), changes.len())
    };
    assert_eq!(left().await, (3, 4));
    purge(&world, NOW + HOUR).await;
    assert_eq!(left().await, (2, 3));
    purge(&world, NOW + DAY).await;
    assert_eq!(left().await, (0, 2), "the newest of the registry, and the newest number");
    assert_eq!(world.read().await.reader().latest_change().await.unwrap(), latest);
}

#[tokio::test]
async fn what_signs_in_ends_too() {
    let world = World::new().await;
    let write = world.store.write(NOW, (world.user, world.agent.clone()), |(user, agent), tx| {
        Box::pin(async move {
            tx.insert_browser_session(&Hashed::of("a"), *user, NOW, NOW + HOUR).await?;
            tx.insert_browser_session(&Hashed::of("b"), *user, NOW, NOW + 2 * HOUR).await?;
            tx.insert_secret(agent, &Hashed::of("c"), Some(NOW + HOUR)).await?;
            tx.insert_secret(agent, &Hashed::of("d"), None).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    purge(&world, NOW + HOUR).await;
    let mut handle = world.read().await;
    let mut reader = handle.reader();
    // Asked as of before their ends, so that only removal can hide them.
    assert!(reader.browser_session(&Hashed::of("a"), NOW).await.unwrap().is_none());
    assert!(reader.browser_session(&Hashed::of("b"), NOW).await.unwrap().is_some());
    assert_eq!(reader.client(&world.agent, NOW).await.unwrap().unwrap().secrets.len(), 1);
}
