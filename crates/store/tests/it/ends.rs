//! What ends takes along what hangs from it, also what is added at the same moment.

use crate::world::{HOUR, NOW, World, event, race};
use portcullis_domain::principal::RevokedTarget;
use portcullis_domain::secret::Hashed;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ChangeKind, Error};

const UNTIL: Timestamp = Timestamp::from_seconds(1_800_000_900);

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Client,
    Grant,
    Server,
    Session,
    User,
}

async fn end(world: &World, what: End, session: portcullis_domain::id::SessionId) -> Result<bool, Error> {
    let input = (world.clone(), what, session);
    let write = world.store.write(NOW, input, |(world, what, session), tx| {
        Box::pin(async move {
            let ended = match what {
                End::Client => tx.remove_agent(&world.agent, UNTIL).await?,
                End::Grant => tx.revoke_grant(world.grant, UNTIL).await?,
                End::Server => tx.remove_server(world.server, UNTIL).await?,
                End::Session => tx.revoke_session(*session, UNTIL).await?,
                End::User => tx.disable_user(world.user, UNTIL).await?,
            };
            tx.record(&event(), ended).await
        })
    });
    write.await
}

#[tokio::test]
async fn pc_45_sessions_and_families_end_with_what_they_hang_from() {
    for what in [End::Grant, End::Server, End::Session, End::User] {
        let world = World::new().await;
        let (session, family) = world.begin().await;
        let code = world.issue().await;
        let before = world.read().await.reader().latest_change().await.unwrap();
        assert!(end(&world, what, session.id).await.unwrap());
        assert!(!end(&world, what, session.id).await.unwrap(), "once");
        let mut handle = world.read().await;
        let mut reader = handle.reader();
        assert!(reader.session(session.id).await.unwrap().unwrap().revoked, "{what:?}");
        assert!(reader.family(family.id).await.unwrap().unwrap().0.revoked, "{what:?}");
        let revoked: Vec<_> = reader.changes_after(before).await.unwrap();
        let revoked = revoked.into_iter().filter_map(|change| match change.kind {
            ChangeKind::Revoked(revocation) => Some((revocation.target, revocation.until)),
            ChangeKind::Agents(_) | ChangeKind::Keys | ChangeKind::Registry => None,
        });
        assert_eq!(revoked.collect::<Vec<_>>(), [(RevokedTarget::Session(session.id), UNTIL)], "{what:?}");
        let code = reader.code(&code).await.unwrap().unwrap();
        let is_dead = code.expires_at.has_passed(NOW);
        assert_eq!(is_dead, matches!(what, End::Grant | End::Server), "{what:?}");
    }
}

#[tokio::test]
async fn pc_45_an_agent_that_is_removed_is_gone() {
    let world = World::new().await;
    let write = world.store.write(NOW, world.agent.clone(), |agent, tx| {
        Box::pin(async move {
            tx.insert_secret(agent, &Hashed::of("secret"), None).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    assert!(end(&world, End::Client, world.session_id()).await.unwrap());
    let mut handle = world.read().await;
    let mut reader = handle.reader();
    let client = reader.client(&world.agent, NOW).await.unwrap().unwrap();
    assert!(client.disabled && client.secrets.is_empty());
    assert_eq!(reader.agent_client(&"ci-bot".parse().unwrap()).await.unwrap(), None);
    assert!(reader.registry().await.unwrap().agents.is_empty());
    let revocations = reader.revocations(NOW).await.unwrap();
    assert_eq!(revocations[0].target, RevokedTarget::Client(world.agent.clone()));
}

#[tokio::test]
async fn nothing_begins_on_what_has_ended() {
    for (what, name) in
        [(End::Grant, "grant_alive"), (End::Server, "server_alive"), (End::User, "user_alive")]
    {
        let world = World::new().await;
        let (session, _) = world.begin().await;
        assert!(end(&world, what, session.id).await.unwrap());
        let later = world.session(world.session_id());
        let write = world.store.write(NOW, later, |session, tx| {
            Box::pin(async move {
                tx.insert_session(session).await?;
                tx.record(&event(), ()).await
            })
        });
        let error = write.await.unwrap_err();
        assert!(matches!(error, Error::Conflict(by) if by == name), "{what:?}: {error}");
    }
    let world = World::new().await;
    assert!(end(&world, End::User, world.session_id()).await.unwrap());
    let write = world.store.write(NOW, world.user, |user, tx| {
        Box::pin(async move {
            tx.insert_browser_session(&Hashed::of("cookie"), *user, NOW, NOW + HOUR).await?;
            tx.record(&event(), ()).await
        })
    });
    assert!(matches!(write.await, Err(Error::Conflict("user_alive"))));
}

/// The one that ends and those that begin run at once; whoever comes first, no session may be left alive.
#[tokio::test(flavor = "multi_thread")]
async fn pc_45_a_session_that_begins_at_the_same_moment_ends_too() {
    for what in [End::Grant, End::Server, End::User] {
        let world = World::new().await;
        let sessions: Vec<_> = (0..10).map(|_| world.session_id()).collect();
        let begun = race(sessions.len() + 1, |racer| {
            let (world, id) = (world.clone(), sessions.get(racer.wrapping_sub(1)).copied());
            async move {
                let Some(id) = id else {
                    assert!(end(&world, what, world.session_id()).await.unwrap());
                    return false;
                };
                let input = (world.session(id), world.family());
                let write = world.store.write(NOW, input, |(session, family), tx| {
                    Box::pin(async move {
                        tx.insert_session(session).await?;
                        tx.insert_family(session.id, family).await?;
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
        for (id, begun) in sessions.iter().zip(&begun[1..]) {
            let session = handle.reader().session(*id).await.unwrap();
            assert_eq!(session.map(|session| session.revoked), begun.then_some(true), "{what:?}");
        }
    }
}
