//! Secrets on their way to their files (PC-41): what lies beside its place counts if it was stored, and only then.

use crate::app::{FLEET, TestApp};
use crate::oauth::actors::NOTES;
use http::StatusCode;
use portcullis_server::fleet::resume;
use std::fs;
use std::path::PathBuf;

fn beside(test: &TestApp) -> PathBuf {
    test.folder.path().join(".ci-bot.json.pending")
}

/// Whether what the agent's file holds gets a token.
async fn counts(test: &TestApp) -> bool {
    let credentials = test.credentials("ci-bot");
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", credentials.client_id.as_str()),
        ("client_secret", credentials.client_secret.as_str()),
        ("resource", NOTES),
    ];
    test.post("/oauth/token", &fields).await.status == StatusCode::OK
}

#[tokio::test]
async fn pc_41_a_stored_secret_that_lies_beside_its_place_is_put_there_at_the_next_start() {
    let test = TestApp::start().await;
    let place = test.file("ci-bot");
    assert!(counts(&test).await && !beside(&test).exists(), "nothing is left beside");
    // As after a kill between COMMIT and the last step.
    fs::rename(&place, beside(&test)).unwrap();
    resume(&test.app).await.unwrap();
    assert!(counts(&test).await && !beside(&test).exists());
}

#[tokio::test]
async fn pc_41_a_secret_that_was_not_stored_takes_nobodys_place() {
    let test = TestApp::start().await;
    let good = fs::read_to_string(test.file("ci-bot")).unwrap();
    let secret = test.credentials("ci-bot").client_secret;
    let unknown = good.replace(&secret, &secret.chars().rev().collect::<String>());
    let foreign = fs::read_to_string(test.file("inspector")).unwrap();
    for other in [unknown.as_str(), &foreign, "{}", ""] {
        // As after a kill before COMMIT; or not ours at all.
        fs::write(beside(&test), other).unwrap();
        resume(&test.app).await.unwrap();
        assert_eq!(fs::read_to_string(test.file("ci-bot")).unwrap(), good);
    }
    assert!(counts(&test).await);
}

#[tokio::test]
async fn pc_41_of_several_secrets_one_that_cannot_be_written_stops_all() {
    let test = TestApp::start_with("", "").await;
    fs::create_dir(test.file("inspector")).unwrap();
    let error = test.apply(FLEET).await.unwrap_err();
    assert!(error.to_string().contains("inspector"), "{error}");
    assert!(!test.file("ci-bot").exists() && !beside(&test).exists(), "nothing is left of the others");
    fs::remove_dir(test.file("inspector")).unwrap();
    test.apply(FLEET).await.unwrap();
    assert!(counts(&test).await);
}
