//! PC-45: everything of one client, person, server, or of all, ended in one write.

use crate::world::{HOUR, NOW, World, event, race};
use portcullis_domain::grant::{Session, SessionOwner};
use portcullis_domain::id::{SessionId, TokenId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::secret::Hashed;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ChangeKind, Ended, Error, Place};
use std::time::Duration;

const UNTIL: Timestamp = Timestamp::from_seconds(1_800_003_600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    All,
    Client,
    RemovedClient,
    Server,
    User,
}

const EACH: [Whole; 5] = [Whole::All, Whole::Client, Whole::RemovedClient, Whole::Server, Whole::User];

async fn end(world: &World, what: Whole) -> Result<Option<Ended>, Error> {
    let write = world.store.write(NOW, world.clone(), move |world, tx| {
        Box::pin(async move {
            let ended = match what {
                Whole::All => Some(tx.end_everything(UNTIL).await?),
                Whole::Client => tx.end_all_of_client(&world.client, UNTIL).await?,
                Whole::RemovedClient => tx.remove_client(&world.client, UNTIL).await?,
                Whole::Server => tx.end_all_on_server(world.server, UNTIL).await?,
                Whole::User => tx.end_all_of_user(world.user, UNTIL).await?,
            };
            tx.record(&event(), ended).await
        })
    });
    write.await
}

/// A session of the agent on the same server.
async fn begin_as_agent(world: &World) -> SessionId {
    let session = Session {
        client_id: world.agent.clone(),
        owner: SessionOwner::Agent,
        ..world.session(world.session_id())
    };
    let write = world.store.write(NOW, session, |session, tx| {
        Box::pin(async move {
            tx.insert_session(session).await?;
            tx.record(&event(), session.id).await
        })
    });
    write.await.unwrap()
}

async fn sign_in(world: &World) {
    let write = world.store.write(NOW, world.user, |user, tx| {
        Box::pin(async move {
            tx.insert_browser_session(&Hashed::of("cookie"), *user, NOW, NOW + HOUR).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
}

#[tokio::test]
async fn pc_45_each_whole_ends_all_that_hangs_from_it_and_nothing_else() {
    for what in EACH {
        let world = World::new().await;
        let (session, family) = world.begin().await;
        let of_agent = begin_as_agent(&world).await;
        let code = world.issue().await;
        sign_in(&world).await;
        let before = world.read().await.reader().latest_change().await.unwrap();
        let ended = end(&world, what).await.unwrap().expect("it is there");

        let agent_too = matches!(what, Whole::All | Whole::Server);
        assert_eq!(ended.sessions, if agent_too { 2 } else { 1 }, "{what:?}");
        assert_eq!(ended.grants, u64::from(what != Whole::All), "{what:?}");
        let mut handle = world.read().await;
        let mut reader = handle.reader();
        assert!(reader.session(session.id).await.unwrap().unwrap().revoked, "{what:?}");
        assert!(reader.family(family.id).await.unwrap().unwrap().0.revoked, "{what:?}");
        assert_eq!(reader.session(of_agent).await.unwrap().unwrap().revoked, agent_too, "{what:?}");
        let grant = reader.grant_by_id(world.grant).await.unwrap().unwrap();
        assert_eq!(grant.revoked, what != Whole::All, "{what:?}: consent outlives the end of everything");
        let code = reader.code(&code).await.unwrap().unwrap();
        let just_before = NOW - Duration::from_secs(u64::from(what != Whole::Server));
        assert!(code.expires_at.has_passed(just_before), "{what:?}");
        let signed_in = reader.browser_session(&Hashed::of("cookie"), NOW).await.unwrap().is_some();
        assert_eq!(signed_in, !matches!(what, Whole::All | Whole::User), "{what:?}");
        let targets: Vec<_> = reader
            .changes_after(before)
            .await
            .unwrap()
            .into_iter()
            .filter_map(|change| match change.kind {
                ChangeKind::Revoked(revocation) => Some(revocation.target),
                ChangeKind::Agents(_) | ChangeKind::Keys | ChangeKind::Registry => None,
            })
            .collect();
        let whole = match what {
            Whole::All => Some(RevokedTarget::All),
            Whole::Client | Whole::RemovedClient => Some(RevokedTarget::Client(world.client.clone())),
            Whole::User => Some(RevokedTarget::User(world.user)),
            Whole::Server => None,
        };
        if let Some(whole) = whole {
            assert!(targets.contains(&whole), "{what:?}: {targets:?}");
        }
        if what != Whole::All {
            assert!(targets.contains(&RevokedTarget::Session(session.id)), "{what:?}: {targets:?}");
        }
        let alive = reader.client(&world.client, NOW).await.unwrap().unwrap();
        assert_eq!(alive.disabled, what == Whole::RemovedClient, "ADM-06");
        assert!(!reader.client(&world.agent, NOW).await.unwrap().unwrap().disabled, "{what:?}");
    }
}

#[tokio::test]
async fn pc_45_a_code_is_not_redeemed_after_its_end_even_by_who_read_it_before() {
    let world = World::new().await;
    let code = world.issue().await;
    assert!(end(&world, Whole::All).await.unwrap().is_some());
    let input = (code, world.session_id());
    let write = world.store.write(NOW - Duration::from_secs(1), input, |(code, session), tx| {
        Box::pin(async move {
            let redeemed = tx.redeem_code(code, *session).await?;
            tx.record(&event(), redeemed).await
        })
    });
    assert!(!write.await.unwrap());
}

#[tokio::test]
async fn pc_45_a_token_of_a_write_that_was_given_a_later_moment_is_meant_too() {
    let world = World::new().await;
    let later = NOW + Duration::from_secs(2);
    let write = world.store.write(later, (), |(), tx| Box::pin(async move { tx.record(&event(), ()).await }));
    write.await.unwrap();
    assert!(end(&world, Whole::All).await.unwrap().is_some());
    let known = world.read().await.reader().revocations(NOW).await.unwrap();
    let all = known.iter().find(|revocation| revocation.target == RevokedTarget::All).unwrap();
    assert_eq!((all.at, all.until), (later, UNTIL + Duration::from_secs(2)));
}

#[tokio::test]
async fn pc_45_very_many_can_be_read_in_parts_and_none_is_left_out() {
    let world = World::new().await;
    let until = |number: u8| if number == 3 { NOW } else { UNTIL };
    let write = world.store.write(NOW, until, |until, tx| {
        Box::pin(async move {
            for number in 0..7 {
                let target = match number {
                    0 => RevokedTarget::All,
                    1 | 2 => RevokedTarget::Token(TokenId::from_bytes([number; 16])),
                    _ => RevokedTarget::Session(SessionId::from_bytes([number; 16])),
                };
                tx.revoke(&Revocation { target, at: NOW, until: until(number) }).await?;
            }
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    let all = world.read().await.reader().revocations(NOW).await.unwrap();
    assert_eq!(all.len(), 6, "one does not matter any more");
    for most in [1, 2, 3, 6, 100] {
        let mut read = Vec::new();
        let mut after = Some(Place::default());
        while let Some(place) = after {
            let mut handle = world.read().await;
            let (part, next) = handle.reader().revocations_after(&place, most, NOW).await.unwrap();
            assert!(part.len() <= most as usize);
            read.extend(part);
            after = next;
        }
        assert_eq!(read, all, "{most} at once");
    }
}

#[tokio::test]
async fn adm_06_a_removed_client_does_not_come_back_by_registering_again() {
    let world = World::new().await;
    assert!(end(&world, Whole::RemovedClient).await.unwrap().is_some());
    assert_eq!(end(&world, Whole::RemovedClient).await.unwrap(), None, "once");
    let again = crate::world::new_client("cli_2");
    let again =
        portcullis_store::NewClient { fingerprint: crate::world::new_client("cli_1").fingerprint, ..again };
    let write = world.store.write(NOW, again, |client, tx| {
        Box::pin(async move {
            let inserted = tx.insert_client(client).await?;
            tx.record(&event(), inserted).await
        })
    });
    assert_eq!(write.await.unwrap(), portcullis_store::Inserted::New);
    let mut handle = world.read().await;
    let listed = handle.reader().clients_page(None, None, 10).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|listed| listed.client.client_id.to_string()).collect();
    assert_eq!(ids, ["cli_agent", "cli_2"]);
}

#[tokio::test]
async fn what_is_not_there_is_not_ended() {
    let world = World::new().await;
    let write = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            let client = tx.end_all_of_client(&"cli_none".parse().unwrap(), UNTIL).await?;
            let removed = tx.remove_client(&"cli_agent".parse().unwrap(), UNTIL).await?;
            let user = portcullis_domain::id::UserId::from_bytes([9; 16]);
            let user = tx.end_all_of_user(user, UNTIL).await?;
            let server = portcullis_domain::id::ServerId::from_bytes([9; 16]);
            let server = tx.end_all_on_server(server, UNTIL).await?;
            tx.record(&event(), [client, removed, user, server]).await
        })
    });
    assert_eq!(write.await.unwrap(), [None; 4]);
}

/// The one that ends and those that begin run at once; whoever comes first, no session may be left alive that began with
/// what was ended.
#[tokio::test(flavor = "multi_thread")]
async fn pc_45_a_session_that_begins_while_everything_ends_is_ended_or_came_after() {
    for what in [Whole::All, Whole::Client, Whole::Server, Whole::User] {
        let world = World::new().await;
        let sessions: Vec<_> = (0..10).map(|_| world.session_id()).collect();
        let begun = race(sessions.len() + 1, |racer| {
            let (world, id) = (world.clone(), sessions.get(racer.wrapping_sub(1)).copied());
            async move {
                let Some(id) = id else {
                    assert!(end(&world, what).await.unwrap().is_some());
                    return false;
                };
                let write = world.store.write(NOW, world.session(id), |session, tx| {
                    Box::pin(async move {
                        tx.insert_session(session).await?;
                        tx.record(&event(), ()).await
                    })
                });
                match write.await {
                    Ok(()) => true,
                    Err(Error::Conflict(_)) => false,
                    Err(error) => panic!("{what:?}: {error:?}"),
                }
            }
        });
        let begun = begun.await;
        let mut handle = world.read().await;
        let records = handle.reader().audit_after(0, 1000).await.unwrap();
        assert!(records.len() > 1);
        for (id, begun) in sessions.iter().zip(&begun[1..]) {
            let session = handle.reader().session(*id).await.unwrap();
            assert_eq!(session.is_some(), *begun, "{what:?}");
            // Only all leaves the grant: then whoever waited begins afterwards, by the same consent.
            if let Some(session) = session
                && what != Whole::All
            {
                assert!(session.revoked, "{what:?}");
            }
        }
    }
}
