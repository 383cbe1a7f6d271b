//! What the upstream gets, and what of its answers is passed on.

use crate::world::{META, NOW, World, json, legacy, request, respond, tool};
use axum::body::Body;
use http::Response;
use portcullis_domain::registry::{Placement, Upstream, UpstreamCredential};
use portcullis_guard::assertion::AssertionVerifier;
use std::time::Duration;

type BadAnswer = fn() -> Response<Body>;

#[tokio::test]
async fn pc_05_hdr_01_as_prm_06_an_assertion_in_place_of_the_token() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let seen = world.upstream.last();
    let everything = format!("{:?}", seen.headers);
    assert!(!everything.contains(&token) && !everything.contains(token.rsplit('.').next().unwrap()));
    let credential = seen.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let verifier = |audience: &str| {
        let issuer = "https://as.test/assertions".parse().unwrap();
        AssertionVerifier::new(issuer, audience.parse().unwrap(), &world.assertion_keys).unwrap()
    };
    let caller = verifier("https://as.test/mcp/notes").verify(credential, NOW).unwrap();
    assert_eq!((caller.subject.as_str(), caller.client_id.as_str()), ("cli_agent", "cli_agent"));
    assert_eq!(caller.scopes.to_string(), "notes:read");
    assert!(verifier("https://as.test/mcp/ops").verify(credential, NOW).is_err());
    let answered = world.refused(tool(credential, "list_notes"), 401).await;
    assert!(answered.challenge().contains("invalid_token"), "an assertion is no access token");
}

#[tokio::test]
async fn pc_05_assertions_are_reused_for_half_their_life_per_principal_and_snapshot() {
    let world = World::new().await;
    let credential = || world.upstream.last().headers["authorization"].clone();
    world.served(tool(&world.token(), "list_notes")).await;
    let first = credential();
    world.advance(Duration::from_secs(29));
    world.served(tool(&world.token(), "list_notes")).await;
    assert_eq!(credential(), first);
    world.served(tool(&world.user_token("notes:read"), "list_notes")).await;
    assert_ne!(credential(), first, "UPS-06: another principal");
    world.advance(Duration::from_secs(1));
    world.served(tool(&world.token(), "list_notes")).await;
    let second = credential();
    assert_ne!(second, first);
    let mut changed = world.snapshot.clone();
    changed.number += 1;
    world.feed_snapshot(&changed);
    world.served(tool(&world.token(), "list_notes")).await;
    assert_ne!(credential(), second);
}

#[tokio::test]
async fn pc_05_without_a_credential_nothing_is_sent_as_one() {
    let none = |snapshot: &mut portcullis_domain::snapshot::Snapshot| {
        if let Placement::Gateway { credential, .. } = &mut snapshot.servers[0].placement {
            *credential = UpstreamCredential::None;
        }
    };
    let world = World::with(|_| (), none).await;
    world.served(tool(&world.token(), "list_notes")).await;
    assert!(!world.upstream.last().headers.contains_key("authorization"));
}

#[tokio::test]
async fn hdr_02_03_only_allowed_headers_pass_and_none_can_be_taken_away() {
    let world = World::new().await;
    let token = world.token();
    let params = format!(r#"{{"name":"list_notes","arguments":{{"region":"us-west1"}},{META}}}"#);
    let mut ask = request(&token, "tools/call", &params).header("mcp-name", "list_notes");
    for name in [
        "cookie",
        "x-user",
        "x-forwarded-user",
        "x-forwarded-for",
        "x-auth-request-email",
        "remote-user",
        "x_forwarded_user",
        "forwarded",
        "x-forwarded-client-cert",
        "proxy-authorization",
        "proxy-connection",
        "keep-alive",
        "te",
        "x-original-url",
        "mcp-session-id",
        "last-event-id",
        "user-agent",
        "accept-encoding",
        "origin",
    ] {
        let value = if name == "origin" { "https://as.test" } else { "sent-by-caller" };
        ask = ask.header(name, value);
    }
    ask = ask
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")
        .header("mcp-param-region", "us-west1")
        .header("connection", "close, authorization, mcp-name, mcp-method, mcp-protocol-version, tracestate")
        .header("tracestate", "a=b");
    world.served(ask).await;
    let seen = world.upstream.last();
    let mut names: Vec<&str> = seen.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "mcp-method",
            "mcp-name",
            "mcp-param-region",
            "mcp-protocol-version",
            "traceparent",
        ]
    );
    assert_eq!(seen.target, "/mcp");
    assert_eq!(seen.headers["mcp-name"], "list_notes");
}

#[tokio::test]
async fn rpc_16_hdr_04_a_parameter_that_is_no_argument_reaches_nobody() {
    let world = World::new().await;
    let token = world.token();
    let params = format!(r#"{{"name":"list_notes","arguments":{{"region":"us-west1"}},{META}}}"#);
    let ask = request(&token, "tools/call", &params).header("mcp-name", "list_notes");
    world.served(ask.clone().header("mcp-param-region", "us-west1")).await;
    for (name, value) in [("mcp-param-region", "eu"), ("mcp-param-path", "/etc/passwd")] {
        // Zero bytes upstream are part of being refused.
        let answered = world.refused(ask.clone().header(name, value), 400).await;
        assert!(answered.text().contains("-32020"), "{}", answered.text());
    }
}

#[tokio::test]
async fn ups_01_02_03_answers_that_are_not_passed_on() {
    let world = World::new().await;
    let token = world.token();
    let ask = tool(&token, "list_notes");
    world.served(ask.clone()).await;
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let bad: Vec<(&str, BadAnswer)> = vec![
        ("401", || respond(401, "text/plain", "inside")),
        ("403", || json(403, r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"inside"}}"#)),
        ("500", || respond(500, "text/plain", "inside: stack trace")),
        ("503", || respond(503, "application/json", r#"{"inside":1}"#)),
        ("redirect", || {
            Response::builder()
                .status(307)
                .header("location", "http://127.0.0.1:1/")
                .body(Body::empty())
                .unwrap()
        }),
        ("not json", || respond(200, "application/json", "inside")),
        ("html", || respond(200, "text/html", "<p>inside</p>")),
        ("wrong id", || json(200, r#"{"jsonrpc":"2.0","id":2,"result":{"inside":1}}"#)),
        ("text id", || json(200, r#"{"jsonrpc":"2.0","id":"1","result":{"inside":1}}"#)),
        ("batch", || json(200, r#"[{"jsonrpc":"2.0","id":1,"result":{"inside":1}}]"#)),
        ("neither", || json(200, r#"{"jsonrpc":"2.0","id":1,"inside":1}"#)),
        ("both", || {
            json(200, r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"inside"}}"#)
        }),
        ("202 to a request", || respond(202, "text/plain", "")),
        ("compressed", || {
            Response::builder().header("content-encoding", "gzip").body(Body::from("inside")).unwrap()
        }),
    ];
    for (what, answer) in bad {
        world.upstream.answers(move |_| answer());
        let answered = world.send(ask.clone()).await;
        assert_eq!(answered.status, 502, "{what}: {}", answered.text());
        assert_eq!((answered.code(), &answered.json()["id"]), (-31502, &1.into()), "{what}");
        assert!(answered.text().contains("server notes") && !answered.text().contains("inside"), "{what}");
        assert_eq!(answered.challenge(), "", "{what}");
    }
    world.upstream.answers(move |_| {
        let mut response = json(200, result);
        for (name, value) in [
            ("set-cookie", "a=b"),
            ("www-authenticate", "Bearer"),
            ("access-control-allow-origin", "*"),
            ("server", "inside"),
            ("mcp-session-id", "not-in-this-revision"),
        ] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    });
    let answered = world.served(ask.clone()).await;
    let mut names: Vec<&str> = answered.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-length", "content-type"]);
    let gone = |snapshot: &mut portcullis_domain::snapshot::Snapshot| {
        if let Placement::Gateway { upstream, .. } = &mut snapshot.servers[0].placement {
            *upstream = Upstream::Url("http://127.0.0.1:1/mcp".into());
        }
    };
    let world = World::with(|_| (), gone).await;
    let answered = world.refused(tool(&world.token(), "list_notes"), 502).await;
    assert!(answered.text().contains("server notes") && !answered.text().contains("127.0.0.1"));
}

#[tokio::test]
async fn an_upstream_that_speaks_another_language_is_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _written = stream.write_all(b"SSH-2.0-inside\r\n\r\n").await;
        }
    });
    let other = move |snapshot: &mut portcullis_domain::snapshot::Snapshot| {
        if let Placement::Gateway { upstream, .. } = &mut snapshot.servers[0].placement {
            *upstream = Upstream::Url(format!("http://{address}/mcp"));
        }
    };
    let world = World::with(|_| (), other).await;
    let answered = world.refused(tool(&world.token(), "list_notes"), 502).await;
    assert!(
        answered.text().contains("cannot be understood") && !answered.text().contains("inside"),
        "{}",
        answered.text()
    );
}

#[tokio::test]
async fn ups_03_an_answer_over_the_limit_is_cut() {
    let world = World::with(|settings| settings.limits.answer_bytes = 1000, |_| ()).await;
    world.served(tool(&world.token(), "list_notes")).await;
    world.upstream.answers(|_| {
        json(200, &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{}"}}}}"#, "x".repeat(2000)))
    });
    assert_eq!(world.send(tool(&world.token(), "list_notes")).await.status, 502);
}

#[tokio::test]
async fn field_5_refusals_by_which_clients_negotiate_are_passed_on() {
    let world = World::new().await;
    let ask = tool(&world.token(), "list_notes");
    for (status, code) in [(400, -32020), (400, -32021), (400, -32022), (404, -32601), (400, -32000)] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"m","data":{{"x":1.10}}}}}}"#
        );
        let expected = body.clone();
        world.upstream.answers(move |_| json(status, &body));
        let answered = world.send(ask.clone()).await;
        assert_eq!((answered.status.as_u16(), answered.text()), (status, expected));
    }
    world.upstream.answers(|_| respond(400, "text/plain", "inside"));
    let answered = world.send(ask.clone()).await;
    assert_eq!((answered.status.as_u16(), answered.code()), (400, -31502));
    assert!(!answered.text().contains("inside"));
}

#[tokio::test]
async fn ups_10_nothing_is_tried_twice() {
    let world = World::new().await;
    world.upstream.answers(|_| respond(500, "text/plain", ""));
    let before = world.upstream.count();
    world.send(tool(&world.token(), "list_notes")).await;
    assert_eq!(world.upstream.count(), before + 1);
}

#[tokio::test]
async fn rpc_15_the_callers_limit_of_calls_under_way() {
    let world = World::with(|settings| settings.limits.calls_at_once.principal = 0, |_| ()).await;
    let answered = world.refused(tool(&world.token(), "list_notes"), 429).await;
    assert_eq!(answered.header("retry-after"), "1");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    world.refused(legacy(&world.token(), ping), 429).await;
}

#[tokio::test]
async fn dos_08_a_person_has_no_more_room_with_more_clients() {
    let world = World::with(|settings| settings.limits.calls_at_once.principal = 1, |_| ()).await;
    let by = |client: &str| {
        world.sign(|claims| {
            claims.sub = portcullis_domain::id::UserId::from_bytes([7; 16]).to_string();
            claims.client_id = client.parse().unwrap();
            claims.roles = Some(vec!["engineers".into()]);
            claims.scope = "notes:read".parse().unwrap();
        })
    };
    world.upstream.answers(|_| {
        let waits = futures_util::stream::pending::<Result<String, std::convert::Infallible>>();
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from_stream(waits))
            .unwrap()
    });
    let open = world.open(tool(&by("cli_one"), "list_notes")).await;
    assert_eq!(open.status(), 200);
    let another = world.open(tool(&by("cli_two"), "list_notes")).await;
    assert_eq!(another.status(), 429);
    drop(open);
}
