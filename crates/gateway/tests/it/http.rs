//! Addresses, hosts, origins, verbs, metadata.

use crate::world::{Ask, META, World, legacy, tool};

#[tokio::test]
async fn http_06_adm_16_only_the_exact_path_is_served() {
    let world = World::new().await;
    let ask = tool(&world.token(), "list_notes");
    world.served(ask.clone()).await;
    for path in [
        "/mcp/notes/",
        "/mcp//notes",
        "/mcp/./notes",
        "/mcp/ops/../notes",
        "/mcp/%6eotes",
        "/mcp/notes%2f",
        "/mcp/notes;x=y",
        "/mcp/notes%00",
        "/mcp/NOTES",
        "/MCP/notes",
        "/mcp/far",
        "/mcp/unknown",
        "/mcp/notes.json",
    ] {
        let answered = world.refused(ask.clone().to(path), 404).await;
        assert_eq!(answered.challenge(), "", "{path}");
    }
}

#[tokio::test]
async fn http_14_15_another_host_is_not_served() {
    let world = World::new().await;
    let ask = tool(&world.token(), "list_notes");
    for same in ["as.test", "AS.test", "as.test:443"] {
        world.served(ask.clone().header("host", same)).await;
    }
    for other in
        ["evil.example", "as.test:8443", "as.test.evil.example", "user@as.test", "127.0.0.1", "as.test/x"]
    {
        let answered = world.refused(ask.clone().header("host", other), 421).await;
        assert!(!answered.text().contains("evil") && answered.challenge().is_empty(), "DISC-04");
        if let Ok(target) = format!("https://{other}/mcp/notes").parse::<http::Uri>()
            && target.path() == "/mcp/notes"
        {
            world.refused(ask.clone().to(&target.to_string()), 421).await;
        }
    }
    world.refused(ask.clone().without("host"), 400).await;
    world.refused(ask.clone().also("host", "as.test"), 400).await;
    world.served(ask.clone().to("https://as.test/mcp/notes")).await;
}

#[tokio::test]
async fn http_01_foreign_origins_are_refused_and_allowed_ones_may_read() {
    let world = World::new().await;
    let ask = tool(&world.token(), "list_notes");
    for allowed in ["https://as.test", "https://inspector.test"] {
        let answered = world.served(ask.clone().header("origin", allowed)).await;
        assert_eq!(answered.header("access-control-allow-origin"), allowed);
        let answered =
            world.refused(ask.clone().header("origin", allowed).without("authorization"), 401).await;
        assert!(answered.header("access-control-expose-headers").contains("WWW-Authenticate"));
        assert_eq!(answered.header("access-control-allow-origin"), allowed);
    }
    for foreign in ["https://evil.example", "null", "file://", "http://as.test", "https://as.test:8443", ""] {
        let answered = world.refused(ask.clone().header("origin", foreign), 403).await;
        assert_eq!(answered.header("access-control-allow-origin"), "");
    }
    let preflight = Ask::new("OPTIONS", "/mcp/notes").header("host", "as.test");
    let answered = world
        .refused(
            preflight
                .clone()
                .header("origin", "https://inspector.test")
                .header("access-control-request-headers", "authorization, mcp-param-region, x-user"),
            204,
        )
        .await;
    let allowed = answered.header("access-control-allow-headers");
    assert!(allowed.contains("mcp-param-region") && !allowed.contains("x-user"));
    world.refused(preflight.header("origin", "https://evil.example"), 403).await;
}

#[tokio::test]
async fn http_03_other_verbs_and_overrides() {
    let world = World::new().await;
    let token = world.token();
    for verb in ["PUT", "PATCH", "HEAD", "TRACE", "PROPFIND"] {
        let answered = world.refused(tool(&token, "list_notes").verb(verb), 405).await;
        assert_eq!(answered.header("allow"), "POST, GET, DELETE, OPTIONS");
    }
    let overridden = tool(&token, "list_notes").header("x-http-method-override", "DELETE");
    world.served(overridden).await;
}

#[tokio::test]
async fn as_prm_01_disc_04_14_15_metadata() {
    let world = World::new().await;
    let path = "/.well-known/oauth-protected-resource/mcp/notes";
    let ask = Ask::new("GET", path).header("host", "as.test");
    let answered = world.refused(ask.clone().header("origin", "https://anywhere.example"), 200).await;
    assert_eq!(
        answered.json(),
        serde_json::json!({
            "resource": "https://as.test/mcp/notes",
            "authorization_servers": ["https://as.test"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["notes:admin", "notes:read", "notes:write"],
            "resource_name": "The notes server",
        })
    );
    assert_eq!(answered.header("access-control-allow-origin"), "*");
    assert_eq!(answered.header("access-control-allow-credentials"), "");
    let forwarded = ask
        .clone()
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example")
        .header("x-original-url", "/evil");
    assert_eq!(world.refused(forwarded, 200).await.body, answered.body);
    world.refused(ask.clone().header("host", "evil.example"), 421).await;
    let mut bodies = Vec::new();
    for other in ["far", "unknown", "notes/"] {
        let path = format!("/.well-known/oauth-protected-resource/mcp/{other}");
        bodies.push(world.refused(ask.clone().to(&path), 404).await.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "DISC-14");
    world.refused(ask.clone().to("/.well-known/oauth-protected-resource"), 404).await;
}

#[tokio::test]
async fn disc_04_07_forwarded_headers_change_neither_challenge_nor_route() {
    let world = World::new().await;
    let token = world.token();
    let forwarded = |ask: Ask| {
        ask.header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "gopher")
            .header("forwarded", "host=evil.example")
            .header("x-original-url", "/mcp/notes")
            .header("x-rewrite-url", "/mcp/notes")
            .header("x-forwarded-user", "admin")
            .header("x-forwarded-for", "127.0.0.1")
    };
    let plain = world.refused(tool(&token, "list_notes").without("authorization"), 401).await;
    let other = world.refused(forwarded(tool(&token, "list_notes").without("authorization")), 401).await;
    assert_eq!(plain.challenge(), other.challenge());
    world.refused(forwarded(tool(&token, "list_notes").to("/mcp/ops")), 401).await;
    let params = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{META}}}}}"#);
    world.refused(forwarded(legacy("x", &params)), 401).await;
}
