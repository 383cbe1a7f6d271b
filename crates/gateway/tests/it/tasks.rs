//! Tasks (2025-11-25, and the extension of 2026-07-28) belong to who made the call, and need today what the call needed.

use crate::world::{Ask, META, Seen, World, json, legacy, request, request_id, respond, tool};
use axum::body::Body;
use http::Response;
use portcullis_domain::condition::Forbid;
use serde_json::json as value;

const WITH_TASKS: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// Answers calls with the task `t-ID`, and lists three.
fn with_tasks(seen: &Seen) -> Response<Body> {
    let message: serde_json::Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let Some(id) = request_id(seen) else { return respond(202, "text/plain", "") };
    let is_modern = seen.headers["mcp-protocol-version"] == "2026-07-28";
    let task = format!("t-{}", message["params"]["arguments"]["n"]);
    let result = match message["method"].as_str().unwrap() {
        "tools/call" if is_modern => value!({"resultType": "task", "taskId": task, "status": "working"}),
        "tools/call" => value!({"task": {"taskId": task, "status": "working"}}),
        "tasks/list" => {
            value!({"tasks": [{"taskId": "t-1"}, {"taskId": "t-2"}, {"taskId": "t-9"}], "nextCursor": "c"})
        }
        _ => value!({"content": [], "resultType": "complete"}),
    };
    let answer = value!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    if message["params"]["arguments"]["stream"] == true {
        return respond(200, "text/event-stream", &format!(": hello\n\ndata: {answer}\n\n"));
    }
    json(200, &answer)
}

async fn world() -> World {
    let world = World::new().await;
    world.upstream.answers(with_tasks);
    world
}

/// A call of `name` that asks for a task.
fn begin(token: &str, name: &str, n: u32, stream: bool) -> Ask {
    let params =
        format!(r#"{{"name":"{name}","arguments":{{"n":{n},"stream":{stream}}},"task":{{"ttl":60000}}}}"#);
    legacy(token, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#))
}

fn of_task(token: &str, method: &str, id: &str) -> Ask {
    legacy(token, &format!(r#"{{"jsonrpc":"2.0","id":2,"method":"{method}","params":{{"taskId":"{id}"}}}}"#))
}

#[tokio::test]
async fn pc_01_a_task_is_its_makers_alone() {
    let world = world().await;
    let (mine, other) = (world.token(), world.user_token("notes:read"));
    world.served(begin(&mine, "list_notes", 1, false)).await;
    world.served(begin(&other, "list_notes", 2, true)).await;
    let renewed = world.sign(|claims| claims.exp = claims.exp + std::time::Duration::from_mins(1));
    for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
        world.served(of_task(&mine, method, "t-1")).await;
        world.served(of_task(&renewed, method, "t-1")).await;
        world.served(of_task(&other, method, "t-2")).await;
        for (token, id) in
            [(&mine, "t-2"), (&other, "t-1"), (&mine, "t-9"), (&mine, "T-1"), (&mine, "t-1 "), (&other, "")]
        {
            let answered = world.refused(of_task(token, method, id), 400).await;
            assert_eq!(answered.code(), -32602, "{method} {id:?}");
        }
    }
    let list = |token: &str| legacy(token, r#"{"jsonrpc":"2.0","id":3,"method":"tasks/list"}"#);
    for (token, id) in [(&mine, "t-1"), (&other, "t-2")] {
        let listed = world.served(list(token)).await.json();
        assert_eq!(
            listed["result"],
            value!({"tasks": [{"taskId": id}], "nextCursor": "c"}),
            "paging is kept"
        );
    }
    // At another server the same id is another task.
    let ops = world.sign(|claims| {
        claims.aud = "https://as.test/mcp/ops".into();
        claims.scope = "ops:read".parse().unwrap();
    });
    world.refused(of_task(&ops, "tasks/get", "t-1").to("/mcp/ops"), 400).await;
}

#[tokio::test]
async fn pc_21_what_is_done_with_a_task_needs_today_what_its_call_needed() {
    let world = world().await;
    let token = world.user_token("notes:write");
    world.served(begin(&token, "create_note", 1, false)).await;
    world.served(of_task(&token, "tasks/result", "t-1")).await;
    let less = world.user_token("notes:read");
    let answered = world.refused(of_task(&less, "tasks/result", "t-1"), 403).await;
    assert!(answered.challenge().contains("notes:write"), "{}", answered.challenge());
    let last = world.records().into_iter().rev().find(|record| record["outcome"] == "refused").unwrap();
    assert_eq!(
        (&last["method"], &last["object"], &last["object_kind"]),
        (&"tasks/result".into(), &"create_note".into(), &"tool".into())
    );
    let listed = world.served(legacy(&less, r#"{"jsonrpc":"2.0","id":3,"method":"tasks/list"}"#)).await;
    assert_eq!(
        listed.json()["result"]["tasks"],
        value!([{"taskId": "t-1"}]),
        "one more consent would open it"
    );
    let mut tightened = world.snapshot.clone();
    tightened.number += 1;
    tightened.roles[0].access.insert("notes".parse().unwrap(), crate::world::scopes("notes:read"));
    world.feed_snapshot(&tightened);
    world.refused(of_task(&token, "tasks/result", "t-1"), 403).await;
    let listed = world.served(legacy(&token, r#"{"jsonrpc":"2.0","id":3,"method":"tasks/list"}"#)).await;
    assert_eq!(listed.json()["result"]["tasks"], value!([]));
}

#[tokio::test]
async fn pc_24_conditions_look_at_the_arguments_of_the_call_that_made_the_task() {
    let outside = serde_json::from_str(r#"{"argument_outside":{"n":"/srv/*"}}"#).unwrap();
    let forbid = Forbid {
        name: "outside".into(),
        tools: vec!["list_notes".into()],
        when: outside,
        ..Forbid::default()
    };
    let world = World::with(|_| (), |snapshot| snapshot.forbids = vec![forbid]).await;
    world.upstream.answers(with_tasks);
    let token = world.token();
    let call = |n: &str| {
        let params = format!(r#"{{"name":"list_notes","arguments":{{"n":"{n}"}},"task":{{}}}}"#);
        legacy(&token, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#))
    };
    world.served(call("/srv/a")).await;
    world.refused(call("/etc/a"), 403).await;
    world.served(of_task(&token, "tasks/result", r#"t-\"/srv/a\""#)).await;
}

#[tokio::test]
async fn pc_01_tasks_of_2026_07_28_are_named_in_the_header_too() {
    let world = world().await;
    let (mine, other) = (world.token(), world.user_token("notes:read"));
    let params = format!(r#"{{"name":"list_notes","arguments":{{"n":1}},{WITH_TASKS}}}"#);
    world.served(request(&mine, "tools/call", &params).header("mcp-name", "list_notes")).await;
    let get = |token: &str| {
        request(token, "tasks/get", &format!(r#"{{"taskId":"t-1",{META}}}"#)).header("mcp-name", "t-1")
    };
    world.served(get(&mine)).await;
    world.refused(get(&other), 400).await;
    world.refused(get(&mine).header("mcp-name", "t-2"), 400).await;
    world.refused(get(&mine).without("mcp-name"), 400).await;
    for gone in ["tasks/result", "tasks/list"] {
        let ask = request(&mine, gone, &format!(r#"{{"taskId":"t-1",{META}}}"#));
        assert_eq!(world.refused(ask, 404).await.code(), -32601, "{gone} was of the experiment only");
    }
    // A client that knows no tasks gets none that could be found again.
    let params = format!(r#"{{"name":"list_notes","arguments":{{"n":2}},{META}}}"#);
    world.served(request(&mine, "tools/call", &params).header("mcp-name", "list_notes")).await;
    let second =
        request(&mine, "tasks/get", &format!(r#"{{"taskId":"t-2",{META}}}"#)).header("mcp-name", "t-2");
    world.refused(second, 400).await;
    world.served(tool(&mine, "list_notes")).await;
}

#[tokio::test]
async fn ups_03_an_upstream_cannot_give_one_task_to_two_principals_or_two_tools() {
    let world = world().await;
    world.served(begin(&world.token(), "list_notes", 1, false)).await;
    let other = world.user_token("notes:read notes:write");
    assert_eq!(world.send(begin(&other, "list_notes", 1, false)).await.status, 502);
    let broken = world.send(begin(&other, "list_notes", 1, true)).await;
    assert!(broken.text().contains("-31502") && !broken.text().contains("t-1"), "{}", broken.text());
    world.served(begin(&other, "create_note", 2, false)).await;
    assert_eq!(world.send(begin(&other, "list_notes", 2, false)).await.status, 502);
    world.served(of_task(&world.token(), "tasks/get", "t-1")).await;
}
