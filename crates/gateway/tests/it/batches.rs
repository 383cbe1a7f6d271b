//! 2025-03-26: no header for the version, sessions, and batches, decided message by message, all or nothing.

use crate::world::{Answered, Ask, META, Seen, World, json, legacy, request_id, respond};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::{Placement, Upstream, UpstreamCredential};
use portcullis_domain::snapshot::Update;
use portcullis_gateway::{Gateway, Program};
use serde_json::{Value, json as value};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes"}}"#;
const LIST: &str = r#"{ "jsonrpc":"2.0", "id":"l\u0069st","method":"tools/list" }"#;
const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const WIPE: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"wipe"}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":"ask-1","result":{}}"#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

/// As a client of that revision sends it: it names no version.
fn old(token: &str, body: &str) -> Ask {
    Ask::post(token, body)
}

fn batch(token: &str, messages: &[&str]) -> Ask {
    old(token, &format!("[{}]", messages.join(" ,\n")))
}

/// Lists hold what may be called and what may not; a session begins at `initialize`.
fn upstream(seen: &Seen) -> Response<Body> {
    let text = String::from_utf8_lossy(&seen.body).into_owned();
    let Some(id) = request_id(seen) else {
        return respond(202, "text/plain", "");
    };
    let result = if text.contains("tools/list") {
        r#"{"tools":[{"name":"list_notes"},{"name":"wipe"}]}"#
    } else {
        r#"{"done":true}"#
    };
    let mut answer = json(200, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    if text.contains("initialize\"") {
        answer.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
    }
    answer
}

async fn world() -> World {
    let world = World::new().await;
    world.upstream.answers(upstream);
    world
}

/// Sends a batch; how it was answered, and how many messages reached the upstream.
async fn sent(world: &World, ask: Ask) -> (Answered, usize) {
    let before = world.upstream.count();
    let answered = world.send(ask).await;
    (answered, world.upstream.count() - before)
}

fn by_id(answers: &Value, id: &Value) -> Value {
    let answers = answers.as_array().unwrap();
    let mut named = answers.iter().filter(|answer| answer["id"] == *id);
    let found = named.next().expect("an answer to each").clone();
    assert!(named.next().is_none(), "one answer to {id}");
    found
}

#[tokio::test]
async fn rpc_23_2025_03_26_begins_and_goes_on_without_naming_its_version() {
    let world = world().await;
    let token = world.token();
    let begun = world.served(old(&token, INITIALIZE)).await;
    assert_eq!(begun.header("mcp-session-id"), "s-1");
    for ask in [old(&token, CALL), old(&token, CALL).header("mcp-protocol-version", "2025-03-26")] {
        world.served(ask.clone().header("mcp-session-id", "s-1")).await;
        assert_eq!(world.upstream.last().headers["mcp-session-id"], "s-1");
        world.served(ask.clone()).await;
        world.refused(ask.clone().header("mcp-session-id", "s-2"), 404).await;
        world.refused(ask.clone().body(WIPE), 403).await;
        world.refused(ask.without("authorization"), 401).await;
    }
    let modern = CALL.replace("\"list_notes\"", &format!("\"list_notes\",{META}"));
    world.refused(old(&token, &modern), 400).await;
    world.refused(old(&token, &modern).header("mcp-protocol-version", "2025-03-26"), 400).await;
}

#[tokio::test]
async fn rpc_09_a_batch_goes_upstream_message_by_message_each_as_its_own_bytes() {
    let world = world().await;
    let token = world.token();
    let ask = batch(&token, &[CALL, LIST, NOTE]);
    for ask in [ask.clone(), ask.header("mcp-protocol-version", "2025-03-26")] {
        let (answered, sent) = sent(&world, ask).await;
        assert_eq!((answered.status.as_u16(), sent), (200, 3), "{}", answered.text());
        assert_eq!(answered.header("content-type"), "application/json");
        let answers = answered.json();
        assert_eq!(answers.as_array().unwrap().len(), 2, "a notification is not answered");
        assert_eq!(by_id(&answers, &value!(1))["result"], value!({ "done": true }));
        let list = by_id(&answers, &value!("list"));
        assert_eq!(list["result"]["tools"], value!([{ "name": "list_notes" }]), "PC-22");
        let mut bodies: Vec<_> = world.upstream.newest(3).into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies[0], NOTE, "before what is asked");
        bodies.sort();
        let mut wanted = [CALL, LIST, NOTE].map(str::as_bytes);
        wanted.sort_unstable();
        assert_eq!(bodies, wanted);
    }
    let records = world.records();
    let of = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((of("call.decided"), of("call.ended")), (6, 6));
    assert!(records.iter().all(|record| record["outcome"] != "refused"));
}

#[tokio::test]
async fn rpc_09_one_refused_message_refuses_the_batch_and_nothing_goes_upstream() {
    let world = world().await;
    let token = world.token();
    assert_eq!(sent(&world, batch(&token, &[CALL, LIST, NOTE])).await.1, 3);
    for messages in [[CALL, WIPE, NOTE], [WIPE, NOTE, CALL]] {
        let answered = world.refused(batch(&token, &messages), 403).await;
        let answers = answered.json();
        assert_eq!(answers.as_array().unwrap().len(), 2);
        assert_eq!(by_id(&answers, &value!(2))["error"]["code"], -31403);
        let beside = by_id(&answers, &value!(1));
        assert_eq!(beside["error"]["message"], "another message of the batch was refused, so none was sent");
    }
    let records = world.records();
    let refused = records.iter().filter(|record| record["outcome"] == "refused");
    let reasons: Vec<_> = refused.map(|record| record["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 6);
    assert!(reasons.iter().all(|reason| ["beside_refused", "beyond_agent"].contains(reason)), "{reasons:?}");
    // A person can ask for more: the challenge says what for.
    let create = WIPE.replace("wipe", "create_note");
    let person = world.user_token("notes:read");
    let answered = world.refused(batch(&person, &[CALL, &create]), 403).await;
    assert!(answered.challenge().contains(r#"scope="notes:write""#), "{}", answered.challenge());
    let unknown = r#"{"jsonrpc":"2.0","id":3,"method":"tools/wipe"}"#;
    assert_eq!(
        by_id(&world.refused(batch(&token, &[CALL, unknown]), 400).await.json(), &value!(3))["error"]["code"],
        -32601
    );
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/strange"}"#;
    world.refused(batch(&token, &[CALL, notification]), 400).await;
    assert!(world.refused(batch(&token, &[NOTE, notification]), 400).await.json()["error"].is_object());
    world.refused(batch(&token, &[CALL]).without("authorization"), 401).await;
}

#[tokio::test]
async fn rpc_09_other_revisions_have_no_batches() {
    let world = world().await;
    let token = world.token();
    let ask = batch(&token, &[CALL]);
    assert_eq!(sent(&world, ask.clone()).await.1, 1);
    for version in ["2025-06-18", "2025-11-25", "2026-07-28", "2099-01-01", "2025-03-26 "] {
        let answered = world.refused(ask.clone().header("mcp-protocol-version", version), 400).await;
        assert_eq!(answered.code(), -32600, "{version}");
    }
    let twice = ask.header("mcp-protocol-version", "2025-03-26").also("mcp-protocol-version", "2025-03-26");
    world.refused(twice, 400).await;
    let modern = CALL.replace("\"list_notes\"", &format!("\"list_notes\",{META}"));
    world.refused(batch(&token, &[&modern]), 400).await;
}

#[tokio::test]
async fn rpc_09_what_is_no_batch_is_refused_whole() {
    let world = world().await;
    let token = world.token();
    world.served(old(&token, INITIALIZE)).await;
    let many = |count: usize| {
        let one = |id: usize| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        format!("[{}]", (0..count).map(one).collect::<Vec<_>>().join(","))
    };
    assert_eq!(sent(&world, old(&token, &many(50))).await.1, 50);
    let list = |messages: &[&str]| format!("[{}]", messages.join(","));
    let same = LIST.replace("l\\u0069st", "list");
    let inside = CALL.replace("\"list_notes\"", &format!("\"list_notes\",\"x\":\"{token}\""));
    for body in [
        "[]".to_owned(),
        "[ ]".to_owned(),
        many(51),
        list(&[CALL, CALL]),
        list(&[LIST, &same]),
        list(&[CALL, INITIALIZE]),
        list(&[INITIALIZE]),
        list(&[CALL, ANSWER]),
        list(&[&list(&[CALL])]),
        list(&[CALL, "1"]),
        list(&[CALL, "null"]),
        format!("[{CALL},]"),
        format!("[{CALL}"),
        format!("[{CALL}]]"),
        format!("[{CALL}] [{LIST}]"),
        list(&[CALL, r#"{"jsonrpc":"2.0","id":2,"method":"ping","method":"ping"}"#]),
        list(&[CALL, r#"{"jsonrpc":"2.0","id":2,"method":"ping","Method":"ping"}"#]),
        list(&[CALL, r#"{"id":2,"method":"ping"}"#]),
        list(&[CALL, r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#]),
        list(&[&inside]),
    ] {
        world.refused(old(&token, &body), 400).await;
    }
    let named = batch(&token, &[CALL, LIST]);
    world.refused(named.clone().header("mcp-method", "tools/call"), 400).await;
    world.refused(named.clone().header("mcp-name", "list_notes"), 400).await;
    world.refused(named.header("mcp-session-id", "s-2"), 404).await;
}

#[tokio::test]
async fn rpc_17_a_batch_that_asks_nothing_is_accepted() {
    let world = world().await;
    let token = world.token();
    world.served(old(&token, INITIALIZE)).await;
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#;
    let (answered, sent_to) = sent(&world, batch(&token, &[NOTE, cancelled])).await;
    assert_eq!((answered.status.as_u16(), answered.text().as_str(), sent_to), (202, "", 2));
    let in_order: Vec<_> = world.upstream.newest(2).into_iter().map(|seen| seen.body).collect();
    assert_eq!(in_order, [NOTE, cancelled]);
    world.refused(batch(&token, &[ANSWER]), 400).await;
    let within = batch(&token, &[ANSWER]).header("mcp-session-id", "s-1");
    let (answered, sent_to) = sent(&world, within.clone()).await;
    assert_eq!((answered.status.as_u16(), sent_to), (202, 1));
    world.upstream.answers(|_| respond(400, "text/plain", "inside"));
    let (answered, _) = sent(&world, within).await;
    assert!(answered.status == 400 && !answered.text().contains("inside"));
}

#[tokio::test]
async fn pc_22_streams_and_answers_of_a_batch_are_one_stream_with_lists_filtered() {
    let world = world().await;
    world.upstream.answers(|seen| {
        let Some(id) = request_id(seen) else { return respond(202, "text/plain", "") };
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        let tools = r#"{"tools":[{"name":"list_notes"},{"name":"wipe"}]}"#;
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{tools}}}"#);
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
        match (text.contains("resources/list"), text.contains("tools/list")) {
            (true, _) => json(200, &answer),
            (_, true) => respond(200, "text/event-stream", &format!("id: 4\ndata: {answer}\n\n")),
            _ => {
                let done = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
                respond(200, "text/event-stream", &format!("data: {progress}\n\ndata: {done}\n\n"))
            }
        }
    });
    let resources = r#"{"jsonrpc":"2.0","id":3,"method":"resources/list"}"#;
    let (answered, _) = sent(&world, batch(&world.token(), &[CALL, LIST, resources])).await;
    assert_eq!((answered.status.as_u16(), answered.header("content-type")), (200, "text/event-stream"));
    let text = answered.text();
    let told: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(told.len(), 4, "{text}");
    let answers = Value::from(told);
    for id in [value!(1), value!("list"), value!(3)] {
        assert!(by_id(&answers, &id)["result"].is_object());
    }
    assert!(text.contains("notifications/progress") && !text.contains("wipe"), "{text}");
}

#[tokio::test]
async fn ups_01_what_fails_upstream_fails_alone_and_names_its_request() {
    let world = world().await;
    world.upstream.answers(|seen| {
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        if text.contains("tools/call") { respond(401, "text/plain", "inside") } else { upstream(seen) }
    });
    let (answered, _) = sent(&world, batch(&world.token(), &[CALL, LIST])).await;
    assert_eq!(answered.status, 200);
    let answers = answered.json();
    assert_eq!(by_id(&answers, &value!(1))["error"]["code"], -31502);
    assert!(by_id(&answers, &value!("list"))["result"].is_object());
    assert!(!answered.text().contains("inside"));
    // An error that names nobody, an answer to somebody else, an array.
    for body in [
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
    ] {
        for status in [200, 400] {
            world.upstream.answers(move |_| json(status, body));
            let (answered, _) = sent(&world, batch(&world.token(), &[CALL])).await;
            assert!(by_id(&answered.json(), &value!(1))["error"].is_object(), "{status} {}", answered.text());
        }
    }
    world.upstream.answers(|_| respond(404, "text/plain", "gone"));
    assert_eq!(sent(&world, batch(&world.token(), &[CALL, LIST])).await.0.status, 404, "all of them");
}

#[tokio::test]
async fn pc_53_each_message_of_a_batch_counts() {
    let most = |number| {
        World::with(
            move |settings| settings.limits.calls_per_minute.principal = NonZeroU32::new(number),
            |_| (),
        )
    };
    let world = most(3).await;
    let token = world.token();
    assert_eq!(sent(&world, batch(&token, &[CALL, LIST, NOTE])).await.1, 3);
    world.refused(batch(&token, &[CALL]), 429).await;
    let world = most(2).await;
    let answered = world.refused(batch(&world.token(), &[CALL, LIST, NOTE]), 429).await;
    assert_eq!(answered.json()["error"]["data"]["limit"], "principal");
    let world = World::with(|settings| settings.limits.calls_at_once.principal = 2, |_| ()).await;
    assert_eq!(sent(&world, batch(&world.token(), &[CALL, LIST])).await.1, 2);
    world.refused(batch(&world.token(), &[CALL, LIST, NOTE]), 429).await;
    assert_eq!(sent(&world, batch(&world.token(), &[CALL, LIST])).await.1, 2, "the room was given back");
}

#[tokio::test]
async fn pc_51_without_room_in_the_record_nothing_of_a_batch_goes_upstream() {
    let world = World::with(|settings| settings.spool.max_bytes = 3_000, |_| ()).await;
    let token = world.token();
    assert_eq!(sent(&world, batch(&token, &[CALL])).await.1, 1);
    let answered = world.refused(batch(&token, &[CALL, LIST, NOTE]), 503).await;
    assert_eq!(answered.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn pc_51_of_a_batch_that_the_record_has_no_room_for_nothing_is_recorded_twice() {
    let world = World::with(|settings| settings.spool.max_bytes = 2_600, |_| ()).await;
    let answered = world.refused(batch(&world.token(), &[CALL, LIST, NOTE]), 503).await;
    assert_eq!(answered.json().as_array().unwrap().len(), 2);
    let records = world.records();
    let of = |outcome: &str| records.iter().filter(|record| record["outcome"] == outcome).count();
    assert_eq!(of("allowed"), 2, "{records:?}");
    let ended: Vec<_> = records.iter().filter(|record| record["kind"] == "call.ended").collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|ended| ended["how"] == "beside_refused"), "{ended:?}");
    assert!(records.iter().all(|record| record["reason"] != "beside_refused"), "{records:?}");
}

/// Does something when a notification arrives, and answers as usual.
fn at_the_notification(world: &World, then: impl Fn(&Gateway) + Send + Sync + 'static) {
    let gateway = world.gateway.clone();
    world.upstream.answers(move |seen| {
        if request_id(seen).is_none() {
            then(&gateway);
        }
        upstream(seen)
    });
}

fn fed(update: &Update) -> impl Fn(&Gateway) + Send + Sync + use<> {
    let update = serde_json::to_vec(update).unwrap();
    move |gateway| gateway.feed(&update).unwrap()
}

type News<'a> = &'a dyn Fn(&World) -> Update;

#[tokio::test]
async fn pc_45_what_ends_while_a_batch_is_told_ends_what_of_it_was_not_sent() {
    let revoked = |world: &World| {
        let until = world.now() + Duration::from_mins(15);
        let all = Revocation { target: RevokedTarget::All, at: world.now(), until };
        Update::Revoked { number: world.snapshot.number, revocations: vec![all], as_of: world.now() }
    };
    let tightened = |world: &World| {
        let mut snapshot = world.snapshot.clone();
        snapshot.number += 1;
        snapshot.agents.clear();
        Update::Full { snapshot: Box::new(snapshot), revocations: vec![], as_of: world.now() }
    };
    let of_all: [(News<'_>, u16, i64, &str); 2] =
        [(&revoked, 401, -31401, "token_revoked"), (&tightened, 403, -31403, "beyond_agent")];
    for (news, status, code, reason) in of_all {
        let world = world().await;
        at_the_notification(&world, fed(&news(&world)));
        let other = CALL.replace(r#""id":1"#, r#""id":9"#);
        let (answered, sent) = sent(&world, batch(&world.token(), &[CALL, NOTE, &other])).await;
        assert_eq!((answered.status.as_u16(), sent), (status, 1), "{}", answered.text());
        for id in [value!(1), value!(9)] {
            assert_eq!(by_id(&answered.json(), &id)["error"]["code"], code);
        }
        let records = world.records();
        assert!(
            records.iter().all(|record| record["outcome"] != "refused"),
            "they were allowed when they came"
        );
        let ended = records.iter().filter(|record| record["kind"] == "call.ended");
        let mut ended: Vec<_> = ended.map(|ended| (ended["status"].clone(), ended["how"].clone())).collect();
        assert_eq!(ended.remove(0), (value!(202), value!("answered")));
        assert_eq!(ended, [(value!(status), value!(reason)), (value!(status), value!(reason))]);
    }
}

#[tokio::test]
async fn pc_05_an_assertion_is_of_the_moment_in_which_it_is_shown() {
    let world = World::with(|settings| settings.max_staleness = Duration::from_hours(1), |_| ()).await;
    let clock = Arc::clone(&world.clock);
    at_the_notification(&world, move |_| {
        clock.fetch_add(70, Ordering::SeqCst);
    });
    assert_eq!(sent(&world, batch(&world.token(), &[NOTE, CALL])).await.1, 2);
    let made = |seen: &Seen| {
        let assertion = seen.headers["authorization"].to_str().unwrap();
        let payload = assertion.split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        claims["iat"].as_i64().unwrap()
    };
    let seen = world.upstream.newest(2);
    assert_eq!(made(&seen[1]) - made(&seen[0]), 70);
}

#[tokio::test]
async fn rpc_09_a_program_gets_each_message_on_its_line() {
    const SCRIPT: &str = r#"while read -r line; do
        id=${line#*\"id\":}
        case "$line" in
            *initialize\"*) printf '{"jsonrpc":"2.0","id":7,"result":{}}\n' ;;
            \[*) printf 'never\n' ;;
            *\"id\"*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"list_notes"},{"name":"wipe"}]}}\n' "${id%%,*}" ;;
        esac
    done"#;
    let world = World::with(
        |settings| {
            let run = ["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec();
            settings.programs.insert("p".into(), Program { run, ..Program::default() });
        },
        |snapshot| {
            snapshot.servers[0].placement = Placement::Gateway {
                upstream: Upstream::Command("p".into()),
                credential: UpstreamCredential::Assertion,
                tls: portcullis_domain::registry::UpstreamTls::default(),
            };
        },
    )
    .await;
    let token = world.token();
    let begun = world.send(old(&token, INITIALIZE)).await;
    assert_eq!(begun.status, 200, "{}", begun.text());
    let session = begun.header("mcp-session-id").to_owned();
    let list = LIST.replace("l\\u0069st", "list");
    let ask = batch(&token, &[NOTE, CALL, &list]).header("mcp-session-id", &session);
    let answered = world.send(ask.clone()).await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    let answers = answered.json();
    assert!(by_id(&answers, &value!(1))["result"].is_object());
    assert_eq!(by_id(&answers, &value!("list"))["result"]["tools"], value!([{ "name": "list_notes" }]));
    world.refused(ask.clone().body(format!("[{CALL},{WIPE}]")), 403).await;
    world.refused(ask.without("mcp-session-id"), 400).await;
    let later = legacy(&token, &format!("[{CALL}]")).header("mcp-session-id", &session);
    world.refused(later, 400).await;
    world.gateway.shutdown(Duration::from_secs(3)).await;
}
