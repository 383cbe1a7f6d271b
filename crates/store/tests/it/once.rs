//! What must happen once happens once, however many try at the same moment.

use crate::world::{NOW, World, event, new_client, new_user, race, scopes};
use portcullis_domain::id::FamilyId;
use portcullis_domain::secret::Hashed;
use portcullis_oauth::client::ClientId;
use portcullis_store::{Inserted, KeyPurpose, NewClient, StoredKey};

const RACERS: usize = 12;

fn wins(results: &[bool]) -> usize {
    results.iter().filter(|won| **won).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_code_02_a_code_is_redeemed_once() {
    let world = World::new().await;
    for _ in 0..5 {
        let code = world.issue().await;
        let before = world.count_audit().await;
        let won = race(RACERS, |_| {
            let (world, code) = (world.clone(), code.clone());
            async move {
                let id = world.session_id();
                let input = (code, world.session(id));
                let redeem = world.store.write(NOW, input, |(code, session), tx| {
                    Box::pin(async move {
                        let won = tx.redeem_code(code, session.id).await?;
                        if won {
                            tx.insert_session(session).await?;
                        }
                        tx.record(&event(), won.then_some(session.id)).await
                    })
                });
                redeem.await.unwrap()
            }
        });
        let winners: Vec<_> = won.await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        let row = world.read().await.reader().code(&code).await.unwrap().unwrap();
        assert_eq!(row.redeemed_as, Some(winners[0]));
        assert!(world.read().await.reader().session(winners[0]).await.unwrap().is_some());
        assert_eq!(world.count_audit().await - before, RACERS, "losers leave their record too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_rt_02_a_family_advances_once_from_each_generation() {
    let world = World::new().await;
    let (_, family) = world.begin().await;
    for generation in 0..5 {
        let won = race(RACERS, |_| {
            let (world, id) = (world.clone(), family.id);
            async move {
                let advance = world.store.write(NOW, (id, generation), |(id, generation), tx| {
                    Box::pin(async move {
                        let won = tx.advance_family(*id, *generation, NOW).await?;
                        tx.record(&event(), won).await
                    })
                });
                advance.await.unwrap()
            }
        });
        assert_eq!(wins(&won.await), 1);
        assert_eq!(generation_of(&world, family.id).await, generation + 1);
    }
}

async fn generation_of(world: &World, id: FamilyId) -> u32 {
    let mut handle = world.read().await;
    handle.reader().family(id).await.unwrap().unwrap().0.generation
}

#[tokio::test(flavor = "multi_thread")]
async fn as_code_01_an_authorization_request_is_answered_once() {
    let world = World::new().await;
    let won = race(RACERS, |racer| {
        let world = world.clone();
        async move {
            let input = (Hashed::of(&format!("code {racer}")), world.code());
            let issue = world.store.write(NOW, input, |(hash, code), tx| {
                Box::pin(async move {
                    let won = tx.insert_code(hash, "the flow", code).await?;
                    tx.record(&event(), won).await
                })
            });
            issue.await.unwrap()
        }
    });
    let won = won.await;
    assert_eq!(wins(&won), 1);
    for (racer, won) in won.into_iter().enumerate() {
        let hash = Hashed::of(&format!("code {racer}"));
        let row = world.read().await.reader().code(&hash).await.unwrap();
        assert_eq!(row.is_some(), won, "the code of a loser does not exist");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pc_44_of_nodes_that_start_at_once_one_makes_the_key() {
    let world = World::new().await;
    let won = race(RACERS, |racer| {
        let world = world.clone();
        async move {
            let key = StoredKey {
                purpose: KeyPurpose::AccessToken,
                version: 1,
                kid: format!("kid {racer}"),
                sealed: vec![u8::try_from(racer).unwrap()],
                public: None,
                created_at: NOW,
            };
            let insert = world.store.write(NOW, key, |key, tx| {
                Box::pin(async move {
                    let won = tx.insert_key(key).await?;
                    tx.record(&event(), won).await
                })
            });
            insert.await.unwrap()
        }
    });
    let won = won.await;
    assert_eq!(wins(&won), 1);
    let winner = won.iter().position(|won| *won).unwrap();
    let keys = world.read().await.reader().keys(KeyPurpose::AccessToken).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].kid, format!("kid {winner}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_dcr_the_same_registration_gives_the_same_client() {
    let world = World::new().await;
    let ids = race(RACERS, |racer| {
        let world = world.clone();
        async move {
            let id = format!("cli_racer_{racer}");
            let client = NewClient { fingerprint: Some("the same".into()), ..new_client(&id) };
            let insert = world.store.write(NOW, client, |client, tx| {
                Box::pin(async move {
                    let id = match tx.insert_client(client).await? {
                        Inserted::New => client.client_id.clone(),
                        Inserted::Same(id) => id,
                    };
                    tx.record(&event(), id).await
                })
            });
            insert.await.unwrap()
        }
    });
    let ids: Vec<ClientId> = ids.await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(world.read().await.reader().client(&ids[0], NOW).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_name_is_given_once() {
    let world = World::new().await;
    let won = race(RACERS, |racer| {
        let world = world.clone();
        async move {
            let user = new_user(100 + racer as u64, "bob");
            let insert = world.store.write(NOW, user, |user, tx| {
                Box::pin(async move {
                    let won = tx.insert_user(user).await?;
                    tx.record(&event(), won).await
                })
            });
            insert.await.unwrap()
        }
    });
    assert_eq!(wins(&won.await), 1);
    assert_eq!(world.read().await.reader().count_users().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pc_15_scopes_agreed_to_at_once_are_all_in_the_one_grant() {
    let world = World::new().await;
    let ids = race(RACERS, |racer| {
        let world = world.clone();
        async move {
            let input = (world.clone(), world.grant_id(), scopes(&format!("notes:{racer}")));
            let merge = world.store.write(NOW, input, |(world, id, more), tx| {
                Box::pin(async move {
                    let id = tx.merge_grant(world.new_grant(*id), more).await?;
                    tx.record(&event(), id).await
                })
            });
            merge.await.unwrap()
        }
    });
    assert!(ids.await.into_iter().all(|id| id == world.grant));
    let grant = world.read().await.reader().grant_by_id(world.grant).await.unwrap().unwrap();
    assert_eq!(grant.scopes.len(), RACERS + 1);
}
