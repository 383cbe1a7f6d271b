//! Backup and restore (PC-61): everything comes back, nothing of before works any more, and a file that is not as it was
//! written changes nothing.

use crate::app::{START, TestApp, config_at};
use crate::oauth::actors::{Browser, PASSWORD, Program, Tokens, error_of, introspected, is_active};
use http::StatusCode;
use portcullis_domain::audit::Kind;
use portcullis_server::app::App;
use portcullis_server::backup::{FileError, Header, Replace, RestoreError, Restored, backup, restore};
use portcullis_server::clock::Clock;
use portcullis_server::config::{Config, MasterKeySource};
use portcullis_server::entropy::Entropy;
use portcullis_store::testing::TestDatabase;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LATER: Duration = Duration::from_mins(1);

fn at(later: Duration) -> Clock {
    Clock::fixed(START + later)
}

async fn replace(config: &Config, file: &Path) -> Result<Restored, RestoreError> {
    restore(config, &at(LATER), file, Replace::IfAgreed(&mut |_| true)).await
}

async fn keep(test: &TestApp) -> (PathBuf, Header) {
    let file = test.folder.path().join("portcullis.backup");
    let header = backup(&test.app.config, &test.app.clock, &file).await.unwrap();
    (file, header)
}

/// The rows of a database, in order, as a backup writes them.
async fn content(config: &Config, folder: &Path, name: &str) -> Vec<String> {
    let file = folder.join(name);
    backup(config, &at(LATER), &file).await.unwrap();
    let text = fs::read_to_string(file).unwrap();
    text.lines().skip(1).filter(|line| !line.contains("sha256")).map(str::to_owned).collect()
}

#[tokio::test]
async fn pc_61_a_backup_is_private_and_takes_no_others_place() {
    let test = TestApp::start().await;
    let (file, header) = keep(&test).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(header.rows() > 10);
    let before = fs::read(&file).unwrap();
    let again = backup(&test.app.config, &test.app.clock, &file).await;
    assert!(again.is_err());
    assert_eq!(fs::read(&file).unwrap(), before);
    let left: Vec<_> =
        fs::read_dir(test.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
    let key = fs::read_to_string(test.folder.path().join("master.key")).unwrap();
    assert!(!String::from_utf8(before).unwrap().contains(key.trim()), "the master key is not in it");
}

/// What a browser with these cookies is shown of its account.
async fn account_of(test: &TestApp, cookies: std::collections::BTreeMap<String, String>) -> StatusCode {
    let mut browser = Browser { test, username: String::new(), password: String::new(), cookies };
    browser.send(http::Request::get("/account").body(axum::body::Body::empty()).unwrap()).await.status
}

#[tokio::test]
async fn pc_61_nothing_that_was_issued_before_a_restore_works_after_it() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let first = program.tokens(&mut browser).await;
    let unused = browser.code(&program.asking()).await;
    let (file, _) = keep(&test).await;
    // The time that will be lost: the family moves on, and another begins.
    let mut newest = first.clone();
    for _ in 0..3 {
        newest = program.refresh(&test, newest.refresh_token.as_deref().unwrap()).await.json();
    }
    let other: Tokens = program.tokens(&mut browser).await;
    assert!(is_active(&test, &newest.access_token).await && is_active(&test, &other.access_token).await);
    let cookies = browser.cookies.clone();
    assert_eq!(account_of(&test, cookies.clone()).await, StatusCode::OK);
    let (database, folder) = test.end().await;

    let config = config_at("registration.dynamic = true", &database, folder.path());
    let restored = replace(&config, &file).await.unwrap();
    assert_eq!(restored.epoch, 1);
    assert!(restored.replaced.unwrap().exists(), "what was replaced is saved");

    let test = TestApp::open("registration.dynamic = true", database, folder).await;
    test.advance(LATER + Duration::from_secs(1)).await;
    for tokens in [&first, &newest, &other] {
        assert!(!is_active(&test, &tokens.access_token).await);
        let token = tokens.refresh_token.as_deref().unwrap();
        assert_eq!(error_of(&program.refresh(&test, token).await), "invalid_grant");
    }
    assert_eq!(error_of(&program.redeem(&test, &unused).await), "invalid_grant");
    assert_ne!(account_of(&test, cookies).await, StatusCode::OK, "browsers are signed out");

    // A new sign-in works, and what the tokens of before do does not harm it.
    let mut browser = Browser::new(&test, "alice", PASSWORD);
    let fresh = program.tokens(&mut browser).await;
    assert!(is_active(&test, &fresh.access_token).await);
    for tokens in [&first, &newest, &other] {
        let token = tokens.refresh_token.as_deref().unwrap();
        assert_eq!(error_of(&program.refresh(&test, token).await), "invalid_grant");
    }
    assert!(is_active(&test, &fresh.access_token).await);
    let next = program.refresh(&test, fresh.refresh_token.as_deref().unwrap()).await;
    assert_eq!(next.status, StatusCode::OK);
    assert_eq!(introspected(&test, &first.access_token).await["active"], false);

    let mut handle = test.app.store.read().await.unwrap();
    let records = handle.reader().audit_after(0, 1000).await.unwrap();
    assert_eq!(records.iter().filter(|(_, _, event)| event.kind == Kind::DatabaseRestored).count(), 1);
}

#[tokio::test]
async fn pc_61_a_backup_goes_from_one_engine_to_the_other_and_back() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    program.tokens(&mut Browser::of_alice(&test).await).await;
    let (file, _) = keep(&test).await;
    let origin = content(&test.app.config, test.folder.path(), "origin").await;
    // On PostgreSQL: to SQLite, and from there to another PostgreSQL.
    let sqlite = format!("sqlite:{}", test.folder.path().join("other.db").display());
    let config = Config { database: sqlite, ..test.app.config.clone() };
    let restored = restore(&config, &at(LATER), &file, Replace::Never).await.unwrap();
    assert_eq!(restored.replaced, None);
    let once = content(&config, test.folder.path(), "once").await;
    let kept = origin.iter().filter(|line| once.contains(line)).count();
    assert!(kept > origin.len() / 2, "{kept} of {} rows are as they were", origin.len());
    let file = test.folder.path().join("once");
    let back = TestDatabase::create().await;
    let config = Config { database: back.url().to_owned(), ..test.app.config.clone() };
    restore(&config, &at(LATER), &file, Replace::Never).await.unwrap();
    let twice = content(&config, test.folder.path(), "twice").await;
    // But for the new epoch, the numbers of the feed, and the record of it.
    let kept = once.iter().filter(|line| twice.contains(line)).count();
    assert!(kept + 3 >= once.len(), "{kept} of {} rows", once.len());
    // It serves, and records go on.
    let app = App::open(config, at(LATER), Entropy::insecure_seeded(7)).await.unwrap();
    assert!(app.current.load().policy.server("notes").is_some());
    assert!(app.current.load().snapshot.number > 2 << 32, "no number of the feed is given again");
    app.store.close().await;
}

#[tokio::test]
async fn pc_61_a_file_that_is_not_as_it_was_written_changes_nothing() {
    let test = TestApp::start().await;
    let (file, _) = keep(&test).await;
    let good = fs::read(&file).unwrap();
    let before = content(&test.app.config, test.folder.path(), "before").await;
    let refused = async |bytes: &[u8]| {
        let bad = test.folder.path().join("bad");
        fs::write(&bad, bytes).unwrap();
        replace(&test.app.config, &bad).await.unwrap_err()
    };
    for cut in [1, good.len() / 3, good.len() - 100, good.len() - 1] {
        let error = refused(&good[..cut]).await;
        assert!(
            matches!(
                error,
                RestoreError::File(FileError::Cut(_) | FileError::Foreign(_) | FileError::Damaged(_))
            ),
            "{cut}: {error}"
        );
    }
    for at in (0..good.len()).step_by(good.len() / 97 + 1) {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        let error = refused(&flipped).await;
        assert!(matches!(error, RestoreError::File(_)), "{at}: {error}");
    }
    let longer = refused(&[&good[..], b"{}\n"].concat()).await;
    assert!(matches!(longer, RestoreError::File(FileError::Damaged(_))), "{longer}");
    assert!(matches!(refused(b"[server]\n").await, RestoreError::File(FileError::Foreign(_))));
    let whole = String::from_utf8(good.clone()).unwrap();
    let newer = whole.replacen("\"portcullis_backup\":1", "\"portcullis_backup\":2", 1);
    assert!(matches!(
        refused(newer.as_bytes()).await,
        RestoreError::File(FileError::Format { found: 2, .. })
    ));
    assert_eq!(content(&test.app.config, test.folder.path(), "after").await, before);
}

/// The file with another first line, sealed anew.
fn resealed(good: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = str::from_utf8(good).unwrap().replacen(from, to, 1);
    let body = &text[..=text.trim_end().rfind('\n').unwrap()];
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let mut hex = String::new();
    for byte in sum.as_ref() {
        write!(hex, "{byte:02x}").unwrap();
    }
    format!("{body}{{\"sha256\":\"{hex}\"}}\n").into_bytes()
}

#[tokio::test]
async fn pc_61_what_does_not_belong_here_is_refused_before_anything_is_changed() {
    let test = TestApp::start().await;
    let (file, _) = keep(&test).await;
    let good = fs::read(&file).unwrap();
    let before = content(&test.app.config, test.folder.path(), "before").await;
    let refused = async |bytes: &[u8]| {
        let bad = test.folder.path().join("bad");
        fs::write(&bad, bytes).unwrap();
        replace(&test.app.config, &bad).await.unwrap_err()
    };
    let ours = portcullis_store::backup::schema_version();
    let [from, to] = [ours, ours + 1].map(|version| format!("\"schema\":{version}"));
    let newer = refused(&resealed(&good, &from, &to)).await;
    assert!(matches!(newer, RestoreError::Schema { theirs, .. } if theirs == ours + 1), "{newer}");
    let foreign = refused(&resealed(&good, "127.0.0.1:8080", "127.0.0.1:8081")).await;
    assert!(matches!(foreign, RestoreError::Issuer { .. }), "{foreign}");
    let early =
        restore(&test.app.config, &Clock::fixed(START - Duration::from_hours(1)), &file, Replace::Never)
            .await;
    assert!(matches!(early, Err(RestoreError::Clock)));
    let unasked = restore(&test.app.config, &at(LATER), &file, Replace::Never).await;
    assert!(matches!(unasked, Err(RestoreError::NotEmpty)));
    let no = restore(&test.app.config, &at(LATER), &file, Replace::IfAgreed(&mut |_| false)).await;
    assert!(matches!(no, Err(RestoreError::NotAgreed)));

    // KEY-08: another master key, and none.
    let other = test.folder.path().join("other.key");
    let config = Config { master_key: MasterKeySource::File(other.clone()), ..test.app.config.clone() };
    let missing = replace(&config, &file).await.unwrap_err();
    assert!(matches!(missing, RestoreError::NoMasterKey(_)), "{missing}");
    fs::write(&other, "A".repeat(43)).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let wrong = replace(&config, &file).await.unwrap_err();
    assert!(matches!(wrong, RestoreError::Keys(_)), "{wrong}");
    assert_eq!(content(&test.app.config, test.folder.path(), "after").await, before);

    // While others use the database, nobody replaces it (SQLite: the lock of the data folder says so). Then the good one is good.
    let config = test.app.config.clone();
    let is_postgres = test.database.is_postgres();
    if is_postgres {
        assert!(matches!(replace(&config, &file).await, Err(RestoreError::InUse(_))));
    }
    let (_database, _folder) = test.end().await;
    replace(&config, &file).await.unwrap();
}

#[tokio::test]
async fn pc_61_a_database_is_served_under_the_address_that_it_is_for() {
    let test = TestApp::start().await;
    let (database, folder) = test.end().await;
    let moved = "public_url = \"http://127.0.0.1:9090\"\nregistration.dynamic = true";
    let config = config_at(moved, &database, folder.path());
    let before = content(&config, folder.path(), "before").await;
    let opened = App::open(config.clone(), Clock::fixed(START), Entropy::insecure_seeded(1)).await;
    let says = opened.err().expect("another address").to_string();
    assert!(says.contains("this database is for http://127.0.0.1:8080,"), "{says}");
    assert!(says.contains("Set public_url") && says.contains("portcullis export"), "what to do: {says}");
    assert_eq!(content(&config, folder.path(), "after").await, before, "nothing was changed");

    // A backup says whose it is, whatever the configuration says now, and goes where it belongs.
    let file = folder.path().join("moved.backup");
    assert_eq!(backup(&config, &at(LATER), &file).await.unwrap().issuer, "http://127.0.0.1:8080");
    let refused = replace(&config, &file).await;
    assert!(matches!(refused, Err(RestoreError::Issuer { .. })), "{refused:?}");
    let ours = config_at("registration.dynamic = true", &database, folder.path());
    replace(&ours, &file).await.unwrap();
    TestApp::open("registration.dynamic = true", database, folder).await;
}
