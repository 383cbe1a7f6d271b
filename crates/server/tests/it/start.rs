//! Starting, again and at the same time as another node.

use crate::app::{FLEET, START, TestApp, config_at};
use axum::Router;
use portcullis_domain::refresh::Claimed;
use portcullis_server::app::{App, StartError};
use portcullis_server::clock::Clock;
use portcullis_server::entropy::Entropy;
use portcullis_server::feed::FeedError;
use portcullis_server::keys::{KeyError, master::MasterKeyError};
use portcullis_server::router::front;
use portcullis_server::setup::{SetupError, first_administrator};
use portcullis_store::testing::TestDatabase;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test]
async fn key_09_two_nodes_that_start_at_once_have_the_same_keys() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let start = |seed| {
        App::open(
            config_at("", &database, folder.path()),
            Clock::fixed(START),
            Entropy::insecure_seeded(seed),
        )
    };
    let (one, two) = tokio::join!(start(1), start(2));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.keys.load().public, two.keys.load().public);
    assert_eq!(one.keys.load().public.keys.len(), 1);
    assert_eq!(one.keys.load().assertion_public, two.keys.load().assertion_public);
    let id = portcullis_domain::id::FamilyId::generate(START, &mut one.entropy.rng());
    let claimed = Claimed { family: id, generation: 3, key_version: 1 };
    let token = one.keys.load().refresh.derive_token(claimed).unwrap();
    assert_eq!(two.keys.load().refresh.verify(token.reveal()), Some(claimed));
}

#[tokio::test]
async fn no_key_is_in_both_key_sets() {
    let test = TestApp::start().await;
    let keys = test.app.keys.load();
    for key in &keys.public.keys {
        assert!(keys.assertion_public.keys.iter().all(|other| other.kid != key.kid && other.x != key.x));
    }
    assert_eq!(keys.public.keys[0].kid, keys.access.kid());
}

#[tokio::test]
async fn pc_61_a_restart_finds_keys_and_registry_again() {
    let test = TestApp::start().await;
    let keys = test.app.keys.load().public.clone();
    let registry = test.app.current.load_full().snapshot.clone();
    let (database, folder) = test.end().await;
    let again = TestApp::open("", database, folder).await;
    assert_eq!(again.app.keys.load().public, keys);
    assert_eq!(again.app.current.load().snapshot, registry);
    assert_eq!(again.apply(FLEET).await.unwrap(), portcullis_server::fleet::Applied::default());
}

#[tokio::test]
async fn key_08_without_its_master_key_a_used_database_is_not_opened() {
    let (database, folder) = TestApp::start().await.end().await;
    let key = folder.path().join("master.key");
    let start = || {
        App::open(config_at("", &database, folder.path()), Clock::fixed(START), Entropy::insecure_seeded(7))
    };
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = start().await.err().unwrap();
    assert!(matches!(error, StartError::Keys(KeyError::Master(MasterKeyError::Missing(_)))), "{error}");
    assert!(!key.exists());
    // Another deployment's key is no key for this one.
    fs::write(&key, "").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk\n").unwrap();
    let error = start().await.err().unwrap();
    assert!(matches!(error, StartError::Feed(FeedError::Keys(KeyError::Sealed(_)))), "{error}");
    fs::write(&key, kept).unwrap();
    start().await.unwrap();
}

#[tokio::test]
async fn the_first_administrator_is_made_once() {
    let test = TestApp::start().await;
    let unseen = first_administrator(&test.app, |_| Err(std::io::ErrorKind::BrokenPipe.into())).await;
    assert!(matches!(unseen, Err(SetupError::Show(_))), "nothing was made");
    let mut password = String::new();
    let shown = first_administrator(&test.app, |made| {
        made.reveal().clone_into(&mut password);
        Ok(())
    });
    assert!(shown.await.unwrap(), "there was nobody");
    let user = {
        let mut handle = test.app.store.read().await.unwrap();
        handle.reader().user_by_name("admin").await.unwrap().unwrap()
    };
    assert!(user.admin && user.must_change);
    let presented = portcullis_oauth::token::Presented::new(&password);
    assert_eq!(test.app.passwords.verify(presented, Some(user.password_hash)).await, Ok(true));
    assert!(!first_administrator(&test.app, |_| panic!("there is one")).await.unwrap());
}

#[tokio::test]
async fn two_servers_fit_in_one_process() {
    let [one, two] = [TestApp::start().await, TestApp::start_with("", "").await];
    assert_ne!(one.app.keys.load().public, two.app.keys.load().public);
    assert!(two.app.current.load().policy.server("notes").is_none());
    let _front = front(&two.app, Router::new());
}
