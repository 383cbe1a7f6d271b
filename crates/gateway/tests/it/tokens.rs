//! Who may pass at all.

use crate::world::{Ask, METADATA, NOW, World, claims, tool};
use portcullis_domain::id::{ServerId, SessionId, TokenId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_oauth::jwk::JwkSet;
use portcullis_oauth::jwt::{ACCESS_TOKEN_TYPE, SigningKey};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use std::time::Duration;

const INVALID: &str = r#"error="invalid_token""#;

#[tokio::test]
async fn as_prm_02_no_token_is_challenged_without_an_error() {
    let world = World::new().await;
    world.served(tool(&world.token(), "list_notes")).await;
    let answered = world.refused(tool("x", "list_notes").without("authorization"), 401).await;
    assert_eq!(answered.challenge(), format!(r#"Bearer scope="notes:read", resource_metadata="{METADATA}""#));
    assert_eq!(answered.code(), -31401);
    assert!(world.records().iter().all(|record| record["outcome"] != "refused"), "strangers are counted");
    assert_eq!(world.gateway.refused_strangers()[&("no_token", "notes".to_owned())], 1);
}

#[tokio::test]
async fn gw_00_the_scheme_has_no_case() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes").header("authorization", &format!("bearer {token}"))).await;
}

#[tokio::test]
async fn bear_02_03_malformed_and_repeated_authorization() {
    let world = World::new().await;
    let token = world.token();
    let ask = tool(&token, "list_notes");
    world.served(ask.clone()).await;
    for malformed in
        ["Bearer".into(), "Bearer ".into(), format!("Bearer {token} {token}"), format!("Bearer {token},x")]
    {
        let answered = world.refused(ask.clone().header("authorization", &malformed), 400).await;
        assert!(answered.challenge().contains(r#"error="invalid_request""#), "{}", answered.challenge());
        assert!(!answered.text().contains(&token) && !answered.challenge().contains(&token), "LEAK-01");
    }
    for other in [format!("Basic {token}"), token.clone(), format!("Token {token}"), format!("DPoP {token}")]
    {
        let answered = world.refused(ask.clone().header("authorization", &other), 401).await;
        assert!(answered.challenge().contains(INVALID));
    }
    let good = format!("Bearer {token}");
    for pair in [[good.as_str(), "Bearer garbage"], ["Bearer garbage", good.as_str()], [&good, &good]] {
        let twice = ask.clone().header("authorization", pair[0]).also("authorization", pair[1]);
        world.refused(twice, 400).await;
    }
}

#[tokio::test]
async fn bear_01_04_the_token_counts_in_the_header_only_and_may_stand_nowhere_else() {
    let world = World::new().await;
    let token = world.token();
    let ask = tool(&token, "list_notes");
    world.served(ask.clone()).await;
    let bare = ask.clone().without("authorization");
    for query in
        [format!("access_token={token}"), format!("a=1&ACCESS_TOKEN={token}"), "access_token=".into()]
    {
        let target = format!("/mcp/notes?{query}");
        world.refused(bare.clone().to(&target), 400).await;
        world.refused(ask.clone().to(&target), 400).await;
    }
    world.refused(ask.clone().to(&format!("/mcp/notes?t={token}")), 400).await;
    for (name, value) in [
        ("cookie", format!("access_token={token}")),
        ("x-access-token", token.clone()),
        ("proxy-authorization", format!("Bearer {token}")),
    ] {
        world.refused(bare.clone().header(name, &value), 401).await;
    }
    for (name, harmless) in
        [("tracestate", "a=1"), ("accept", "application/json, text/event-stream"), ("user-agent", "test")]
    {
        world.served(ask.clone().header(name, harmless)).await;
        let answered = world.refused(ask.clone().header(name, &format!("{harmless},{token}")), 400).await;
        assert!(!answered.text().contains(&token), "LEAK-01");
    }
    let answered = world.refused(ask.clone().header("mcp-param-x", &token), 400).await;
    assert!(!answered.text().contains(&token), "LEAK-01");
    let escaped: String = token
        .char_indices()
        .map(|(at, c)| if at == 5 { format!("\\u{:04x}", c as u32) } else { c.to_string() })
        .collect();
    for hidden in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{token}"}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":["{escaped}"]}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"arguments":{{"{escaped}":1}}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":"{escaped}","method":"ping"}}"#),
        format!("access_token={token}"),
    ] {
        let answered =
            world.refused(Ask::post(&token, &hidden).header("mcp-protocol-version", "2025-11-25"), 400).await;
        assert!(!answered.text().contains(&token), "LEAK-01");
    }
}

#[tokio::test]
async fn jwt_01_21_forged_and_foreign_tokens() {
    let world = World::new().await;
    let good = world.token();
    world.served(tool(&good, "list_notes")).await;
    let stranger = SigningKey::from_pkcs8("k1".into(), &SigningKey::generate_pkcs8().unwrap()).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwia2lkIjoiazEiLCJ0eXAiOiJhdCtqd3QifQ";
    for bad in [
        stranger.sign(ACCESS_TOKEN_TYPE, &claims(NOW)).unwrap(),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.x"),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)),
        world.key.sign("JWT", &claims(NOW)).unwrap(),
        "A".repeat(6000),
        "A".repeat(30_000),
    ] {
        let answered = world.refused(tool(&bad, "list_notes"), 401).await;
        assert!(answered.challenge().contains(INVALID), "{}", answered.challenge());
        assert!(answered.challenge().contains(METADATA));
    }
}

#[tokio::test]
async fn aud_10_12_jwt_10_12_claims_that_are_not_for_here_and_now() {
    let world = World::new().await;
    world.served(tool(&world.token(), "list_notes")).await;
    let here = "https://as.test/mcp/notes";
    for audience in [
        "https://as.test/mcp/ops",
        "https://as.test/mcp/notes/",
        "https://as.test/mcp/note",
        "https://as.test/mcp/notesx",
        "https://as.test/mcp/NOTES",
        "https://as.test",
        "https://as.test/mcp/notes?x",
        "https://as.test:443/mcp/notes",
        "*",
        "",
        "cli_agent",
    ] {
        let token = world.sign(|claims| claims.aud = audience.to_owned());
        let answered = world.refused(tool(&token, "list_notes"), 401).await;
        assert!(answered.challenge().contains(INVALID), "{audience}");
    }
    let both = world.sign(|claims| claims.aud = format!("{here} https://as.test/mcp/ops"));
    world.refused(tool(&both, "list_notes"), 401).await;
    let hour = Duration::from_hours(1);
    for token in [
        world.sign(|claims| claims.exp = NOW - Duration::from_secs(30)),
        world.sign(|claims| claims.exp = Timestamp::from_seconds(0)),
        world.sign(|claims| claims.nbf = NOW + hour),
        world.sign(|claims| claims.iat = NOW + hour),
        world.sign(|claims| claims.exp = NOW + hour * 24),
        world.sign(|claims| claims.iss = "https://evil.test".parse().unwrap()),
        world.sign(|claims| claims.sub = "cli_other".into()),
    ] {
        world.refused(tool(&token, "list_notes"), 401).await;
    }
    world.advance(Duration::from_secs(5));
    let within_leeway = world.sign(|claims| claims.exp = NOW);
    world.served(tool(&within_leeway, "list_notes")).await;
}

#[tokio::test]
async fn aud_12_a_token_for_one_server_is_refused_at_the_other() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let answered = world.refused(tool(&token, "list_notes").to("/mcp/ops"), 401).await;
    assert!(answered.challenge().contains(INVALID));
    assert!(answered.challenge().contains("/.well-known/oauth-protected-resource/mcp/ops"));
}

#[tokio::test]
async fn pc_30_where_a_server_stands_at_the_metadata_of_another_the_server_answers() {
    let path = "/.well-known/oauth-protected-resource/mcp/notes";
    let ask = || Ask::new("GET", path).header("host", "as.test");
    assert_eq!(World::new().await.send(ask()).await.status, 200);
    let there = format!("https://as.test{path}");
    let world = World::with(|_| (), |snapshot| snapshot.servers[1].canonical_uri = there.parse().unwrap());
    let answered = world.await.send(ask()).await;
    assert_eq!(answered.status, 401, "metadata is for everybody");
    assert!(answered.challenge().contains(&format!("/.well-known/oauth-protected-resource{path}")));
}

#[tokio::test]
async fn aud_08_addresses_that_begin_alike_are_not_alike() {
    let addresses = ["https://tools.test/a", "https://tools.test/a/b", "https://tools.test/ab"];
    let world = World::with(
        |_| (),
        |snapshot| {
            let like = snapshot.servers[0].clone();
            let read: ScopeSet = "notes:read".parse().unwrap();
            for (number, address) in (50..).zip(addresses) {
                let mut server = like.clone();
                server.id = ServerId::from_bytes([number; 16]);
                server.name = format!("like-{number}").parse().unwrap();
                server.canonical_uri = address.parse().unwrap();
                snapshot.agents[0].access.insert(server.name.clone(), read.clone());
                snapshot.servers.push(server);
            }
        },
    )
    .await;
    for made_for in addresses {
        let token = world.sign(|claims| claims.aud = made_for.into());
        for at in addresses {
            let path = at.strip_prefix("https://tools.test").unwrap();
            let ask = tool(&token, "list_notes").to(path).header("host", "tools.test");
            let before = world.upstream.count();
            let answered = world.gateway.answer(ask.into_request(), None).await;
            let (status, reached) = if at == made_for { (200, 1) } else { (401, 0) };
            assert_eq!(answered.status(), status, "a token for {made_for} at {at}");
            assert_eq!(world.upstream.count() - before, reached, "a token for {made_for} at {at}");
        }
    }
}

#[tokio::test]
async fn pc_45_revocation_acts_at_once_and_on_what_it_names() {
    let world = World::new().await;
    let revocation = |target| Revocation { target, at: NOW, until: NOW + Duration::from_mins(15) };
    for (number, target) in [
        (11, RevokedTarget::Token(TokenId::from_bytes([11; 16]))),
        (12, RevokedTarget::Session(SessionId::from_bytes([12; 16]))),
    ] {
        let token = world.sign(|claims| {
            claims.jti = TokenId::from_bytes([number; 16]).to_string();
            claims.sid = SessionId::from_bytes([number; 16]).to_string();
        });
        world.served(tool(&token, "list_notes")).await;
        world.revoke(revocation(target));
        world.refused(tool(&token, "list_notes"), 401).await;
        world.served(tool(&world.token(), "list_notes")).await;
    }
    world.revoke(revocation(RevokedTarget::Client("cli_agent".parse().unwrap())));
    world.refused(tool(&world.token(), "list_notes"), 401).await;
    world.advance(Duration::from_secs(1));
    world.served(tool(&world.token(), "list_notes")).await;
}

#[tokio::test]
async fn pc_45_what_ends_while_the_body_comes_counts() {
    let world = World::new().await;
    let token = world.token();
    let session = RevokedTarget::Session(claims(NOW).sid.parse().unwrap());
    let ends = Revocation { target: session, at: NOW, until: NOW + Duration::from_mins(15) };
    let revoked = || world.revoke(ends);
    assert_eq!(world.send_slowly(tool(&token, "list_notes"), || ()).await, 200);
    assert_eq!(world.send_slowly(tool(&token, "list_notes"), revoked).await, 401);

    let world = World::new().await;
    let token = world.token();
    let tightened = || {
        let mut tighter = world.snapshot.clone();
        tighter.number += 1;
        tighter.agents.clear();
        world.feed_snapshot(&tighter);
    };
    assert_eq!(world.send_slowly(tool(&token, "list_notes"), tightened).await, 403);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn key_03_a_removed_key_counts_for_nothing_at_once() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let mut rotated = world.snapshot.clone();
    rotated.number += 1;
    let other = SigningKey::generate_pkcs8().unwrap();
    rotated.keys = JwkSet { keys: vec![SigningKey::public_jwk("k2", &other).unwrap()] };
    world.feed_snapshot(&rotated);
    world.refused(tool(&token, "list_notes"), 401).await;
    rotated.number += 1;
    rotated.keys = JwkSet { keys: vec![SigningKey::public_jwk("k1", &other).unwrap()] };
    world.feed_snapshot(&rotated);
    world.refused(tool(&token, "list_notes"), 401).await;
}
