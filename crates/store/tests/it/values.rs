//! What is written is what is read.

use crate::world::{HOUR, NOW, World, agent, event, new_client, new_user, scopes, server};
use portcullis_domain::id::{ServerId, TokenId};
use portcullis_domain::principal::{Principal, Revocation, RevokedTarget, Subject};
use portcullis_domain::registry::{Members, Role};
use portcullis_domain::secret::Hashed;
use portcullis_oauth::jwk::{Algorithm, PublicJwk};
use portcullis_store::{ClientKind, Error, KeyPurpose, StoredKey};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn clients_and_their_live_secrets() {
    let world = World::new().await;
    let write = world.store.write(NOW, world.agent.clone(), |agent, tx| {
        Box::pin(async move {
            tx.insert_secret(agent, &Hashed::of("lasting"), None).await?;
            tx.insert_secret(agent, &Hashed::of("ending"), Some(NOW + HOUR)).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    let mut handle = world.read().await;
    let mut reader = handle.reader();
    let stored = reader.client(&world.client, NOW).await.unwrap().unwrap();
    let given = new_client("cli_1");
    assert_eq!(stored.client_id, given.client_id);
    assert_eq!(stored.kind, ClientKind::SelfRegistered);
    assert_eq!((stored.name, stored.client_uri), (given.name, given.client_uri));
    assert_eq!((stored.redirect_uris, stored.grant_types), (given.redirect_uris, given.grant_types));
    assert_eq!((stored.auth_method, stored.created_at), (given.auth_method, NOW));
    assert!(!stored.disabled && stored.secrets.is_empty());

    let named = "ci-bot".parse().unwrap();
    assert_eq!(reader.agent_client(&named).await.unwrap(), Some(world.agent.clone()));
    let of_agent = reader.client(&world.agent, NOW + HOUR - SECOND).await.unwrap().unwrap();
    assert_eq!(of_agent.kind, ClientKind::Agent { name: named });
    assert_eq!(of_agent.secrets.len(), 2);
    let later = reader.client(&world.agent, NOW + HOUR).await.unwrap().unwrap();
    assert_eq!(later.secrets.len(), 1, "its end is too late");
    assert!(later.secrets[0].matches(&Hashed::of("lasting")));
    assert!(reader.client(&"cli_nobody".parse().unwrap(), NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn users_and_their_sign_ins() {
    let world = World::new().await;
    let write = world.store.write(NOW, world.user, |user, tx| {
        Box::pin(async move {
            assert!(tx.set_password(*user, "another hash").await?);
            assert!(!tx.change_password(*user, "a hash from before", "stolen").await?, "replaced meanwhile");
            assert!(tx.change_password(*user, "another hash", "a third").await?);
            assert!(tx.change_password(*user, "a third", "another hash").await?);
            tx.insert_browser_session(&Hashed::of("cookie"), *user, NOW, NOW + HOUR).await?;
            tx.insert_browser_session(&Hashed::of("other"), *user, NOW, NOW + HOUR).await?;
            assert!(tx.end_browser_session(&Hashed::of("other")).await?);
            assert!(!tx.end_browser_session(&Hashed::of("other")).await?);
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    let mut handle = world.read().await;
    let mut reader = handle.reader();
    let user = reader.user_by_name("alice").await.unwrap().unwrap();
    assert_eq!(reader.user(world.user).await.unwrap().as_ref(), Some(&user));
    assert_eq!((user.password_hash.as_str(), user.must_change), ("another hash", false));
    assert_eq!((user.groups.as_slice(), user.admin), (["eng".to_owned()].as_slice(), true));
    for nobody in ["Alice", "alice ", "", "al\0ice"] {
        assert!(reader.user_by_name(nobody).await.unwrap().is_none(), "{nobody:?}");
    }
    let session = reader.browser_session(&Hashed::of("cookie"), NOW).await.unwrap().unwrap();
    assert_eq!((session.user, session.authenticated_at), (world.user, NOW));
    assert!(reader.browser_session(&Hashed::of("cookie"), NOW + HOUR).await.unwrap().is_none());
    assert!(reader.browser_session(&Hashed::of("other"), NOW).await.unwrap().is_none());
    let shown = format!("{user:?} {:?}", new_user(1, "alice"));
    assert!(!shown.contains("hash") && !shown.contains("argon2"), "PC-43: {shown}");
}

#[tokio::test]
async fn grants_codes_sessions_and_families() {
    let world = World::new().await;
    let (session, family) = world.begin().await;
    let code = world.issue().await;
    let mut handle = world.read().await;
    let mut reader = handle.reader();
    let grant = reader.grant(world.user, &world.client, world.server).await.unwrap().unwrap();
    assert_eq!((grant.id, grant.scopes.clone(), grant.revoked), (world.grant, scopes("notes:read"), false));
    assert_eq!(reader.grant_by_id(world.grant).await.unwrap(), Some(grant));
    assert!(reader.grant(world.user, &world.agent, world.server).await.unwrap().is_none());
    assert_eq!(reader.session(session.id).await.unwrap(), Some(session.clone()));
    assert_eq!(reader.family(family.id).await.unwrap(), Some((family, session.id)));
    let issued = reader.code(&code).await.unwrap().unwrap();
    assert_eq!(format!("{issued:?}"), format!("{:?}", world.code()));
    assert!(reader.code(&Hashed::of("unknown")).await.unwrap().is_none());
}

#[tokio::test]
async fn pc_13_repeats_in_a_row_are_counted() {
    let world = World::new().await;
    let (_, family) = world.begin().await;
    let write = world.store.write(NOW + SECOND, family.id, |id, tx| {
        Box::pin(async move {
            assert!(!tx.advance_family(*id, 1, NOW).await?, "it is at 0");
            assert_eq!(tx.note_repeat(*id).await?, 1);
            assert_eq!(tx.note_repeat(*id).await?, 2);
            assert!(tx.advance_family(*id, 0, NOW + 2 * HOUR).await?);
            assert_eq!(tx.note_repeat(*id).await?, 1);
            let (family, _) = tx.read().family(*id).await?.unwrap();
            assert!(tx.revoke_family(*id).await?);
            assert!(!tx.revoke_family(*id).await?);
            assert!(!tx.advance_family(*id, 1, NOW).await?, "AS-RT-05: it is revoked");
            tx.record(&event(), family).await
        })
    });
    let advanced = write.await.unwrap();
    assert_eq!((advanced.generation, advanced.rotated_at), (1, Some(NOW + SECOND)));
    assert_eq!(advanced.idle_end, NOW + 2 * HOUR);
}

fn principal(world: &World) -> Principal {
    Principal {
        subject: Subject::User(world.user),
        client_id: world.client.clone(),
        session: world.session_id(),
        token: TokenId::from_bytes([7; 16]),
        scopes: scopes("notes:read"),
        roles: vec![],
        issued_at: NOW,
        expires_at: NOW + HOUR,
    }
}

#[tokio::test]
async fn pc_45_what_is_revoked_is_known_until_it_cannot_matter() {
    let world = World::new().await;
    let principal = principal(&world);
    let targets = [
        RevokedTarget::All,
        RevokedTarget::Server(world.server),
        RevokedTarget::Token(principal.token),
        RevokedTarget::Session(principal.session),
        RevokedTarget::Client(world.client.clone()),
        RevokedTarget::User(world.user),
    ];
    for target in targets {
        let fresh = World::new().await;
        let is_revoked = async |principal: &Principal, now| {
            fresh.read().await.reader().is_revoked(principal, world.server, now).await.unwrap()
        };
        assert!(!is_revoked(&principal, NOW).await);
        let revocation = Revocation { target: target.clone(), at: NOW, until: NOW + HOUR };
        let earlier = Revocation { at: NOW - HOUR, until: NOW + SECOND, ..revocation.clone() };
        let write = fresh.store.write(NOW, [revocation.clone(), earlier], |both, tx| {
            Box::pin(async move {
                tx.revoke(&both[0]).await?;
                tx.revoke(&both[1]).await?;
                tx.record(&event(), ()).await
            })
        });
        write.await.unwrap();
        assert!(is_revoked(&principal, NOW + HOUR - SECOND).await, "{target:?}");
        assert!(!is_revoked(&principal, NOW + HOUR).await);
        let known = fresh.read().await.reader().revocations(NOW).await.unwrap();
        assert_eq!(known, [revocation], "the earlier one is covered");
        let younger = Principal { issued_at: NOW + SECOND, ..principal.clone() };
        let whatever_its_times = matches!(target, RevokedTarget::Token(_) | RevokedTarget::Session(_));
        assert_eq!(is_revoked(&younger, NOW).await, whatever_its_times, "{target:?}");
        let stranger = Principal {
            subject: Subject::Agent("cli_other".parse().unwrap()),
            client_id: "cli_other".parse().unwrap(),
            session: world.session_id(),
            token: TokenId::from_bytes([8; 16]),
            ..principal.clone()
        };
        let everybodys = matches!(target, RevokedTarget::All | RevokedTarget::Server(_));
        assert_eq!(is_revoked(&stranger, NOW).await, everybodys, "{target:?}");
        let elsewhere = ServerId::from_bytes([9; 16]);
        let there = fresh.read().await.reader().is_revoked(&principal, elsewhere, NOW).await.unwrap();
        assert_eq!(there, target != RevokedTarget::Server(world.server), "{target:?}");
    }
}

#[tokio::test]
async fn keys_are_kept_by_purpose_and_version() {
    let world = World::new().await;
    let public = PublicJwk {
        kty: "EC".into(),
        usage: "sig".into(),
        alg: Algorithm::ES256,
        kid: "k2".into(),
        crv: "P-256".into(),
        x: "x".into(),
        y: "y".into(),
    };
    let key = |version: u16, kid: &str, public| StoredKey {
        purpose: KeyPurpose::Assertion,
        version,
        kid: kid.into(),
        sealed: vec![0, 255],
        public,
        created_at: NOW,
    };
    let keys = vec![key(2, "k2", Some(public)), key(1, "k1", None)];
    let write = world.store.write(NOW, keys.clone(), |keys, tx| {
        Box::pin(async move {
            for key in keys {
                assert!(tx.insert_key(key).await?);
                assert!(!tx.insert_key(key).await?);
            }
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    let mut handle = world.read().await;
    let stored = handle.reader().keys(KeyPurpose::Assertion).await.unwrap();
    assert_eq!(stored, [keys[1].clone(), keys[0].clone()]);
    assert!(handle.reader().keys(KeyPurpose::RefreshRoot).await.unwrap().is_empty());
    assert!(!format!("{stored:?}").contains("255"));
    let stolen_kid = StoredKey { purpose: KeyPurpose::AccessToken, ..keys[1].clone() };
    let write = world.store.write(NOW, stolen_kid, |key, tx| {
        Box::pin(async move {
            let won = tx.insert_key(key).await?;
            tx.record(&event(), won).await
        })
    });
    assert!(matches!(write.await, Err(Error::Conflict("sealed_key_kid"))));
}

#[tokio::test]
async fn pc_34_the_registry_is_read_as_it_was_put() {
    let world = World::new().await;
    let role = Role {
        name: "engineers".parse().unwrap(),
        members: Members { group: Some("eng".into()), users: vec!["alice".into()] },
        access: BTreeMap::from([("notes".parse().unwrap(), scopes("notes:read"))]),
    };
    let before = world.read().await.reader().registry().await.unwrap();
    assert_eq!(before.servers, [server(world.server, "notes")]);
    assert_eq!(before.agents, [agent(&world.agent, "ci-bot")]);
    assert!(before.roles.is_empty() && before.self_registered.is_empty());
    let put = || {
        world.store.write(NOW, (world.clone(), role.clone()), |(world, role), tx| {
            Box::pin(async move {
                let changed = [
                    tx.put_server(&server(world.server, "renamed")).await?,
                    tx.put_agent(&agent(&world.agent, "renamed")).await?,
                    tx.put_role(role).await?,
                    tx.set_self_registered(&role.access).await?,
                ];
                tx.record(&event(), changed).await
            })
        })
    };
    assert_eq!(put().await.unwrap(), [true; 4]);
    let after = world.read().await.reader().registry().await.unwrap();
    assert_eq!(after.number, before.number + 1, "one transaction, one entry");
    assert_eq!(after.servers[0].name.as_str(), "renamed");
    assert_eq!((&after.roles[0], &after.self_registered), (&role, &role.access));
    let renamed = "renamed".parse().unwrap();
    let of_agent = world.read().await.reader().agent_client(&renamed).await.unwrap();
    assert_eq!(of_agent, Some(world.agent.clone()));
    assert_eq!(put().await.unwrap(), [false; 4], "again: nothing to do");
    assert_eq!(world.read().await.reader().registry().await.unwrap(), after);
}

#[tokio::test]
async fn pc_30_two_servers_do_not_share_a_name() {
    let world = World::new().await;
    let other = server(ServerId::from_bytes([8; 16]), "notes");
    let write = world.store.write(NOW, other, |other, tx| {
        Box::pin(async move {
            tx.put_server(other).await?;
            tx.record(&event(), ()).await
        })
    });
    assert!(matches!(write.await, Err(Error::Conflict("server_name"))));
}

#[tokio::test]
async fn a_corrupt_row_names_its_place() {
    let world = World::new().await;
    let (session, _) = world.begin().await;
    world.raw("UPDATE session SET scopes = 'a \"quote'").await.unwrap();
    let error = world.read().await.reader().session(session.id).await.unwrap_err();
    let Error::Corrupt { table, column, row } = error else { panic!("{error}") };
    assert_eq!((table, column, row), ("session", "scopes", session.id.to_string()));
}

#[tokio::test]
async fn text_with_nul_is_refused_alike_on_both_engines() {
    let world = World::new().await;
    let write = world.store.write(NOW, (), |(), tx| {
        Box::pin(async move {
            tx.put_setting("a", "with \0 in it").await?;
            tx.record(&event(), ()).await
        })
    });
    assert!(matches!(write.await, Err(Error::Conflict("text_without_nul"))));
}
