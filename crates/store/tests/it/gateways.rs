//! Gateways that run alone: an identity is given once (PC-62).

use crate::world::{HOUR, NOW, World, event};
use portcullis_domain::id::GatewayId;
use portcullis_domain::secret::{Enrolment, Hashed};
use portcullis_oauth::jwk::PublicJwk;
use portcullis_oauth::jwt::SigningKey;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ChangeKind, Enrolling, GatewayKeys, NewGateway};
use std::time::Duration;

const ID: GatewayId = GatewayId::from_bytes([7; 16]);

fn keys() -> GatewayKeys {
    let key = |kid: &str| -> PublicJwk {
        SigningKey::public_jwk(kid, &SigningKey::generate_pkcs8().unwrap()).unwrap()
    };
    GatewayKeys { identity: key("identity"), assertion: key("assertion") }
}

fn secret() -> Hashed<Enrolment> {
    Hashed::of("secret")
}

async fn add(world: &World, id: GatewayId, name: &str) -> bool {
    let gateway = NewGateway {
        id,
        name: name.parse().unwrap(),
        servers: Some(vec!["notes".parse().unwrap()]),
        enrolment: Hashed::of(&format!("secret{}", if id == ID { "" } else { name })),
        enrol_until: NOW + HOUR,
    };
    let write = world.store.write(NOW, gateway, |gateway, tx| {
        Box::pin(async move {
            let added = tx.insert_gateway(gateway).await?;
            tx.record(&event(), added).await
        })
    });
    write.await.unwrap()
}

async fn enrol(world: &World, now: Timestamp, secret: Hashed<Enrolment>, keys: &GatewayKeys) -> Enrolling {
    let write = world.store.write(now, (secret, keys.clone()), |(secret, keys), tx| {
        Box::pin(async move {
            let enrolling = tx.enrol_gateway(ID, secret, keys).await?;
            tx.record(&event(), enrolling).await
        })
    });
    write.await.unwrap()
}

#[tokio::test]
async fn pc_62_of_many_that_come_with_one_secret_one_is_the_gateway() {
    let world = World::new().await;
    assert!(add(&world, ID, "far").await);
    assert!(!add(&world, GatewayId::from_bytes([8; 16]), "far").await, "the name is taken");
    assert_eq!(enrol(&world, NOW, Hashed::of("other"), &keys()).await, Enrolling::Unknown);
    let before = world.read().await.reader().latest_change().await.unwrap();
    let all: Vec<GatewayKeys> = (0..8).map(|_| keys()).collect();
    let tasks = all.iter().map(|keys| {
        let (world, keys) = (world.clone(), keys.clone());
        tokio::spawn(async move { enrol(&world, NOW, secret(), &keys).await })
    });
    let mut outcomes = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        outcomes.push(task.await.unwrap());
    }
    let winner = outcomes.iter().position(|outcome| *outcome == Enrolling::Done).unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Enrolling::Spent).count(), 7, "{outcomes:?}");
    let known = world.read().await.reader().gateway(ID).await.unwrap().unwrap();
    assert_eq!((known.keys.as_ref(), known.enrolled_at), (Some(&all[winner]), Some(NOW)));
    assert_eq!(enrol(&world, NOW, secret(), &all[winner]).await, Enrolling::Again, "the answer was lost");
    let late = NOW + HOUR;
    assert_eq!(enrol(&world, late, secret(), &all[winner]).await, Enrolling::Expired);
    let news = world.read().await.reader().changes_after(before).await.unwrap();
    let kinds: Vec<&ChangeKind> = news.iter().map(|change| &change.kind).collect();
    assert_eq!(kinds, [&ChangeKind::Keys], "nodes hear of the key, once");
}

#[tokio::test]
async fn gateways_are_in_the_order_of_the_bytes_of_their_names_however_the_database_sorts() {
    let world = World::new().await;
    // As a language sorts: a1, a-b, ab, a-c, b.
    for (number, name) in (20..).zip(["b", "a-c", "ab", "a1", "a-b"]) {
        assert!(add(&world, GatewayId::from_bytes([number; 16]), name).await);
    }
    let gateways = world.read().await.reader().gateways().await.unwrap();
    let names: Vec<&str> = gateways.iter().map(|gateway| gateway.name.as_str()).collect();
    assert_eq!(names, ["a-b", "a-c", "a1", "ab", "b"]);
}

#[tokio::test]
async fn pc_45_a_gateway_that_is_removed_is_told_to_all_nodes_and_does_not_come_back() {
    let world = World::new().await;
    add(&world, ID, "far").await;
    let keys = keys();
    assert_eq!(enrol(&world, NOW, secret(), &keys).await, Enrolling::Done);
    let before = world.read().await.reader().latest_change().await.unwrap();
    let remove = async || {
        let write = world.store.write(NOW, (), |(), tx| {
            Box::pin(async move {
                let removed = tx.remove_gateway(ID).await?;
                tx.record(&event(), removed).await
            })
        });
        write.await.unwrap()
    };
    assert!(remove().await && !remove().await);
    assert_eq!(world.read().await.reader().changes_after(before).await.unwrap().len(), 1);
    assert!(world.read().await.reader().gateways().await.unwrap().is_empty());
    assert_eq!(enrol(&world, NOW, secret(), &keys).await, Enrolling::Unknown);
}

#[tokio::test]
async fn pc_62_whoever_was_away_goes_on_from_where_it_was_or_begins_anew() {
    let world = World::new().await;
    let change = async |at: Timestamp| {
        let write = world.store.write(at, (), |(), tx| {
            Box::pin(async move {
                tx.insert_gateway(&NewGateway {
                    id: ID,
                    name: "far".parse().unwrap(),
                    servers: None,
                    enrolment: secret(),
                    enrol_until: NOW + 100 * HOUR,
                })
                .await?;
                tx.enrol_gateway(ID, &secret(), &keys()).await?;
                tx.remove_gateway(ID).await?;
                tx.record(&event(), ()).await
            })
        });
        write.await.unwrap();
        world.read().await.reader().latest_change().await.unwrap()
    };
    let can_follow = async |number: u64, now: Timestamp| {
        world.read().await.reader().can_follow(number, now).await.unwrap()
    };
    let first = change(NOW).await;
    assert!(can_follow(first, NOW + 100 * HOUR).await, "nothing came after it");
    let second = change(NOW + Duration::from_secs(1)).await;
    assert!(can_follow(first, NOW + HOUR / 4).await);
    assert!(!can_follow(first, NOW + HOUR).await, "what came after it may be purged");
    assert!(!can_follow(second + 1, NOW).await, "of a database that is lost");
    assert!(!can_follow(first + 1_000_000, NOW).await);
    let purge = world.store.write(NOW + HOUR / 2, (), |(), tx| {
        Box::pin(async move {
            tx.purge().await?;
            tx.record(&event(), ()).await
        })
    });
    purge.await.unwrap();
    let left = world.read().await.reader().changes_after(first).await.unwrap();
    assert_eq!(left.len(), 1, "younger than anybody who follows may lag behind");
}
