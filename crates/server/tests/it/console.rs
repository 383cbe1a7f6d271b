//! `/console`: for administrators, and for nobody else.

use crate::app::TestApp;
use crate::oauth::actors::Browser;
use http::StatusCode;
use portcullis_server::setup::{Power, Validity, create_user};

const PASSWORD: &str = "the administrator's own";

#[tokio::test]
async fn pc_55_an_administrator_sees_the_fleet_after_signing_in() {
    let test = TestApp::start().await;
    create_user(&test.app, "root", PASSWORD, Power::Administrator, Validity::Kept).await.unwrap();
    let mut browser = Browser::new(&test, "root", PASSWORD);
    let page = browser.get("/console").await;
    let answer = browser.sign_in(&page).await;
    assert_eq!(answer.header("location"), Some("http://127.0.0.1:8080/console"));
    let console = browser.get("/console").await;
    assert_eq!(console.status, StatusCode::OK);
    let client = test.credentials("ci-bot").client_id;
    for shown in
        ["Team notes", "http://127.0.0.1:8080/mcp/notes", "create_note", "high risk", "ci-bot", &client]
    {
        assert!(console.text().contains(shown), "{shown}");
    }
    assert!(!console.text().contains("refuses all calls"));
    assert!(!console.text().contains("<script"));
}

#[tokio::test]
async fn pc_55_for_everybody_else_there_is_nothing() {
    let test = TestApp::start().await;
    let stranger = test.get("/console").await;
    assert!(stranger.text().contains("name=\"password\"") && !stranger.text().contains("Team notes"));
    let mut alice = Browser::of_alice(&test).await.signed_in().await;
    let answer = alice.get("/console").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(!answer.text().contains("Team notes"));
}

#[tokio::test]
async fn a_one_time_password_must_be_changed_before_anything_is_shown() {
    let test = TestApp::start().await;
    create_user(&test.app, "root", PASSWORD, Power::Administrator, Validity::Once).await.unwrap();
    let mut browser = Browser::new(&test, "root", PASSWORD);
    let page = browser.get("/console").await;
    browser.sign_in(&page).await;
    let answer = browser.get("/console").await;
    assert!(!answer.text().contains("Team notes") && answer.text().contains("type=\"password\""));
}

#[tokio::test]
async fn names_from_outside_are_text() {
    let fleet = crate::app::FLEET.replace("Team notes", "<b onclick=x>Notes</b>");
    let test = TestApp::start_with("", &fleet).await;
    create_user(&test.app, "root", PASSWORD, Power::Administrator, Validity::Kept).await.unwrap();
    let mut browser = Browser::new(&test, "root", PASSWORD).signed_in().await;
    let console = browser.get("/console").await;
    assert_eq!(console.status, StatusCode::OK);
    assert!(!console.text().contains("<b onclick"), "UI: escaped");
}
