//! What a server tells by itself is for whoever may have what it is about, now (STRM-03); what it lets clients keep, they keep
//! for one caller.

use crate::lines::{INITIALIZE, arrived};
use crate::world::{Ask, META, World, json, legacy, request, request_id, respond};
use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use http::Response;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

type Tap = mpsc::UnboundedSender<String>;

/// An upstream with sessions, whose GET streams and answers to `subscriptions/listen` the test writes.
fn tapped(world: &World) -> Tap {
    let (tap, water) = mpsc::unbounded_channel::<String>();
    let water = Mutex::new(Some(water));
    world.upstream.answers(move |seen| {
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        if text.contains("initialize") {
            let mut response = json(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
            response.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
            return response;
        }
        if seen.method == "POST" && !text.contains("subscriptions/listen") {
            let id = request_id(seen).unwrap();
            let task = r#"{"task":{"taskId":"t-1","status":"working"}}"#;
            return json(200, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{task}}}"#));
        }
        let Some(water) = water.lock().unwrap().take() else { return respond(405, "text/plain", "") };
        let chunks = futures_util::stream::unfold(water, |mut water| async move {
            let message = water.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(format!("data: {message}\n\n"))), water))
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from_stream(chunks))
            .unwrap()
    });
    tap
}

struct Heard(axum::body::BodyDataStream);

impl Heard {
    async fn next(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.0.next());
            let event = next.await.expect("nothing came").expect("the stream ended").unwrap();
            let event = String::from_utf8(event.to_vec()).unwrap();
            if !event.starts_with(':') {
                break event;
            }
        }
    }
}

fn updated(uri: &str, subscription: bool) -> String {
    let meta = if subscription { r#","_meta":{"io.modelcontextprotocol/subscriptionId":1}"# } else { "" };
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"{meta}}}}}"#
    )
}

/// The resources of `private` now need what only an administrator has.
fn narrow(world: &World) {
    let mut narrowed = world.snapshot.clone();
    narrowed.number += 1;
    narrowed.servers[0].rules[1].scopes = crate::world::scopes("notes:admin");
    world.feed_snapshot(&narrowed);
}

async fn listen(world: &World, ask: Ask) -> Heard {
    let response = world.open(ask).await;
    assert_eq!(response.status(), 200);
    Heard(response.into_body().into_data_stream())
}

#[tokio::test]
async fn strm_03_a_session_hears_of_what_its_caller_may_have_now() {
    let world = World::new().await;
    let tap = tapped(&world);
    let token = world.user_token("notes:write");
    world.served(legacy(&token, INITIALIZE)).await;
    let call = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"create_note","arguments":{},"task":{}}}"#;
    world.served(legacy(&token, call).header("mcp-session-id", "s-1")).await;
    let mut heard = listen(&world, legacy(&token, "").verb("GET").header("mcp-session-id", "s-1")).await;
    let status = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{"taskId":"{id}"}}}}"#)
    };
    for (uri, may) in [("note://private/a", true), ("note://private/../private/a", false)] {
        for method in ["resources/subscribe", "resources/unsubscribe"] {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":6,"method":"{method}","params":{{"uri":"{uri}"}}}}"#);
            let ask = legacy(&token, &body).header("mcp-session-id", "s-1");
            let answered = if may { world.served(ask).await } else { world.refused(ask, 403).await };
            assert_ne!(may, answered.text().contains("more than one way"), "SCOPE-13: {uri}");
        }
    }
    let asks = r#"{"jsonrpc":"2.0","id":"e-1","method":"elicitation/create","params":{}}"#;
    for passed in [&updated("note://private/a", false), &status("t-1"), asks] {
        tap.send(passed.to_owned()).unwrap();
        assert_eq!(heard.next().await, format!("data: {passed}\n\n"));
    }
    for held in [
        updated("note://elsewhere/a", false),
        updated("note://private/../private/a", false),
        status("t-2"),
        status(""),
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated"}"#.to_owned(),
    ] {
        tap.send(held).unwrap();
    }
    tap.send(asks.to_owned()).unwrap();
    assert_eq!(heard.next().await, format!("data: {asks}\n\n"), "what came before was for nobody here");
    narrow(&world);
    tap.send(updated("note://private/a", false)).unwrap();
    tap.send(status("t-1")).unwrap();
    tap.send(updated("note://public/a", false)).unwrap();
    assert_eq!(heard.next().await, format!("data: {}\n\n", updated("note://public/a", false)));
}

#[tokio::test]
async fn strm_03_a_subscription_hears_of_no_other_resources() {
    let world = World::new().await;
    let tap = tapped(&world);
    let token = world.user_token("notes:read");
    let params = format!(r#"{{"notifications":{{"resourceSubscriptions":["note://public/a"]}},{META}}}"#);
    let mut heard = listen(&world, request(&token, "subscriptions/listen", &params)).await;
    tap.send(updated("note://private/a", true)).unwrap();
    tap.send(updated("note://public/a/part", true)).unwrap();
    assert_eq!(heard.next().await, format!("data: {}\n\n", updated("note://public/a/part", true)));
    assert_eq!(world.upstream.count(), 1);
    arrived(&world, 1).await;
}

#[tokio::test]
async fn scope_17_what_was_read_is_kept_for_nobody_else() {
    let world = World::new().await;
    let token = world.token();
    let read = |uri: &str| {
        request(&token, "resources/read", &format!(r#"{{"uri":"{uri}",{META}}}"#)).header("mcp-name", uri)
    };
    let discover = request(&token, "server/discover", &format!("{{{META}}}"));
    let body =
        r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"n":1.10}],"cacheScope":"public","ttlMs":5}}"#;
    let private = body.replace("public", "private");
    for (content_type, body, expected) in [
        ("application/json", body.to_owned(), private.clone()),
        ("text/event-stream", format!("id: 1\ndata: {body}\n\n"), format!("id: 1\ndata: {private}\n\n")),
    ] {
        world.upstream.answers(move |_| respond(200, content_type, &body));
        for ask in [read("note://public/a"), discover.clone()] {
            assert_eq!(world.served(ask).await.text(), expected, "{content_type}");
        }
    }
    let twice = body.replace(r#""ttlMs":5"#, r#""cacheScope":"public""#);
    let told_twice = format!("data: {twice}\n\n");
    world.upstream.answers(move |_| json(200, &twice));
    assert_eq!(world.send(read("note://public/a")).await.status, 502);
    world.upstream.answers(move |_| respond(200, "text/event-stream", &told_twice));
    assert!(world.served(read("note://public/a")).await.text().contains("-31502"));
    // What is no message and names no scope is left out, like what nobody asked for.
    let garbled = r#"data: {"text":"\u00e9""#;
    world
        .upstream
        .answers(move |_| respond(200, "text/event-stream", &format!("{garbled}\n\ndata: {body}\n\n")));
    assert_eq!(world.served(read("note://public/a")).await.text(), format!("data: {private}\n\n"));
}

#[tokio::test]
async fn strm_03_an_answer_tells_of_no_resource_or_task_that_is_not_the_callers() {
    let world = World::new().await;
    let status = r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t-9"}}"#;
    let (theirs, ours) = (updated("note://private/a", false), updated("note://public/a", false));
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let all = [theirs.as_str(), status, &ours, answer].map(|message| format!("data: {message}\n\n")).concat();
    world.upstream.answers(move |_| respond(200, "text/event-stream", &all));
    let token = world.token();
    for ask in [
        crate::world::tool(&token, "list_notes"),
        legacy(&token, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes"}}"#),
        request(&token, "resources/read", &format!(r#"{{"uri":"note://public/a",{META}}}"#))
            .header("mcp-name", "note://public/a"),
    ] {
        let text = world.served(ask).await.text();
        assert_eq!(text, format!("data: {ours}\n\ndata: {answer}\n\n"));
        let record = world.records().into_iter().rfind(|record| record["kind"].is_string()).unwrap();
        assert_eq!(record["stream"]["left_out"], 2);
    }
}
