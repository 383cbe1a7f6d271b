//! What the upstream gets, and what of its answers is passed on.

use crate::world::{META, NOW, World, json, legacy, request, respond, tool};
use axum::body::Body;
use futures_util::StreamExt as _;
use http::Response;
use portcullis_domain::registry::{Placement, Upstream, UpstreamCredential};
use portcullis_domain::snapshot::{ChangedAgents, Snapshot, Update};
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
async fn pc_05_assertions_are_reused_for_half_their_life_per_principal_and_policy() {
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

/// Who the upstream was last told that calls, and the header that told it.
fn vouched(world: &World) -> (String, http::HeaderValue) {
    let header = world.upstream.last().headers["authorization"].clone();
    let issuer = "https://as.test/assertions".parse().unwrap();
    let audience = "https://as.test/mcp/notes".parse().unwrap();
    let verifier = AssertionVerifier::new(issuer, audience, &world.assertion_keys).unwrap();
    let assertion = header.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    (verifier.verify(assertion, NOW).unwrap().scopes.to_string(), header)
}

#[tokio::test]
async fn pc_05_pc_21_an_agent_that_may_less_is_vouched_for_with_less() {
    let world = World::with(|_| (), |snapshot| may(snapshot, "notes:read notes:write")).await;
    let token = world.sign(|claims| claims.scope = "notes:read notes:write".parse().unwrap());
    world.served(tool(&token, "list_notes")).await;
    let (scopes, first) = vouched(&world);
    assert_eq!(scopes, "notes:read notes:write");
    let narrow = |after: u64, scopes: &str| {
        let mut changed = world.snapshot.clone();
        may(&mut changed, scopes);
        let agents = ChangedAgents { put: changed.agents, removed: vec![] };
        let update =
            Update::Agents { after, number: after + 1, agents, revocations: vec![], as_of: world.now() };
        world.feed(&update).unwrap();
    };
    narrow(1, "notes:read notes:write");
    world.served(tool(&token, "list_notes")).await;
    assert_eq!(vouched(&world).1, first, "nothing changed for this caller");
    narrow(2, "notes:read");
    world.served(tool(&token, "list_notes")).await;
    assert_eq!(vouched(&world).0, "notes:read");
}

fn may(snapshot: &mut Snapshot, scopes: &str) {
    snapshot.agents[0].access.values_mut().for_each(|access| *access = scopes.parse().unwrap());
}

#[tokio::test]
async fn pc_05_an_assertion_ends_with_what_was_compiled_even_under_the_same_number() {
    let world = World::new().await;
    world.served(tool(&world.token(), "list_notes")).await;
    assert_eq!(vouched(&world).0, "notes:read");
    let text = serde_json::to_string(&world.snapshot).unwrap().replace("notes:read", "notes:peek");
    let renamed: Snapshot = serde_json::from_str(&text).unwrap();
    let token = world.sign(|claims| claims.scope = "notes:peek".parse().unwrap());
    world.feed_snapshot(&renamed);
    world.served(tool(&token, "list_notes")).await;
    assert_eq!(vouched(&world).0, "notes:peek");
    world.gateway.forget();
    world.feed_snapshot(&world.snapshot);
    world.served(tool(&world.token(), "list_notes")).await;
    assert_eq!(vouched(&world).0, "notes:read");
    world.gateway.forget();
    world.feed_snapshot(&renamed);
    world.served(tool(&token, "list_notes")).await;
    assert_eq!(vouched(&world).0, "notes:peek");
}

#[tokio::test]
async fn pc_05_without_a_credential_nothing_is_sent_as_one() {
    let none = |snapshot: &mut Snapshot| {
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
    assert_eq!(names, ["cache-control", "content-type"]);
    let gone = |snapshot: &mut Snapshot| {
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
    let other = move |snapshot: &mut Snapshot| {
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

/// Longer than what is not counted.
fn long() -> String {
    "x".repeat(100 * 1024)
}

/// An upstream that answers every request at length: with a message before, if it does so by events.
fn answers_at_length(world: &World, by_events: bool) {
    world.upstream.answers(move |seen| {
        let (id, text) = (crate::world::request_id(seen).unwrap(), long());
        let tools = r#"[{"name":"list_notes"}]"#;
        let answer = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":{tools},"text":"{text}","cacheScope":"public"}}}}"#
        );
        if by_events {
            respond(200, "text/event-stream", &format!("event: message\ndata: {answer}\n\n"))
        } else {
            json(200, &answer)
        }
    });
}

#[tokio::test]
async fn dos_05_a_long_answer_has_its_room_and_is_under_way_until_it_is_taken() {
    let world = World::new().await;
    let token = world.token();
    let uri = "note://public/a";
    let asks = [
        ("as it is", tool(&token, "list_notes")),
        (
            "kept private",
            request(&token, "resources/read", &format!(r#"{{"uri":"{uri}",{META}}}"#))
                .header("mcp-name", uri),
        ),
        ("filtered", request(&token, "tools/list", &format!("{{{META}}}"))),
    ];
    for by_events in [false, true] {
        answers_at_length(&world, by_events);
        for (what, ask) in &asks {
            let response = world.open(ask.clone()).await;
            assert_eq!(response.status(), 200, "{what}");
            assert_eq!(world.gateway.figures().calls, 1, "{what}, {by_events}: it is still being answered");
            // Of a stream, one event is looked at; then it is where a slow reader leaves it.
            let mut body = response.into_body().into_data_stream();
            let first = body.next().await.unwrap().unwrap();
            assert!(first.len() > 100 * 1024, "{what}");
            let room = world.gateway.figures().room_taken;
            let length = first.len() as u64;
            assert!((length..length + 1024).contains(&room), "{what}, {by_events}: {room} of {length}");
            drop((first, body));
            let figures = world.gateway.figures();
            assert_eq!((figures.room_taken, figures.calls), (0, 0), "{what}, {by_events}");
        }
    }
    // What is short is done when it is given out of hand.
    world.upstream.answers(|_| json(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    let response = world.open(tool(&token, "list_notes")).await;
    assert_eq!((response.status().as_u16(), world.gateway.figures().calls), (200, 0));
}

#[tokio::test]
async fn dos_05_the_answers_of_a_batch_have_their_room_until_they_are_taken() {
    let world = World::new().await;
    answers_at_length(&world, false);
    let call = |id: u32| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"list_notes"}}}}"#)
    };
    let batch = format!("[{},{}]", call(1), call(2));
    let response = world.open(crate::world::Ask::post(&world.token(), &batch)).await;
    let figures = world.gateway.figures();
    assert!(figures.room_taken > 200 * 1024, "{}", figures.room_taken);
    assert_eq!((response.status().as_u16(), figures.calls), (200, 2));
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answers: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 2);
    let figures = world.gateway.figures();
    assert_eq!((figures.room_taken, figures.calls), (0, 0));
}
