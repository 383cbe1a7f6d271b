//! Refresh tokens at the token endpoint.

use super::actors::{Browser, NOTES, OPS, Program, Tokens, claims, error_of, is_active, native};
use crate::app::{FLEET, TestApp};
use http::StatusCode;
use std::time::Duration;

const PAST_GRACE: Duration = Duration::from_secs(31);

async fn begin(test: &TestApp) -> (Program, Tokens) {
    let program = Program::native(test).await;
    let mut browser = Browser::of_alice(test).await;
    let tokens = program.tokens(&mut browser).await;
    (program, tokens)
}

fn refresh_token(tokens: &Tokens) -> String {
    tokens.refresh_token.clone().unwrap()
}

#[tokio::test]
async fn as_rt_01_every_use_gives_a_new_one() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let answer = program.refresh(&test, &refresh_token(&first)).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, Some("no-store")));
    let second: Tokens = answer.json();
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_eq!(second.session_id, first.session_id);
    assert_eq!(claims(&second.access_token)["aud"], NOTES);
    assert!(is_active(&test, &second.access_token).await);
}

#[tokio::test]
async fn as_rt_02_03_refr_02_a_retired_one_kills_everything() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let mut newest = first.clone();
    for _ in 0..5 {
        newest = program.refresh(&test, &refresh_token(&newest)).await.json();
    }
    assert!(is_active(&test, &newest.access_token).await);
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&first)).await), "invalid_grant");
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&newest)).await), "invalid_grant");
    assert!(!is_active(&test, &newest.access_token).await);
    assert!(!is_active(&test, &first.access_token).await);
}

#[tokio::test]
async fn as_rt_04_pc_13_a_lost_answer_is_given_again_within_the_grace() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let lost: Tokens = program.refresh(&test, &refresh_token(&first)).await.json();
    test.advance(Duration::from_secs(29)).await;
    let again: Tokens = program.refresh(&test, &refresh_token(&first)).await.json();
    assert_eq!(again.refresh_token, lost.refresh_token, "REFR-14: the same successor, never another");
    let next: Tokens = program.refresh(&test, &refresh_token(&again)).await.json();
    // The successor was used: now the first is long retired.
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&first)).await), "invalid_grant");
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&next)).await), "invalid_grant");
}

#[tokio::test]
async fn as_rt_04_after_the_grace_a_repeat_is_a_replay() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let second: Tokens = program.refresh(&test, &refresh_token(&first)).await.json();
    test.advance(PAST_GRACE).await;
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&first)).await), "invalid_grant");
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&second)).await), "invalid_grant");
}

#[tokio::test]
async fn as_rt_05_refr_03_fifty_at_once_have_one_successor() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let token = refresh_token(&first);
    let answers = futures_util::future::join_all((0..50).map(|_| program.refresh(&test, &token))).await;
    let mut successors = Vec::new();
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        successors.push(refresh_token(&answer.json::<Tokens>()));
    }
    successors.sort();
    successors.dedup();
    assert_eq!(successors.len(), 1, "one distinct successor");
    test.advance(PAST_GRACE).await;
    assert_eq!(program.refresh(&test, &successors[0]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn as_rt_06_refr_05_only_for_its_client() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let other = Program::registered(&test, &native("Other")).await;
    assert_eq!(error_of(&other.refresh(&test, &refresh_token(&first)).await), "invalid_grant");
    let second = program.refresh(&test, &refresh_token(&first)).await;
    assert_eq!(second.status, StatusCode::OK, "the family is unharmed");
    // Inside the grace, too.
    assert_eq!(error_of(&other.refresh(&test, &refresh_token(&first)).await), "invalid_grant");
}

#[tokio::test]
async fn as_rt_07_scope_shrinks_for_one_token_and_never_grows() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let narrow = program.refresh_with(&test, &refresh_token(&first), &[("scope", "notes:read")]).await;
    let narrow: Tokens = narrow.json();
    assert_eq!(
        (narrow.scope.as_str(), &claims(&narrow.access_token)["scope"]),
        ("notes:read", &"notes:read".into())
    );
    let full: Tokens = program.refresh(&test, &refresh_token(&narrow)).await.json();
    assert_eq!(full.scope, "notes:read notes:write");
    for wider in ["notes:read ops:read", "root:all", "NOTES:READ"] {
        let answer = program.refresh_with(&test, &refresh_token(&full), &[("scope", wider)]).await;
        assert_eq!(error_of(&answer), "invalid_scope", "{wider}");
    }
    assert_eq!(program.refresh(&test, &refresh_token(&full)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn scope_06_a_subset_consented_to_is_all_there_is() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let code = browser.code(&program.asking().with("scope", Some("notes:read"))).await;
    let tokens: Tokens = program.redeem(&test, &code).await.json();
    let answer =
        program.refresh_with(&test, &refresh_token(&tokens), &[("scope", "notes:read notes:write")]).await;
    assert_eq!(error_of(&answer), "invalid_scope");
}

#[tokio::test]
async fn as_rt_08_refr_06_another_server_is_refused_before_anything_turns() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    for other in [OPS, "https://unknown.example/mcp"] {
        let answer = program.refresh_with(&test, &refresh_token(&first), &[("resource", other)]).await;
        assert_eq!(error_of(&answer), "invalid_target");
    }
    test.advance(PAST_GRACE).await;
    let same = program.refresh_with(&test, &refresh_token(&first), &[("resource", NOTES)]).await;
    assert_eq!(same.status, StatusCode::OK, "the token was not spent");
}

#[tokio::test]
async fn as_rt_09_refr_08_idle_and_absolute_end() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    test.advance(test.app.config.tokens.refresh_idle).await;
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&first)).await), "invalid_grant");

    let mut browser = Browser::new(&test, "alice", super::actors::PASSWORD);
    let mut tokens = program.tokens(&mut browser).await;
    let step = test.app.config.tokens.refresh_idle.checked_sub(Duration::from_secs(1)).unwrap();
    let mut passed = Duration::ZERO;
    while passed + step < test.app.config.tokens.refresh_max {
        test.advance(step).await;
        passed += step;
        let answer = program.refresh(&test, &refresh_token(&tokens)).await;
        assert_eq!(answer.status, StatusCode::OK, "in use");
        tokens = answer.json();
    }
    test.advance(test.app.config.tokens.refresh_max.checked_sub(passed).unwrap()).await;
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&tokens)).await), "invalid_grant");
}

#[tokio::test]
async fn as_rt_10_pc_21_everything_it_hangs_from_must_live() {
    let test = TestApp::start().await;
    let (program, mut tokens) = begin(&test).await;
    // Policy tightens: the next token carries less, at once.
    let tighter = FLEET.replace(
        "access = { notes = [\"notes:read\", \"notes:write\"]",
        "access = { notes = [\"notes:read\"]",
    );
    test.apply(&tighter).await.unwrap();
    tokens = program.refresh(&test, &refresh_token(&tokens)).await.json();
    assert_eq!(tokens.scope, "notes:read");
    // REFR-09: the role is gone.
    test.apply(&FLEET.replace("\"alice\", \"bob\"", "\"bob\"")).await.unwrap();
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&tokens)).await), "invalid_grant");
    test.apply(FLEET).await.unwrap();
    tokens = program.refresh(&test, &refresh_token(&tokens)).await.json();
    assert_eq!(tokens.scope, "notes:read notes:write", "what was agreed to");
    // The person is gone.
    let user = claims(&tokens.access_token)["sub"].as_str().unwrap().parse().unwrap();
    let event = portcullis_domain::audit::Event::new(
        portcullis_domain::audit::Kind::UserCreated,
        portcullis_domain::audit::Outcome::Allowed,
        portcullis_domain::audit::Actor::Operator,
    );
    let now = test.app.clock.now();
    test.app
        .store
        .write(now, event, move |event, tx| {
            Box::pin(async move {
                tx.disable_user(user, tx.now() + Duration::from_secs(3700)).await?;
                tx.record(event, ()).await
            })
        })
        .await
        .unwrap();
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&tokens)).await), "invalid_grant");
    assert!(!is_active(&test, &tokens.access_token).await);
}

#[tokio::test]
async fn as_rt_11_forged_cut_and_spliced_tokens_harm_nobody() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let mut browser = Browser::new(&test, "alice", super::actors::PASSWORD);
    let other = program.tokens(&mut browser).await;
    let (token, other) = (refresh_token(&first), refresh_token(&other));
    for at in (0..token.len()).step_by(3) {
        let mut altered = token.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert_eq!(error_of(&program.refresh(&test, &altered).await), "invalid_grant", "{at}");
        if at > 0 {
            assert_eq!(error_of(&program.refresh(&test, &token[..at]).await), "invalid_grant", "{at}");
            let spliced = format!("{}{}", &token[..at], &other[at..]);
            if spliced != token && spliced != other {
                assert_eq!(error_of(&program.refresh(&test, &spliced).await), "invalid_grant", "{at}");
            }
        }
    }
    assert_eq!(
        program.refresh(&test, &token).await.status,
        StatusCode::OK,
        "no family was revoked by a guess"
    );
}

#[tokio::test]
async fn refr_07_other_secrets_are_no_refresh_tokens() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let mut browser = Browser::new(&test, "alice", super::actors::PASSWORD);
    let code = browser.code(&program.asking()).await;
    for other in [&first.access_token, &code] {
        assert_eq!(error_of(&program.refresh(&test, other).await), "invalid_grant");
    }
    assert_eq!(program.redeem(&test, &code).await.status, StatusCode::OK, "the code is unharmed");
}

#[tokio::test]
async fn as_rt_03_reuse_is_known_after_a_restart() {
    let test = TestApp::start().await;
    let (program, first) = begin(&test).await;
    let second: Tokens = program.refresh(&test, &refresh_token(&first)).await.json();
    let third: Tokens = program.refresh(&test, &refresh_token(&second)).await.json();
    let (database, folder) = test.end().await;
    let test = TestApp::open("registration.dynamic = true", database, folder).await;
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&first)).await), "invalid_grant");
    assert_eq!(error_of(&program.refresh(&test, &refresh_token(&third)).await), "invalid_grant", "revoked");
}
