//! Opening: what is not ours to open stays as it is.

use crate::world::{World, raw};
use portcullis_store::testing::TestDatabase;
use portcullis_store::{OpenError, Store};

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let database = TestDatabase::create().await;
    database.open().await.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', TRUE, '\\x00', 0)";
    raw(&database, newer).await.unwrap();
    let file = database.url().strip_prefix("sqlite:").map(std::path::PathBuf::from);
    let content = file.as_ref().map(|file| std::fs::read(file).unwrap());
    match Store::open(database.url()).await {
        Err(OpenError::NewerVersion { found: 9999, known }) => assert!(known < 9999),
        other => panic!("{other:?}"),
    }
    assert_eq!(file.map(|file| std::fs::read(file).unwrap()), content);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let folder = std::env::temp_dir().join("portcullis_no_such_folder");
    for path in [folder.join("x.db"), std::env::temp_dir()] {
        let url = format!("sqlite:{}", path.display());
        match Store::open(&url).await {
            Err(OpenError::NotWritable(named)) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
    assert!(!folder.exists());
}

#[tokio::test]
async fn other_addresses_are_refused() {
    for url in ["", "notes.db", "sqlite:", "sqlite::memory:", "mysql://localhost/x", "postgres:x"] {
        assert!(matches!(Store::open(url).await, Err(OpenError::Url)), "{url}");
    }
}

#[tokio::test]
async fn pc_43_a_password_in_an_address_is_not_repeated() {
    let url = "postgres://somebody:open-sesame@127.0.0.1:1/x";
    let error = Store::open(url).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(!format!("{error:?} {error}").contains("sesame"));
}

#[tokio::test]
async fn everything_is_in_the_one_file_at_the_end_whoever_still_reads() {
    let world = World::new().await;
    let Some(file) = world.database.url().strip_prefix("sqlite:") else { return };
    let log = format!("{file}-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    let reading = world.read().await;
    world.store.close().await;
    assert_eq!(std::fs::metadata(&log).map_or(0, |log| log.len()), 0);
    drop(reading);
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let Some(file) = world.database.url().strip_prefix("sqlite:") else { return };
    for name in [file.to_owned(), format!("{file}-wal"), format!("{file}-shm")] {
        let mode = std::fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let world = World::new().await;
    world.store.close().await;
    let again = world.database.open().await;
    assert!(again.read().await.unwrap().reader().user(world.user).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_may_make_the_tables_at_once() {
    for _ in 0..8 {
        let database = TestDatabase::create().await;
        let opening = (0..4).map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move { Store::open(&url).await })
        });
        for store in opening.collect::<Vec<_>>() {
            let store = store.await.unwrap().unwrap();
            assert_eq!(store.read().await.unwrap().reader().count_users().await.unwrap(), 0);
        }
    }
}
