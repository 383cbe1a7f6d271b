//! Lists show what their reader may call: PC-22, SCOPE-12, SCOPE-17.

use crate::world::{META, World, json, legacy, request, respond, tool};
use portcullis_domain::condition::Forbid;
use portcullis_domain::registry::Pinning;
use portcullis_domain::snapshot::{Snapshot, Update};
use std::collections::BTreeMap;
use std::time::Duration;

const TOOLS: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[ {"name":"list_notes","inputSchema":{"n":1.10}} ,{"name":"create_note"},{"name":"wipe"},{"name":"hidden"},{"nameless":1}],"nextCursor":"c","cacheScope":"public","ttlMs":5}}"#;

fn list(token: &str, method: &str) -> crate::world::Ask {
    request(token, method, &format!("{{{META}}}"))
}

#[tokio::test]
async fn pc_22_an_agent_sees_what_it_may_call_a_person_also_what_consent_would_open() {
    let world = World::new().await;
    world.upstream.answers(|_| json(200, TOOLS));
    let answered = world.served(list(&world.token(), "tools/list")).await;
    assert_eq!(
        answered.text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[{"name":"list_notes","inputSchema":{"n":1.10}}],"nextCursor":"c","cacheScope":"private","ttlMs":5}}"#
    );
    let answered = world.served(list(&world.user_token("notes:read"), "tools/list")).await;
    let names: Vec<_> = answered.json()["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["list_notes", "create_note"]);
    world.refused(tool(&world.token(), "hidden"), 403).await;
}

/// A list that the upstream repeats, whoever asks, with the id of the request.
fn repeats(world: &World, tools: &'static str) {
    world.upstream.answers(move |seen| {
        let id = crate::world::request_id(seen).unwrap();
        json(
            200,
            &format!(r#"{{"id":{id},"result":{{"tools":[{tools}],"cacheScope":"public"}},"jsonrpc":"2.0"}}"#),
        )
    });
}

const REPEATED: &str = r#"{"name":"list_notes"},{"name":"create_note"},{"name":"wipe"}"#;

/// Asks with this id; what is to be seen.
async fn listed(world: &World, token: &str, id: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{{{META}}}}}"#);
    let answered = world.served(list(token, "tools/list").body(body)).await;
    let start = format!(r#"{{"id":{id},"result":{{"tools":["#);
    let rest = answered.text().strip_prefix(&start).expect("the answer to this request").to_owned();
    rest.strip_suffix(r#"],"cacheScope":"private"},"jsonrpc":"2.0"}"#).expect("whole").to_owned()
}

fn without_pins(snapshot: &mut Snapshot) {
    snapshot.servers[0].pinning = Pinning::Off;
}

#[tokio::test]
async fn pc_22_a_repeated_list_is_filtered_for_each_reader_by_the_policy_of_now() {
    let world = World::with(|_| (), without_pins).await;
    repeats(&world, REPEATED);
    let (agent, person) = (world.token(), world.user_token("notes:write"));
    for id in ["1", "22", "\"three\"", "1"] {
        assert_eq!(listed(&world, &agent, id).await, r#"{"name":"list_notes"}"#);
        assert_eq!(listed(&world, &person, id).await, r#"{"name":"list_notes"},{"name":"create_note"}"#);
    }
    // Today's policy, whatever was found by yesterday's.
    let mut tightened = world.snapshot.clone();
    tightened.roles[0].access = BTreeMap::from([("notes".parse().unwrap(), "notes:read".parse().unwrap())]);
    world.feed_snapshot(&tightened);
    assert_eq!(listed(&world, &person, "5").await, r#"{"name":"list_notes"}"#);
    // What is forbidden by the hour, in the hour that it is.
    let mut by_the_hour = world.snapshot.clone();
    by_the_hour.forbids = vec![Forbid {
        name: "no reading now".into(),
        tools: vec!["list_*".into()],
        when: serde_json::from_str(r#"{"inside":"08:00-09:00 UTC"}"#).unwrap(),
        ..Forbid::default()
    }];
    world.feed_snapshot(&by_the_hour);
    // The world begins at 08:00 UTC.
    assert_eq!(listed(&world, &agent, "6").await, "");
    world.advance(Duration::from_mins(59));
    world.feed_snapshot(&by_the_hour);
    assert_eq!(listed(&world, &world.token(), "7").await, "");
    world.advance(Duration::from_mins(1));
    world.feed_snapshot(&by_the_hour);
    assert_eq!(listed(&world, &world.token(), "8").await, r#"{"name":"list_notes"}"#);
}

#[tokio::test]
async fn pc_22_a_list_shows_what_may_be_called_when_it_comes_not_when_it_was_asked_for() {
    let list_of = |id: &serde_json::Value| {
        format!(r#"{{"id":{id},"result":{{"tools":[{REPEATED}],"cacheScope":"public"}},"jsonrpc":"2.0"}}"#)
    };
    let told = r#"{"jsonrpc":"2.0","method":"x"}"#;
    for content_type in ["application/json", "text/event-stream"] {
        let world = World::with(|_| (), without_pins).await;
        let person = world.user_token("notes:write");
        let mut withdrawn = world.snapshot.clone();
        withdrawn.number += 1;
        withdrawn.roles[0].access =
            BTreeMap::from([("notes".parse().unwrap(), "notes:read".parse().unwrap())]);
        let update =
            Update::Full { snapshot: Box::new(withdrawn), revocations: Vec::new(), as_of: world.now() };
        let update = serde_json::to_vec(&update).unwrap();
        let gateway = world.gateway.clone();
        world.upstream.answers(move |seen| {
            gateway.feed(&update).unwrap();
            let list = list_of(&crate::world::request_id(seen).unwrap());
            let events = format!("data: {told}\n\ndata: {list}\n\n");
            let is_stream = content_type == "text/event-stream";
            respond(200, content_type, if is_stream { &events } else { &list })
        });
        let text = world.served(list(&person, "tools/list")).await.text();
        assert!(text.contains("list_notes") && !text.contains("create_note"), "{content_type}: {text}");
    }
}

#[tokio::test]
async fn ups_03_a_repeated_list_still_answers_its_own_request_or_nothing() {
    let world = World::with(|_| (), without_pins).await;
    repeats(&world, REPEATED);
    assert_eq!(listed(&world, &world.token(), "1").await, r#"{"name":"list_notes"}"#);
    for id in ["2", "\"1\"", "01", "1,\"id\":1"] {
        world.upstream.answers(move |_| {
            json(
                200,
                &format!(
                    r#"{{"id":{id},"result":{{"tools":[{REPEATED}],"cacheScope":"public"}},"jsonrpc":"2.0"}}"#
                ),
            )
        });
        let answered = world.send(list(&world.token(), "tools/list")).await;
        assert_eq!(answered.status, 502, "{id}: {}", answered.text());
    }
    // Of the same length, and not the same.
    repeats(&world, r#"{"name":"list_notes"},{"name":"create_note"},{"name":"list"}"#);
    assert_eq!(listed(&world, &world.token(), "1").await, r#"{"name":"list_notes"}"#);
    repeats(&world, r#"{"name":"create_note"},{"name":"list_notes"},{"name":"list_notes"}"#);
    let twice = r#"{"name":"list_notes"},{"name":"list_notes"}"#;
    assert_eq!(listed(&world, &world.token(), "1").await, twice);
    repeats(&world, r#"{"name":"wipe","name":"list_notes"}"#);
    assert_eq!(world.send(list(&world.token(), "tools/list")).await.status, 502, "RPC-07");
}

#[tokio::test]
async fn scope_17_labels_and_framing_do_not_dodge_the_filter() {
    let world = World::new().await;
    let token = world.token();
    let one_line = TOOLS.to_owned();
    let two_lines = TOOLS.replace(",{\"name\":\"create", ",\ndata: {\"name\":\"create");
    for (status, content_type, body) in [
        (200, "Application/JSON", one_line.clone()),
        (201, "application/json", one_line.clone()),
        (200, "text/plain", one_line.clone()),
        (200, "text/event-stream", format!(": ping\n\nid: 1\ndata:\n\ndata: {one_line}\n\n")),
        (200, "Text/Event-Stream; charset=utf-8", format!("event: message\ndata: {two_lines}\n\n")),
        (200, "text/event-stream", format!("\u{feff}data: {one_line}\r\rdata: x\r\r")),
    ] {
        world.upstream.answers(move |_| respond(status, content_type, &body));
        let answered = world.served(list(&token, "tools/list")).await;
        let text = answered.text();
        assert!(text.contains("list_notes"), "{content_type}: {text}");
        for hidden in ["create_note", "wipe", "hidden"] {
            assert!(!text.contains(hidden), "{content_type}: {text}");
        }
    }
    for (content_type, body) in [
        ("application/json", format!("data: {TOOLS}\n\n")),
        ("text/event-stream", TOOLS.to_owned()),
        ("text/event-stream", format!("data: {TOOLS}x\n\n")),
        ("text/event-stream", "data: not json\n\n".to_owned()),
        ("text/event-stream", format!("data: {TOOLS}")),
        ("application/json", TOOLS.replace(r#""nextCursor""#, r#""tools":[],"x""#)),
        ("application/json", TOOLS.replace(r#""nextCursor""#, r#""t\u006fols":[],"x""#)),
        (
            "application/json",
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"0":{"name":"wipe"}}}}"#.to_owned(),
        ),
        ("application/json", r#"{"jsonrpc":"2.0","id":1,"result":[{"name":"wipe"}]}"#.to_owned()),
    ] {
        world.upstream.answers(move |_| respond(200, content_type, &body));
        let answered = world.send(list(&token, "tools/list")).await;
        assert_eq!(answered.status, 502, "{}", answered.text());
        assert!(!answered.text().contains("wipe"));
    }
}

#[tokio::test]
async fn strm_06_before_a_list_nobody_is_told_what_is_not_theirs() {
    let world = World::new().await;
    let token = world.token();
    let unasked = [
        r#"data: {"jsonrpc":"2.0","id":2,"result":{"of":"somebody else"}}"#,
        r#"data: {"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{"of":"a server"}}"#,
        r#"data: {"jsonrpc":"2.0","method":"x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":9}}}"#,
        r#"data: {"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://private/1"}}"#,
        "event: endpoint\ndata: /elsewhere",
        "data: no JSON",
    ];
    let progress = r#"data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
    let body = format!("{}\n\n{progress}\n\ndata: {TOOLS}\n\n", unasked.join("\n\n"));
    world.upstream.answers(move |_| respond(200, "text/event-stream", &body));
    let text = world.served(list(&token, "tools/list")).await.text();
    assert!(text.contains("list_notes") && text.contains("notifications/progress"), "{text}");
    for other in ["somebody else", "sampling", "subscriptionId", "note://", "elsewhere", "no JSON", "wipe"] {
        assert!(!text.contains(other), "{other}: {text}");
    }
    let record = world.records().into_iter().rfind(|record| record["kind"].is_string()).unwrap();
    assert_eq!((&record["status"], &record["how"]), (&200.into(), &"answered".into()));
    let stream = &record["stream"];
    assert_eq!(
        (&stream["how"], &stream["events"], &stream["left_out"]),
        (&"complete".into(), &2.into(), &6.into())
    );
}

#[tokio::test]
async fn strm_01_a_list_whose_stream_closes_early_is_gone_on_with_within_a_session() {
    let world = World::new().await;
    let token = world.token();
    world.upstream.answers(|_| {
        let mut answer = json(200, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
        answer.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
        answer
    });
    let begin = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    world.served(legacy(&token, begin)).await;
    let ask = legacy(&token, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    // 2025-11-25: an event with an id and without data, and the end; clients ask for the rest.
    let primer = "id: 7\nretry: 10\ndata:\n\n";
    world.upstream.answers(move |_| respond(200, "text/event-stream", primer));
    let answered = world.served(ask.clone().header("mcp-session-id", "s-1")).await;
    assert_eq!(answered.text(), primer);
    let outside = world.send(ask.clone()).await;
    assert_eq!((outside.status.as_u16(), outside.code()), (502, -31502), "nobody could go on with it");
    assert!(outside.text().contains("broke off"), "{}", outside.text());
    world.upstream.answers(|_| respond(200, "text/event-stream", &format!("data: {TOOLS}\n\n")));
    let rest = ask.verb("GET").header("mcp-session-id", "s-1").header("last-event-id", "7");
    let text = world.served(rest).await.text();
    assert!(text.contains("list_notes") && !text.contains("wipe"), "{text}");
}

#[tokio::test]
async fn ups_03_a_list_of_too_many_items_costs_no_memory_and_says_so() {
    let world = World::with(|_| (), without_pins).await;
    for (items, status) in [(10_000, 200), (10_001, 502)] {
        let tools = vec!["{}"; items].join(",");
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#);
        let as_event = format!("data: {body}\n\n");
        world.upstream.answers(move |_| json(200, &body));
        let whole = world.send(list(&world.token(), "tools/list")).await;
        world.upstream.answers(move |_| respond(200, "text/event-stream", &as_event));
        let streamed = world.send(list(&world.token(), "tools/list")).await;
        for answered in [whole, streamed] {
            assert_eq!(answered.status, status, "{items}");
            assert_eq!(answered.text().contains("10,000 items"), status == 502, "{}", answered.text());
        }
    }
}

#[tokio::test]
async fn pc_22_prompts_resources_and_templates_are_filtered_alike() {
    let world = World::new().await;
    let token = world.token();
    for (method, member, key, shown, hidden) in [
        ("prompts/list", "prompts", "name", "greet", "other"),
        ("resources/list", "resources", "uri", "note://public/1", "note://private/1"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            "note://public/{id}",
            "file:///{path}",
        ),
        ("resources/list", "resources", "uri", "note://public/1", "note://public/../private/1"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            "note://public/{id}",
            "note://public/../{id}",
        ),
    ] {
        world.upstream.answers(move |_| {
            let items = format!(r#"[{{"{key}":"{hidden}"}},{{"{key}":"{shown}"}}]"#);
            json(200, &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"{member}":{items}}}}}"#))
        });
        let answered = world.served(list(&token, method)).await;
        assert_eq!(answered.json()["result"][member], serde_json::json!([{ key: shown }]), "{method}");
    }
    world.upstream.answers(|_| json(200, TOOLS));
    let answered = world.served(list(&token, "prompts/list")).await;
    assert!(!answered.text().contains("wipe"), "a list in answer to another list");
}

#[tokio::test]
async fn pc_22_errors_and_input_requests_pass() {
    let world = World::new().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"s"}}"#,
    ] {
        world.upstream.answers(move |_| json(200, body));
        assert_eq!(world.served(list(&world.token(), "tools/list")).await.text(), body);
    }
    world.upstream.answers(|_| json(200, TOOLS));
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert!(!world.served(legacy(&world.token(), body)).await.text().contains("wipe"));
}
