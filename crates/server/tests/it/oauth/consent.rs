//! The consent page and its answer.

use super::actors::{
    Browser, ISSUER, LOOPBACK, NOTES, PASSWORD, Program, flow_of, is_consent, native, on_the_web,
};
use crate::app::{Answer, TestApp, form};
use http::StatusCode;
use portcullis_domain::audit::{Kind, Outcome};
use serde_json::json;
use std::time::Duration;

async fn page(browser: &mut Browser<'_>, program: &Program) -> Answer {
    match browser.reach_consent(&program.asking()).await {
        super::actors::Ended::Page(page) if is_consent(&page) => page,
        other @ (super::actors::Ended::Away(_) | super::actors::Ended::Page(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn as_cons_01_02_ui_01_09_the_page_says_who_asks_for_what_and_where_it_goes() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await;
    let native = Program::registered(&test, &native("Inspector")).await;
    let page = page(&mut browser, &native).await;
    for shown in [
        "Inspector",
        "unverified",
        "127.0.0.1:53682",
        "Team notes",
        NOTES,
        "Read notes",
        "Create and change notes",
        "includes: <bdi>Read notes</bdi>",
        "can do harm",
        "alice",
        "program on this computer",
    ] {
        assert!(page.text().contains(shown), "{shown}");
    }
    let policy = page.header("content-security-policy").unwrap();
    for directive in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self' http://127.0.0.1:53682;",
    ] {
        assert!(policy.contains(directive), "{directive}: {policy}");
    }
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!page.text().contains("<script"));
    let web = Program::registered(&test, &on_the_web("Web")).await;
    let page = self::page(&mut browser, &web).await;
    assert!(page.text().contains("client.example"));
    assert!(!page.text().contains("program on this computer"), "AS-CONS-02");
}

#[tokio::test]
async fn dcr_07_a_hostile_name_is_escaped() {
    let test = TestApp::start().await;
    let hostile = r#""><img src=x onerror=alert(1)><script>x</script>"#;
    let program = Program::registered(&test, &native(hostile)).await;
    let page = page(&mut Browser::of_alice(&test).await, &program).await;
    assert!(!page.text().contains("<img") && !page.text().contains("<script"));
    assert!(page.text().contains("onerror"), "it is shown, as text");
}

#[tokio::test]
async fn as_cons_06_denial_reaches_the_client() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let page = page(&mut browser, &program).await;
    let answer = browser.decide(&page, "deny").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let ended = super::actors::Ended::Away(answer.header("location").unwrap().to_owned());
    assert_eq!(ended.error(), "access_denied");
    assert_eq!(ended.parameter("iss").as_deref(), Some(ISSUER));
    assert_eq!(ended.parameter("state").as_deref(), Some("st a&te=1"));
    let mut handle = test.app.store.read().await.unwrap();
    let records = handle.reader().audit_after(0, 1000).await.unwrap();
    let (_, _, last) = records.last().unwrap();
    assert_eq!((last.kind, &last.outcome), (Kind::ConsentDecided, &Outcome::Refused("denied".into())));
}

#[tokio::test]
async fn as_cons_03_ui_04_only_the_browser_that_was_asked_can_answer() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut alice = Browser::of_alice(&test).await;
    let page = page(&mut alice, &program).await;
    let flow = flow_of(&page);
    let answer = |flow: String| [("flow".to_owned(), flow), ("decision".to_owned(), "approve".to_owned())];
    test.user("bob", PASSWORD).await;
    let mut bob = Browser::new(&test, "bob", PASSWORD).signed_in().await;
    let mut other_alice = Browser::new(&test, "alice", PASSWORD).signed_in().await;
    let mut nobody = Browser::new(&test, "alice", PASSWORD);
    for browser in [&mut bob, &mut other_alice, &mut nobody] {
        let fields = answer(flow.clone());
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(browser.post("/consent", &fields).await.status, StatusCode::FORBIDDEN);
    }
    for bad in [String::new(), "AAAA".into(), format!("{flow}A"), flow[1..].to_owned()] {
        let fields = answer(bad);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(alice.post("/consent", &fields).await.status, StatusCode::FORBIDDEN);
    }
    let mut cross = form("/consent", &[("flow", &flow), ("decision", "approve")]);
    cross.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(alice.send(cross).await.status, StatusCode::FORBIDDEN);
    assert!(alice.decide(&page, "maybe").await.status.is_client_error());
    let good = alice.decide(&page, "approve").await;
    assert!(good.header("location").unwrap().contains("code="));
}

#[tokio::test]
async fn ui_15_an_answer_counts_once_and_not_after_ten_minutes_or_signing_out() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let asked = page(&mut browser, &program).await;
    assert!(browser.decide(&asked, "approve").await.header("location").unwrap().contains("code="));
    let again = browser.decide(&asked, "approve").await;
    assert_eq!((again.status, again.header("location")), (StatusCode::CONFLICT, None));

    let asked = page(&mut browser, &program).await;
    test.advance(Duration::from_secs(601)).await;
    assert_eq!(browser.decide(&asked, "approve").await.status, StatusCode::BAD_REQUEST);

    let asked = page(&mut browser, &program).await;
    let account = browser.get("/account").await;
    let flow = flow_of(&account);
    let kept = browser.cookies.clone();
    assert_eq!(browser.post("/logout", &[("flow", &flow)]).await.status, StatusCode::SEE_OTHER);
    browser.cookies = kept;
    assert_eq!(browser.decide(&asked, "approve").await.status, StatusCode::FORBIDDEN, "UI-16");
}

#[tokio::test]
async fn authz_12_two_flows_in_one_browser_do_not_mix() {
    let test = TestApp::start().await;
    let one = Program::registered(&test, &native("One")).await;
    let two = Program::registered(&test, &on_the_web("Two")).await;
    let mut browser = Browser::of_alice(&test).await;
    let (first, second) = (page(&mut browser, &one).await, page(&mut browser, &two).await);
    let answer = browser.decide(&second, "approve").await;
    assert!(answer.header("location").unwrap().starts_with("https://client.example/cb?code="));
    let answer = browser.decide(&first, "approve").await;
    assert!(answer.header("location").unwrap().starts_with(LOOPBACK));
}

#[tokio::test]
async fn as_cons_04_05_ui_07_08_what_is_remembered() {
    let test = TestApp::start().await;
    let web = Program::registered(&test, &on_the_web("Web")).await;
    let native = Program::registered(&test, &native("Native")).await;
    let mut browser = Browser::of_alice(&test).await;
    let narrow = web.asking().with("scope", Some("notes:read"));
    browser.code(&narrow).await;
    let silent = browser.reach_consent(&narrow).await;
    assert!(silent.parameter("code").is_some(), "remembered for a client with an address of its own");
    let none = browser.reach_consent(&narrow.clone().with("prompt", Some("none"))).await;
    assert!(none.parameter("code").is_some());
    let asked = browser.reach_consent(&narrow.with("prompt", Some("consent"))).await;
    assert!(is_consent(asked.page()), "unless the client wants a page");
    let wider = browser.reach_consent(&web.asking()).await;
    assert!(is_consent(wider.page()), "more scopes: asked again");
    assert!(wider.page().text().contains("<span class=\"tag\">new</span>"), "UI-08: new ones are marked");
    let elsewhere = web.asking().with("resource", Some(super::actors::OPS)).with("scope", None);
    assert!(is_consent(browser.reach_consent(&elsewhere).await.page()), "another server: asked again");
    let mut namesake = on_the_web("Web");
    namesake["redirect_uris"] = json!(["https://other.example/cb"]);
    let namesake = Program::registered(&test, &namesake).await;
    assert!(
        is_consent(browser.reach_consent(&namesake.asking()).await.page()),
        "another client of that name"
    );
    browser.code(&native.asking()).await;
    assert!(
        is_consent(browser.reach_consent(&native.asking()).await.page()),
        "a program that cannot prove who it is is always asked for"
    );
}

#[tokio::test]
async fn ui_07_consent_for_one_address_is_not_remembered_for_another() {
    let test = TestApp::start().await;
    let mut metadata = on_the_web("Two addresses");
    metadata["redirect_uris"] = json!(["https://client.example/cb", "https://elsewhere.example/cb"]);
    let program = Program::registered(&test, &metadata).await;
    let mut browser = Browser::of_alice(&test).await;
    browser.code(&program.asking()).await;
    let elsewhere = program.asking().with("redirect_uri", Some("https://elsewhere.example/cb"));
    assert!(is_consent(browser.reach_consent(&elsewhere).await.page()));
    let silent = browser.reach_consent(&elsewhere.with("prompt", Some("none"))).await;
    assert_eq!(silent.error(), "consent_required");

    metadata["redirect_uris"] = json!(["https://client.example/cb", "https://client.example/other"]);
    let program = Program::registered(&test, &metadata).await;
    browser.code(&program.asking()).await;
    let other = program.asking().with("redirect_uri", Some("https://client.example/other"));
    assert!(browser.reach_consent(&other).await.parameter("code").is_some(), "the same host");
}

#[tokio::test]
async fn scope_08_policy_that_tightened_since_the_page_was_shown_wins() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let asked = page(&mut browser, &program).await;
    let tighter = crate::app::FLEET.replace(
        "access = { notes = [\"notes:read\", \"notes:write\"], ops = [\"ops:read\"] }\n\n[self",
        "access = { ops = [\"ops:read\"] }\n\n[self",
    );
    assert_ne!(tighter, crate::app::FLEET);
    test.apply(&tighter).await.unwrap();
    let answer = browser.decide(&asked, "approve").await;
    let ended = super::actors::Ended::Away(answer.header("location").unwrap().to_owned());
    assert_eq!(ended.error(), "access_denied");
}
