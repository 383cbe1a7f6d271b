//! Signing in and out, and passwords.

use crate::app::{Answer, TestApp, form};
use crate::oauth::actors::{Browser, PASSWORD, Program, flow_of, is_active, is_consent, is_sign_in};
use http::{StatusCode, header};
use portcullis_server::setup::{ONE_TIME_LIFE, Power, Validity, create_user};
use std::time::Duration;

async fn attempt(browser: &mut Browser<'_>, username: &str, password: &str) -> Answer {
    let page = browser.get("/login").await;
    let flow = flow_of(&page);
    browser.post("/login", &[("flow", &flow), ("username", username), ("password", password)]).await
}

/// The page as a person reads it.
fn words(page: &Answer) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for c in page.text().chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            c if !in_tag => text.push(c),
            _ => {}
        }
    }
    text
}

#[tokio::test]
async fn ui_06_a_new_session_with_a_new_cookie() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await;
    let page = browser.get("/login").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    browser.cookies.insert("portcullis".into(), "pci_planted".into());
    let before = browser.cookies.clone();
    let answer = browser.sign_in(&page).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "AS-HTTP-08");
    for set in answer.headers.get_all(header::SET_COOKIE) {
        let set = set.to_str().unwrap();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax") && set.contains("Path=/"));
        assert!(!set.contains("Domain"));
    }
    assert_ne!(browser.cookies["portcullis"], before["portcullis"]);
    let account = browser.get("/account").await;
    assert!(account.status == StatusCode::OK && account.text().contains("alice"));
    assert_eq!(browser.get("/login").await.status, StatusCode::SEE_OTHER, "already signed in");
}

#[tokio::test]
async fn ui_03_on_https_cookies_are_host_bound() {
    let test = TestApp::start_with("public_url = \"https://as.test\"", "").await;
    let page = test.get("/login").await;
    assert_eq!(page.status, StatusCode::OK);
    let set = page.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-portcullis-visit=") && set.ends_with("; Secure"), "attributes");
}

#[tokio::test]
async fn ui_10_11_wrong_passwords_and_unknown_names_look_alike() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await;
    let wrong = attempt(&mut browser, "alice", "not her password").await;
    let unknown = attempt(&mut browser, "nobody", "not her password").await;
    assert_eq!(words(&wrong), words(&unknown));
    assert!(words(&wrong).contains("do not match"));
    assert_eq!(wrong.status, unknown.status);
    assert!(is_sign_in(&wrong));
    assert!(!browser.cookies.contains_key("portcullis"));
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
    for (username, password) in
        [("Alice", PASSWORD), ("alice ", PASSWORD), ("alice", ""), ("", ""), ("alice", &"x".repeat(9000))]
    {
        attempt(&mut browser, username, password).await;
        assert!(!browser.cookies.contains_key("portcullis"), "{username:?}");
    }
    assert_eq!(attempt(&mut browser, "alice", PASSWORD).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn ui_12_guessing_is_slowed_down_and_not_for_ever() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await;
    for _ in 0..8 {
        assert_eq!(attempt(&mut browser, "alice", "guess").await.status, StatusCode::OK);
    }
    let slowed = attempt(&mut browser, "alice", "guess").await;
    assert_eq!((slowed.status, slowed.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, Some("10")));
    assert_eq!(attempt(&mut browser, "alice", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    test.advance(Duration::from_secs(10)).await;
    assert_eq!(attempt(&mut browser, "alice", PASSWORD).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn ui_18_a_one_time_password_ends() {
    let test = TestApp::start().await;
    let made = create_user(&test.app, "dana", PASSWORD, Power::Administrator, Validity::Once).await;
    assert!(made.unwrap());
    let mut browser = Browser::new(&test, "dana", PASSWORD);
    test.advance(ONE_TIME_LIFE.checked_sub(Duration::from_secs(1)).unwrap()).await;
    assert_eq!(attempt(&mut browser, "dana", PASSWORD).await.status, StatusCode::SEE_OTHER);
    browser.cookies.clear();
    test.advance(Duration::from_secs(1)).await;
    let over = attempt(&mut browser, "dana", PASSWORD).await;
    assert!(is_sign_in(&over) && words(&over).contains("This one-time password is over"));
    assert!(!browser.cookies.contains_key("portcullis"));
    let wrong = attempt(&mut browser, "dana", "not her password").await;
    assert!(words(&wrong).contains("do not match"), "only who knows it learns that it is over");
    // A person's own password has no end.
    let mut alice = Browser::of_alice(&test).await;
    test.advance(2 * ONE_TIME_LIFE).await;
    assert_eq!(attempt(&mut alice, "alice", PASSWORD).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn ui_13_nobody_can_be_signed_in_by_another_site() {
    let test = TestApp::start().await;
    let mut attacker = Browser::of_alice(&test).await;
    let page = attacker.get("/login").await;
    let flow = flow_of(&page);
    let fields = [("flow", flow.as_str()), ("username", "alice"), ("password", PASSWORD)];
    let mut victim = Browser::new(&test, "victim", "x");
    assert_eq!(victim.post("/login", &fields).await.status, StatusCode::FORBIDDEN, "no visit");
    victim.get("/login").await;
    assert_eq!(victim.post("/login", &fields).await.status, StatusCode::FORBIDDEN, "another visit");
    assert!(!victim.cookies.contains_key("portcullis"));
    let mut cross = form("/login", &fields);
    cross.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(attacker.send(cross).await.status, StatusCode::FORBIDDEN);
    assert_eq!(attacker.post("/login", &fields[1..]).await.status, StatusCode::FORBIDDEN, "no flow");
    assert_eq!(
        attacker.post("/login", &fields).await.status,
        StatusCode::SEE_OTHER,
        "the same is good from its own browser"
    );
}

#[tokio::test]
async fn a_page_that_was_open_too_long_is_shown_again() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let page = browser.get(&program.asking().path()).await;
    test.advance(Duration::from_secs(601)).await;
    let again = browser.sign_in(&page).await;
    assert!(is_sign_in(&again) && words(&again).contains("no longer valid"));
    let answer = browser.sign_in(&again).await;
    let location = answer.header("location").unwrap();
    assert!(location.starts_with("http://127.0.0.1:8080/oauth/authorize?"), "the way on is kept");
}

#[tokio::test]
async fn ui_14_there_is_no_way_to_say_where_to_go() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await;
    for query in ["return_to=https://evil.example", "next=//evil.example", "next=/\\evil.example"] {
        let page = browser.get(&format!("/login?{query}")).await;
        assert!(!page.text().contains("evil"), "{query}");
    }
    let page = browser.get("/login?next=https://evil.example").await;
    let answer = browser.sign_in(&page).await;
    assert_eq!(answer.header("location"), Some("http://127.0.0.1:8080/account"));
}

#[tokio::test]
async fn ui_16_adm_12_signing_out_ends_the_session_here() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    let account = browser.get("/account").await;
    let flow = flow_of(&account);
    assert_eq!(account.header("cache-control"), Some("no-store"), "the back button shows nothing");
    let forged = browser.post("/logout", &[("flow", "AAAA")]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    let kept = browser.cookies.clone();
    assert_eq!(browser.post("/logout", &[("flow", &flow)]).await.status, StatusCode::SEE_OTHER);
    assert!(!browser.cookies.contains_key("portcullis"));
    browser.cookies = kept;
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER, "the cookie alone is useless");
}

#[tokio::test]
async fn sessions_of_browsers_end() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    test.advance(test.app.config.tokens.sign_in).await;
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn adm_12_sessions_of_administrators_end() {
    let test = TestApp::start().await;
    create_user(&test.app, "root", PASSWORD, Power::Administrator, Validity::Kept).await.unwrap();
    let mut root = Browser::new(&test, "root", PASSWORD).signed_in().await;
    // However busy they are: the end does not move.
    let life = Duration::from_hours(12);
    for _ in 0..3 {
        assert!(root.get("/console").await.text().contains("Team notes"));
        test.advance(life / 3).await;
    }
    let over = root.get("/console").await;
    assert!(over.text().contains("name=\"password\"") && !over.text().contains("Team notes"));
}

#[tokio::test]
async fn authz_16_a_one_time_password_must_be_changed_first() {
    let test = TestApp::start().await;
    let once = "made by somebody else";
    assert!(create_user(&test.app, "alice", once, Power::Person, Validity::Once).await.unwrap());
    let program = Program::native(&test).await;
    let mut thief = Browser::new(&test, "alice", once).signed_in().await;
    assert_eq!(thief.get("/account").await.status, StatusCode::OK);
    let mut browser = Browser::new(&test, "alice", once);
    let page = browser.get(&program.asking().path()).await;
    let answer = browser.sign_in(&page).await;
    let path = answer.header("location").unwrap().strip_prefix("http://127.0.0.1:8080").unwrap().to_owned();
    let page = browser.get(&path).await;
    assert!(page.text().contains("new_password"), "no consent before");
    assert!(browser.get("/account").await.text().contains("new_password"));
    let chosen = "my very own password";
    let flow = flow_of(&page);
    let change = |old: &'static str, new: &'static str, again: &'static str| {
        [
            ("flow", flow.clone()),
            ("password", old.into()),
            ("new_password", new.into()),
            ("again", again.into()),
        ]
    };
    for (what, fields) in [
        ("wrong old", change("not this one", chosen, chosen)),
        ("different", change(once, chosen, "my very own passwort")),
        ("short", change(once, "short", "short")),
        ("same", change(once, once, once)),
    ] {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let answer = browser.post("/account/password", &fields).await;
        assert!(answer.text().contains("role=\"alert\""), "{what}");
    }
    let fields = change(once, chosen, chosen);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let answer = browser.post("/account/password", &fields).await;
    let path = answer.header("location").unwrap().strip_prefix("http://127.0.0.1:8080").unwrap().to_owned();
    assert!(is_consent(&browser.get(&path).await));
    assert_eq!(thief.get("/account").await.status, StatusCode::SEE_OTHER, "other browsers are signed out");
    let mut later = Browser::new(&test, "alice", once);
    assert!(!attempt(&mut later, "alice", once).await.status.is_redirection(), "it worked once");
    assert!(attempt(&mut later, "alice", chosen).await.status.is_redirection());
}

#[tokio::test]
async fn pc_45_whoever_changes_their_password_ends_what_the_old_one_opened() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let tokens = program.tokens(&mut browser).await;
    let unused = browser.code(&program.asking()).await;
    assert!(is_active(&test, &tokens.access_token).await);
    let flow = flow_of(&browser.get("/account/password").await);
    let chosen = "my very own password";
    let fields =
        [("flow", flow.as_str()), ("password", PASSWORD), ("new_password", chosen), ("again", chosen)];
    assert_eq!(browser.post("/account/password", &fields).await.status, StatusCode::SEE_OTHER);
    assert!(!is_active(&test, &tokens.access_token).await);
    let refreshed = program.refresh(&test, &tokens.refresh_token.unwrap()).await;
    assert_eq!(refreshed.status, StatusCode::BAD_REQUEST);
    assert_eq!(program.redeem(&test, &unused).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.get("/account").await.status, StatusCode::OK, "this browser stays signed in");
    test.advance(Duration::from_secs(1)).await;
    let anew = program.tokens(&mut browser).await;
    assert!(is_active(&test, &anew.access_token).await, "and the same consent counts");
}

#[tokio::test]
async fn authz_16_a_password_made_by_others_opens_nothing_but_the_choice_of_another() {
    for validity in [Validity::Kept, Validity::Once] {
        let test = TestApp::start().await;
        let power = Power::Administrator;
        assert!(create_user(&test.app, "alice", PASSWORD, power, validity).await.unwrap());
        let asking = Program::native(&test).await.asking().path();
        // The browser may be closed before the choice: signing in again opens no more than before.
        for _ in 0..2 {
            let mut browser = Browser::new(&test, "alice", PASSWORD).signed_in().await;
            for (path, words) in
                [("/account", "/logout"), ("/console", "Team notes"), (&*asking, "name=\"decision\"")]
            {
                let page = browser.get(path).await;
                assert_eq!(page.text().contains(words), validity == Validity::Kept, "{path}");
                assert_eq!(page.text().contains("new_password"), validity == Validity::Once, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn pages_are_well_formed_and_load_nothing_from_elsewhere() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await;
    let mut pages = vec![browser.get("/login").await];
    let mut browser = browser.signed_in().await;
    pages.push(browser.get("/account").await);
    pages.push(browser.get("/account/password").await);
    pages.push(browser.get("/oauth/authorize").await);
    for page in &pages {
        let html = page.text();
        assert!(html.starts_with("<!doctype html>") && html.contains("<html lang=\"en\">"));
        assert_eq!(html.matches("<h1>").count(), 1);
        for banned in ["<script", "style=", "onclick", "http://", "https://", "//cdn"] {
            assert!(!html.contains(banned), "{banned}");
        }
        assert_eq!(html.matches("<form").count(), html.matches("name=\"flow\"").count(), "CSRF");
        assert_eq!(html.matches("<label for=").count(), html.matches("<input id=").count());
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    }
    let style = test.get("/assets/style.css").await;
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    assert!(!style.text().contains("url(") && !style.text().contains("@import"));
}

#[tokio::test]
async fn as_meta_01_pages_of_an_issuer_with_a_path_stay_below_it() {
    let config = "public_url = \"http://127.0.0.1:8080/t1\"\nregistration.dynamic = true";
    let test = TestApp::start_with(config, "").await;
    test.user("alice", PASSWORD).await;
    let mut browser = Browser::new(&test, "alice", PASSWORD);
    let page = browser.get("/t1/login").await;
    assert!(page.text().contains("action=\"/t1/login\"") && page.text().contains("/t1/assets/style.css"));
    assert_eq!(browser.get("/login").await.status, StatusCode::NOT_FOUND);
    let flow = flow_of(&page);
    let fields = [("flow", flow.as_str()), ("username", "alice"), ("password", PASSWORD)];
    let answer = browser.post("/t1/login", &fields).await;
    assert_eq!(answer.header("location"), Some("http://127.0.0.1:8080/t1/account"));
    let account = browser.get("/t1/account").await;
    assert!(account.text().contains("action=\"/t1/logout\""));
}
