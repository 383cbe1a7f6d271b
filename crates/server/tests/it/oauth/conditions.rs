//! `[[forbid]]` where tokens are issued, renewed and inspected (PC-24): what was granted stays granted, and comes back when the
//! condition no longer holds. Tests begin at 08:00 UTC.

use super::actors::{Browser, Program, Tokens, error_of, introspected};
use crate::app::{FLEET, TestApp};
use http::StatusCode;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

/// The fleet with prohibitions, and one more thing about them.
async fn start(forbids: &str) -> TestApp {
    let config = "registration.dynamic = true\ntokens.access = \"60m\"";
    TestApp::start_with(config, &format!("{FLEET}\n{forbids}")).await
}

const NO_WRITES_AFTER_NINE: &str = "[[forbid]]\nname = \"no writes after nine\"\nscopes = [\"notes:write\"]\n\
    when = { outside = \"07:00-09:00 UTC\" }\n";

async fn code(test: &TestApp) -> (Program, String) {
    let program = Program::native(test).await;
    let code = Browser::of_alice(test).await.code(&program.asking()).await;
    (program, code)
}

#[tokio::test]
async fn pc_24_a_code_is_redeemed_without_what_is_forbidden_at_that_moment() {
    let test = start(NO_WRITES_AFTER_NINE).await;
    let (program, good) = code(&test).await;
    let tokens: Tokens = program.redeem(&test, &good).await.json();
    assert_eq!(tokens.scope, "notes:read notes:write");
    // Agreed to in time, redeemed a moment too late.
    test.advance(HOUR.checked_sub(Duration::from_secs(1)).unwrap()).await;
    let late = Browser::new(&test, "alice", super::actors::PASSWORD).code(&program.asking()).await;
    test.advance(Duration::from_secs(1)).await;
    let tokens: Tokens = program.redeem(&test, &late).await.json();
    assert_eq!(tokens.scope, "notes:read", "writing implies reading, which stays");
    assert_eq!(introspected(&test, &tokens.access_token).await["scope"], "notes:read");
}

#[tokio::test]
async fn pc_24_a_renewal_carries_what_is_not_forbidden_now_and_the_session_keeps_the_rest() {
    let test = start(NO_WRITES_AFTER_NINE).await;
    let (program, good) = code(&test).await;
    let mut tokens: Tokens = program.redeem(&test, &good).await.json();
    for (later, scope) in [
        (Duration::ZERO, "notes:read notes:write"),
        (HOUR, "notes:read"),
        (23 * HOUR, "notes:read notes:write"),
    ] {
        test.advance(later).await;
        let answer = program.refresh(&test, tokens.refresh_token.as_deref().unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        tokens = answer.json();
        assert_eq!(tokens.scope, scope, "after {later:?}");
    }
}

#[tokio::test]
async fn pc_24_introspection_says_what_is_not_forbidden_now() {
    let test = start(NO_WRITES_AFTER_NINE).await;
    let (program, good) = code(&test).await;
    test.advance(HOUR.checked_sub(Duration::from_secs(30)).unwrap()).await;
    let late = Browser::new(&test, "alice", super::actors::PASSWORD).code(&program.asking()).await;
    let tokens: Tokens = program.redeem(&test, &late).await.json();
    assert_eq!(introspected(&test, &tokens.access_token).await["scope"], "notes:read notes:write");
    test.advance(Duration::from_secs(30)).await;
    assert_eq!(introspected(&test, &tokens.access_token).await["scope"], "notes:read");
    drop(good);
}

/// Where nothing is left, the answer says that it is so now, and nothing is spent or ended by it.
#[tokio::test]
async fn pc_24_where_all_is_forbidden_nothing_is_spent() {
    let all =
        "[[forbid]]\nname = \"closed\"\nservers = [\"notes\"]\nwhen = { outside = \"07:00-09:00 UTC\" }\n";
    let test = start(all).await;
    let (program, good) = code(&test).await;
    let tokens: Tokens = program.redeem(&test, &good).await.json();
    test.advance(HOUR.checked_sub(Duration::from_secs(1)).unwrap()).await;
    let late = Browser::new(&test, "alice", super::actors::PASSWORD).code(&program.asking()).await;
    let young: Tokens = program.refresh(&test, tokens.refresh_token.as_deref().unwrap()).await.json();
    test.advance(Duration::from_secs(1)).await;
    assert_eq!(introspected(&test, &young.access_token).await["active"], false);
    for _ in 0..2 {
        let refused = program.redeem(&test, &late).await;
        assert_eq!(error_of(&refused), "invalid_scope");
        assert!(refused.text().contains("none of these scopes may be used now"), "{}", refused.text());
        let refused = program.refresh(&test, young.refresh_token.as_deref().unwrap()).await;
        assert_eq!(error_of(&refused), "invalid_scope");
    }
    test.advance(23 * HOUR).await;
    let renewed = program.refresh(&test, young.refresh_token.as_deref().unwrap()).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text());
}

/// PC-24: what cannot be evaluated forbids. These tests come from no address.
#[tokio::test]
async fn pc_24_an_address_that_is_not_known_is_no_good_one() {
    let test = start(
        "[[forbid]]\nname = \"from the office only\"\nscopes = [\"notes:write\"]\nwhen = { address_not_in = [\"10.0.0.0/8\"] }\n",
    )
    .await;
    let (program, good) = code(&test).await;
    let tokens: Tokens = program.redeem(&test, &good).await.json();
    assert_eq!(tokens.scope, "notes:read");
    let renewed: Tokens = program.refresh(&test, tokens.refresh_token.as_deref().unwrap()).await.json();
    assert_eq!(renewed.scope, "notes:read");
    assert_eq!(introspected(&test, &renewed.access_token).await["scope"], "notes:read");
}
