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
    assert!(browser.get("/account").await.text().contains("href=\"/console\""));
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
async fn the_front_door_leads_everybody_to_their_place() {
    let test = TestApp::start().await;
    create_user(&test.app, "root", PASSWORD, Power::Administrator, Validity::Kept).await.unwrap();
    let place = |answer: &crate::app::Answer| answer.header("location").unwrap().to_owned();
    let stranger = test.get("/").await;
    assert_eq!(stranger.status, StatusCode::SEE_OTHER);
    assert_eq!(place(&stranger), "http://127.0.0.1:8080/login");
    let mut alice = Browser::of_alice(&test).await.signed_in().await;
    assert_eq!(place(&alice.get("/").await), "http://127.0.0.1:8080/account");
    assert!(!alice.get("/account").await.text().contains("/console"));
    let mut root = Browser::new(&test, "root", PASSWORD).signed_in().await;
    assert_eq!(place(&root.get("/").await), "http://127.0.0.1:8080/console");
}

#[tokio::test]
async fn pc_43_the_query_of_an_upstream_is_not_shown() {
    let fleet = crate::app::FLEET.replacen("/mcp\" }", "/mcp?key=open-sesame\" }", 1);
    assert_ne!(fleet, crate::app::FLEET);
    let test = TestApp::start_with("", &fleet).await;
    create_user(&test.app, "root", PASSWORD, Power::Administrator, Validity::Kept).await.unwrap();
    let mut browser = Browser::new(&test, "root", PASSWORD).signed_in().await;
    let console = browser.get("/console").await;
    assert!(console.text().contains("behind the gateway, at") && !console.text().contains("sesame"));
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
