//! Streams: passed on as they come, and ended when they must.

use crate::world::{META, NOW, World, claims, json, legacy, request, respond, tool};
use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use http::Response;
use portcullis_domain::condition::Forbid;
use portcullis_domain::id::{TokenId, UserId};
use portcullis_domain::pins::{Definition, Pin, Pins};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::snapshot::Snapshot;
use portcullis_oauth::jwk::JwkSet;
use portcullis_oauth::jwt::SigningKey;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

type Tap = mpsc::UnboundedSender<&'static str>;

/// Something that an upstream says before its answer, as an event.
const ONE: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":1}}\n\n";
const TWO: &str =
    "id: 7\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":2}}\r\n\r\n";

/// The answer to the request of every test here.
const DONE: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";

/// An upstream that answers with a stream which the test writes.
fn tapped(world: &World) -> Tap {
    let (tap, water) = mpsc::unbounded_channel::<&'static str>();
    let water = Mutex::new(Some(water));
    world.upstream.answers(move |_| {
        let water = water.lock().unwrap().take().expect("one stream per test");
        let chunks = futures_util::stream::unfold(water, |mut water| async move {
            let chunk = water.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(chunk)), water))
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from_stream(chunks))
            .unwrap()
    });
    tap
}

struct Reader(axum::body::BodyDataStream);

impl Reader {
    /// The next bytes; `None` at the end. Fails when nothing comes.
    async fn next(&mut self) -> Option<String> {
        let chunk =
            tokio::time::timeout(Duration::from_secs(10), self.0.next()).await.expect("nothing came")?;
        Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    }
}

async fn listen(world: &World, token: &str) -> (Tap, Reader) {
    let tap = tapped(world);
    let params = format!(r#"{{"notifications":{{"toolsListChanged":true}},{META}}}"#);
    let response = world.open(request(token, "subscriptions/listen", &params)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut reader = Reader(response.into_body().into_data_stream());
    tap.send(ONE).unwrap();
    assert_eq!(reader.next().await.unwrap(), ONE);
    (tap, reader)
}

/// The last line about a call.
fn newest_record(world: &World) -> serde_json::Value {
    world.records().into_iter().rfind(|record| record["kind"].is_string()).unwrap()
}

async fn answering(world: &World) -> (Tap, Reader) {
    let tap = tapped(world);
    let response = world.open(tool(&world.token(), "list_notes")).await;
    (tap, Reader(response.into_body().into_data_stream()))
}

#[tokio::test]
async fn events_are_passed_on_one_by_one_and_whole() {
    let world = World::new().await;
    let (tap, mut reader) = answering(&world).await;
    let (first, second) = ONE.split_at(20);
    tap.send(first).unwrap();
    tap.send(second).unwrap();
    assert_eq!(reader.next().await.unwrap(), ONE);
    tap.send(TWO).unwrap();
    tap.send(DONE).unwrap();
    tap.send("data: half").unwrap();
    assert_eq!(reader.next().await.unwrap(), TWO);
    assert_eq!(reader.next().await.unwrap(), DONE);
    drop(tap);
    assert_eq!(reader.next().await, None, "half an event is none");
}

#[tokio::test]
async fn strm_06_ups_03_what_nobody_asked_for_is_left_out() {
    let world = World::new().await;
    let (tap, mut reader) = answering(&world).await;
    for unasked in [
        "data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"of\":\"somebody else\"}}\n\n",
        "data: {\"jsonrpc\":\"2.0\",\"id\":\"s\",\"method\":\"sampling/createMessage\",\"params\":{}}\n\n",
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":9}}}\n\n",
        "event: endpoint\ndata: /elsewhere\n\n",
        "data: no JSON\n\n",
    ] {
        tap.send(unasked).unwrap();
    }
    tap.send(": a comment\n\n").unwrap();
    tap.send(DONE).unwrap();
    tap.send(DONE).unwrap();
    assert_eq!(reader.next().await.unwrap(), ": a comment\n\n");
    assert_eq!(reader.next().await.unwrap(), DONE);
    drop(tap);
    assert_eq!(reader.next().await, None);
    drop(reader);
    let ended = newest_record(&world);
    let stream = &ended["stream"];
    assert_eq!(
        (&stream["how"], &stream["events"], &stream["left_out"]),
        (&"complete".into(), &2.into(), &6.into())
    );
}

#[tokio::test]
async fn ups_03_an_upstream_that_never_ends_after_its_answer_is_left() {
    let world = World::new().await;
    let (tap, mut reader) = answering(&world).await;
    tap.send(DONE).unwrap();
    assert_eq!(reader.next().await.unwrap(), DONE);
    assert_eq!(reader.next().await, None);
    drop(tap);
}

#[tokio::test]
async fn ups_03_an_upstream_that_ends_without_an_answer_is_said_to_have() {
    let world = World::new().await;
    let (tap, mut reader) = answering(&world).await;
    tap.send(ONE).unwrap();
    assert_eq!(reader.next().await.unwrap(), ONE);
    drop(tap);
    let last = reader.next().await.unwrap();
    assert!(last.contains("-31502") && last.contains(r#""id":1"#), "{last}");
    assert_eq!(reader.next().await, None);
    let figures = world.gateway.figures();
    assert_eq!(figures.servers["notes"].streams_ended["upstream_never_answered"], 1);
}

/// A tool call within a session, answered by a stream that the test writes.
async fn in_session(world: &World, token: &str) -> (Tap, Reader) {
    in_session_with(world, token, "").await
}

/// The same with `arguments`, if there are any.
async fn in_session_with(world: &World, token: &str, arguments: &str) -> (Tap, Reader) {
    let begin = legacy(
        token,
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
    );
    world.upstream.answers(|_| {
        let mut answer = json(200, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
        answer.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
        answer
    });
    world.served(begin).await;
    let tap = tapped(world);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"list_notes"{arguments}}}}}"#
    );
    let response = world.open(legacy(token, &call).header("mcp-session-id", "s-1")).await;
    (tap, Reader(response.into_body().into_data_stream()))
}

#[tokio::test]
async fn strm_01_a_stream_that_can_be_gone_on_with_ends_without_a_word_when_the_token_does() {
    let world = World::new().await;
    let token = world.sign(|claims| claims.exp = claims.iat + Duration::from_secs(1));
    let (tap, mut reader) = in_session(&world, &token).await;
    tap.send(TWO).unwrap();
    assert_eq!(reader.next().await.unwrap(), TWO);
    world.advance(Duration::from_secs(31));
    world.feed_snapshot(&world.snapshot);
    tap.send(DONE).unwrap();
    assert_eq!(reader.next().await, None, "clients go on by Last-Event-ID, with a new token");
    let resuming = |token: &str| {
        legacy(token, "").verb("GET").header("mcp-session-id", "s-1").header("last-event-id", "7")
    };
    world.refused(resuming(&token), 401).await;
    world.refused(resuming(&world.user_token("notes:read")), 404).await;
    world.refused(resuming(&world.token()).without("mcp-session-id"), 400).await;
    let told_again = format!("{DONE}{ONE}");
    world.upstream.answers(move |_| respond(200, "text/event-stream", &told_again));
    let answered = world.served(resuming(&world.token())).await;
    assert_eq!(world.upstream.last().headers["last-event-id"], "7");
    assert!(answered.text().contains(r#""id":1"#), "what was missed is told again, answers too");
}

/// Goes on with the stream of `in_session` after the event 7.
async fn gone_on_with(world: &World, token: &str) -> String {
    let told_again = format!("{DONE}{ONE}");
    world.upstream.answers(move |_| respond(200, "text/event-stream", &told_again));
    let ask = legacy(token, "").verb("GET").header("mcp-session-id", "s-1").header("last-event-id", "7");
    world.served(ask).await.text()
}

#[tokio::test]
async fn pc_45_an_answer_that_is_told_again_is_decided_about_again() {
    type Change = fn(&mut Snapshot);
    let changes: [(&str, Change); 3] = [
        ("a rule", |snapshot| snapshot.servers[0].rules[0].tools.clear()),
        ("a condition", |snapshot| {
            let when = serde_json::from_str(r#"{"inside":"08:00-09:00 UTC"}"#).unwrap();
            let tools = vec!["list_*".to_owned()];
            snapshot.forbids = vec![Forbid { name: "not now".to_owned(), tools, when, ..Forbid::default() }];
        }),
        ("a pin", |snapshot| {
            let other = Definition::read(r#"{"name":"create_note"}"#).unwrap();
            let pin = Pin { digest: other.digest(), approval: 1, held: false };
            snapshot.pins.insert(snapshot.servers[0].id, Pins::from([("create_note".to_owned(), pin)]));
        }),
    ];
    for (what, change) in changes {
        let world = World::new().await;
        let token = world.token();
        let (tap, mut reader) = in_session(&world, &token).await;
        tap.send(TWO).unwrap();
        assert_eq!(reader.next().await.unwrap(), TWO);
        // The caller loses the connection, goes on, and gets its answer.
        drop((tap, reader));
        let text = gone_on_with(&world, &token).await;
        assert!(text.contains("result") && text.contains("notifications/message"), "{what}: {text}");
        let mut today = world.snapshot.clone();
        today.number += 1;
        change(&mut today);
        world.feed_snapshot(&today);
        let text = gone_on_with(&world, &token).await;
        assert!(!text.contains("result"), "{what}: {text}");
        assert!(
            text.contains("-31401") && text.contains(r#""id":1"#),
            "{what}: nobody waits for ever: {text}"
        );
        assert!(text.contains("notifications/message"), "{what}: {text}");
    }
}

#[tokio::test]
async fn pc_45_an_answer_to_what_is_not_remembered_is_an_error() {
    let world = World::new().await;
    let token = world.token();
    let (tap, mut reader) = in_session(&world, &token).await;
    // No event has an id: nobody can go on from here, whatever they say.
    tap.send(ONE).unwrap();
    assert_eq!(reader.next().await.unwrap(), ONE);
    drop((tap, reader));
    let text = gone_on_with(&world, &token).await;
    assert!(!text.contains("result") && text.contains("notifications/message"), "{text}");
    assert!(text.contains("-31503") && text.contains(r#""id":1"#), "nobody waits for ever: {text}");
    let stream = &newest_record(&world)["stream"];
    assert_eq!((&stream["events"], &stream["left_out"]), (&2.into(), &0.into()));
}

#[tokio::test]
async fn pc_45_what_was_asked_in_a_session_that_ended_is_forgotten() {
    let world = World::new().await;
    let token = world.token();
    let (tap, mut reader) = in_session(&world, &token).await;
    tap.send(TWO).unwrap();
    assert_eq!(reader.next().await.unwrap(), TWO);
    drop((tap, reader));
    assert!(gone_on_with(&world, &token).await.contains("result"));
    world.upstream.answers(|_| respond(204, "text/plain", ""));
    let delete = legacy(&token, "").verb("DELETE").header("mcp-session-id", "s-1");
    assert_eq!(world.send(delete).await.status, 204);
    // Another session, to which the upstream gives the same name.
    drop(in_session(&world, &token).await);
    let text = gone_on_with(&world, &token).await;
    assert!(!text.contains("result") && text.contains("-31503"), "{text}");
}

#[tokio::test]
async fn pc_24_an_answer_that_is_told_again_is_judged_by_the_arguments_of_its_call() {
    let forbid = |only: &str| {
        let when = serde_json::from_str(&format!(r#"{{"argument_outside":{{"path":"{only}"}}}}"#)).unwrap();
        let tools = vec!["list_notes".to_owned()];
        vec![Forbid { name: "outside".to_owned(), tools, when, ..Forbid::default() }]
    };
    let world = World::with(|_| (), |snapshot| snapshot.forbids = forbid("/srv/*")).await;
    let token = world.token();
    let (tap, mut reader) = in_session_with(&world, &token, r#","arguments":{"path":"/srv/a"}"#).await;
    tap.send(TWO).unwrap();
    assert_eq!(reader.next().await.unwrap(), TWO);
    drop((tap, reader));
    for (only, is_told) in [("/srv/*", true), ("/home/*", false), ("/srv/a", true)] {
        let mut changed = world.snapshot.clone();
        changed.forbids = forbid(only);
        world.feed_snapshot(&changed);
        let text = gone_on_with(&world, &token).await;
        assert_eq!(text.contains("result"), is_told, "{only}: {text}");
    }
}

#[tokio::test]
async fn strm_02_a_stream_that_can_be_gone_on_with_has_a_last_word_when_the_token_is_revoked() {
    let world = World::new().await;
    let (tap, mut reader) = in_session(&world, &world.token()).await;
    tap.send(TWO).unwrap();
    assert_eq!(reader.next().await.unwrap(), TWO);
    let until = world.now() + Duration::from_mins(15);
    world.revoke(Revocation { target: RevokedTarget::All, at: world.now(), until });
    assert!(reader.next().await.unwrap().contains("-31401"));
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn strm_06_a_get_stream_carries_no_answers_unless_it_tells_again() {
    let world = World::new().await;
    let token = world.token();
    drop(in_session(&world, &token).await);
    let all = format!("{DONE}{ONE}");
    world.upstream.answers(move |_| respond(200, "text/event-stream", &all));
    let get = legacy(&token, "").verb("GET").header("mcp-session-id", "s-1");
    let answered = world.served(get).await;
    assert!(!answered.text().contains("result") && answered.text().contains("notifications/message"));
}

#[tokio::test]
async fn pc_50_the_end_of_a_stream_is_in_the_record() {
    let world = World::new().await;
    let (tap, reader) = listen(&world, &world.token()).await;
    let decided = newest_record(&world);
    assert_eq!(decided["kind"], "call.decided", "an open stream is under way");
    assert_eq!(world.gateway.figures().servers["notes"].streams, 1);
    drop(reader);
    let ended = newest_record(&world);
    assert_eq!(ended["call"], decided["call"]);
    assert_eq!((&ended["status"], &ended["how"]), (&200.into(), &"answered".into()));
    assert_eq!(ended["stream"]["how"], "caller_left");
    assert_eq!((&ended["stream"]["events"], &ended["stream"]["bytes"]), (&1.into(), &ONE.len().into()));
    assert_eq!(world.gateway.figures().servers["notes"].streams, 0);
    drop(tap);
    let (_tap, mut reader) = listen(&world, &world.token()).await;
    let until = world.now() + Duration::from_mins(15);
    world.revoke(Revocation { target: RevokedTarget::All, at: world.now(), until });
    while reader.next().await.is_some() {}
    assert_eq!(newest_record(&world)["stream"]["how"], "revoked");
}

#[tokio::test]
async fn strm_03_a_gateway_without_news_ends_streams_and_says_why() {
    let world = World::new().await;
    let (tap, mut reader) = listen(&world, &world.token()).await;
    world.advance(Duration::from_secs(31));
    tap.send(ONE).unwrap();
    let last = reader.next().await.unwrap();
    assert!(last.contains("-31503") && last.contains("news"), "{last}");
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn strm_02_revocation_ends_a_stream() {
    let world = World::new().await;
    let (_tap, mut reader) = listen(&world, &world.token()).await;
    let revocation = |byte| Revocation {
        target: RevokedTarget::Token(TokenId::from_bytes([byte; 16])),
        at: world.now(),
        until: world.now() + Duration::from_mins(15),
    };
    world.revoke(revocation(9));
    world.revoke(revocation(3));
    let last = reader.next().await.unwrap();
    assert!(last.contains("-31401") && last.contains(r#""id":1"#), "{last}");
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn strm_02_each_kind_of_revocation_ends_a_stream() {
    let claims = claims(NOW);
    let client = claims.client_id.clone();
    for target in [
        RevokedTarget::All,
        RevokedTarget::Client(client),
        RevokedTarget::Session(claims.sid.parse().unwrap()),
    ] {
        let world = World::new().await;
        let (_tap, mut reader) = listen(&world, &world.token()).await;
        let until = world.now() + Duration::from_mins(15);
        world.revoke(Revocation { target: target.clone(), at: world.now(), until });
        let last = reader.next().await.unwrap();
        assert!(last.contains("-31401"), "{target:?}: {last}");
        assert_eq!(reader.next().await, None, "{target:?}");
    }
}

#[tokio::test]
async fn strm_02_an_answer_of_the_same_second_ends_at_news_all_the_same() {
    let world = World::new().await;
    let revoke = |world: &World| {
        let until = world.now() + Duration::from_mins(15);
        world.revoke(Revocation { target: RevokedTarget::All, at: world.now(), until });
    };
    for (says, news) in [("-31401", revoke as fn(&World)), ("-31503", |world: &World| world.gateway.forget())]
    {
        world.feed_snapshot(&world.snapshot);
        let (tap, mut reader) = answering(&world).await;
        news(&world);
        tap.send(DONE).unwrap();
        let last = reader.next().await.unwrap();
        assert!(last.contains(says), "{last}");
        assert_eq!(reader.next().await, None);
        world.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn strm_01_the_end_of_an_agent_is_the_end_of_its_answer() {
    let world =
        World::with(|_| (), |snapshot| snapshot.agents[0].expires_at = Some(NOW + Duration::from_secs(5)))
            .await;
    let (tap, mut reader) = answering(&world).await;
    world.advance(Duration::from_secs(4));
    tap.send(TWO).unwrap();
    assert!(reader.next().await.unwrap().contains(r#""n":2"#));
    world.advance(Duration::from_secs(1));
    tap.send(DONE).unwrap();
    let last = reader.next().await.unwrap();
    assert!(last.contains("-31401"), "{last}");
}

#[tokio::test]
async fn strm_03_a_tightened_policy_ends_a_stream() {
    let world = World::new().await;
    let (_tap, mut reader) = listen(&world, &world.token()).await;
    let mut tightened = world.snapshot.clone();
    tightened.number += 1;
    world.feed_snapshot(&tightened);
    tightened.number += 1;
    tightened.agents[0].access.clear();
    world.feed_snapshot(&tightened);
    assert!(reader.next().await.unwrap().contains("-31401"));
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn strm_01_the_end_of_the_token_is_the_end_of_the_stream() {
    let world = World::new().await;
    let token = world.sign(|claims| claims.exp = claims.iat + Duration::from_secs(1));
    let (tap, mut reader) = listen(&world, &token).await;
    world.advance(Duration::from_secs(30));
    tap.send(TWO).unwrap();
    assert!(reader.next().await.unwrap().contains(r#""n":2"#), "within the leeway");
    world.advance(Duration::from_secs(1));
    world.feed_snapshot(&world.snapshot);
    tap.send(ONE).unwrap();
    let last = reader.next().await.unwrap();
    assert!(last.contains(r#""resultType":"complete""#), "clients begin it anew: {last}");
    assert_eq!(reader.next().await, None);
    let token = world.sign(|claims| claims.exp = claims.iat + Duration::from_secs(1));
    let tap = tapped(&world);
    let response = world.open(tool(&token, "list_notes")).await;
    let mut reader = Reader(response.into_body().into_data_stream());
    world.advance(Duration::from_secs(31));
    world.feed_snapshot(&world.snapshot);
    tap.send(DONE).unwrap();
    let last = reader.next().await.unwrap();
    assert!(last.contains("-31401") && last.contains(r#""id":1"#), "{last}");
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn pc_24_the_end_of_a_window_of_time_is_the_end_of_the_stream() {
    // The world begins at 08:00 in UTC, and what it knows stays fresh long enough to be of no help here.
    let hours = serde_json::from_str(r#"{"outside":"07:00-08:01 UTC"}"#).unwrap();
    let forbid = Forbid { name: "closed".to_owned(), when: hours, ..Forbid::default() };
    let world = World::with(
        |settings| settings.max_staleness = Duration::from_hours(1),
        |snapshot| snapshot.forbids = vec![forbid],
    )
    .await;
    world.advance(Duration::from_secs(59));
    let token = world.sign(|claims| claims.exp = claims.iat + Duration::from_mins(15));
    let (_tap, mut reader) = listen(&world, &token).await;
    let mut last = Box::pin(reader.next());
    tokio::select! {
        biased;
        early = &mut last => panic!("{early:?}"),
        () = std::future::ready(()) => {}
    }
    world.advance(Duration::from_secs(1));
    assert!(last.await.unwrap().contains("-31401"));
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn strm_09_a_new_key_cuts_no_stream_and_a_removed_one_cuts_those_of_its_tokens() {
    let world = World::new().await;
    let (tap, mut reader) = listen(&world, &world.token()).await;
    let second = SigningKey::generate_pkcs8().unwrap();
    let second = SigningKey::public_jwk("k2", &second).unwrap();
    let mut rotated = world.snapshot.clone();
    let first = rotated.keys.keys[0].clone();
    // One is added, they change places, the first is no more.
    for keys in [vec![first.clone(), second.clone()], vec![second.clone(), first]] {
        rotated.number += 1;
        rotated.keys = JwkSet { keys };
        world.feed_snapshot(&rotated);
        tap.send(TWO).unwrap();
        assert!(reader.next().await.unwrap().contains(r#""n":2"#), "it goes on");
    }
    rotated.number += 1;
    rotated.keys = JwkSet { keys: vec![second] };
    world.feed_snapshot(&rotated);
    let last = reader.next().await.unwrap();
    assert!(last.contains("-31401"), "{last}");
    assert_eq!(reader.next().await, None);
    assert_eq!(newest_record(&world)["stream"]["how"], "revoked");
}

#[tokio::test]
async fn strm_02_revocation_of_a_person_ends_their_streams_and_no_others() {
    let world = World::new().await;
    let person = world.user_token("notes:read");
    let (_tap, mut reader) = listen(&world, &person).await;
    let until = world.now() + Duration::from_mins(15);
    world.revoke(Revocation {
        target: RevokedTarget::User(UserId::from_bytes([7; 16])),
        at: world.now(),
        until,
    });
    assert!(reader.next().await.unwrap().contains("-31401"));
    assert_eq!(reader.next().await, None);
    // The agent is somebody else.
    let (tap, mut reader) = listen(&world, &world.token()).await;
    tap.send(TWO).unwrap();
    assert!(reader.next().await.unwrap().contains(r#""n":2"#));
}

#[tokio::test]
async fn shutdown_tells_open_streams_and_waits_for_answers() {
    let world = World::new().await;
    let (_tap, mut listening) = listen(&world, &world.token()).await;
    let tap = tapped(&world);
    let response = world.open(tool(&world.token(), "list_notes")).await;
    let mut answering = Reader(response.into_body().into_data_stream());
    let gateway = world.gateway.clone();
    let closing = tokio::spawn(async move { gateway.shutdown(Duration::from_secs(30)).await });
    let last = listening.next().await.unwrap();
    assert!(last.contains(r#""resultType":"complete""#) && last.contains("subscriptionId"), "{last}");
    assert_eq!(listening.next().await, None);
    tap.send(DONE).unwrap();
    assert_eq!(answering.next().await.unwrap(), DONE);
    drop(tap);
    assert_eq!(answering.next().await, None);
    drop((answering, listening));
    closing.await.unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_past_its_deadline() {
    let world = World::new().await;
    let tap = tapped(&world);
    let response = world.open(tool(&world.token(), "list_notes")).await;
    let mut answering = Reader(response.into_body().into_data_stream());
    tap.send(ONE).unwrap();
    assert_eq!(answering.next().await.unwrap(), ONE);
    let gateway = world.gateway.clone();
    tokio::spawn(async move { gateway.shutdown(Duration::from_millis(30)).await });
    assert!(answering.next().await.unwrap().contains("-31503"));
    assert_eq!(answering.next().await, None);
}

#[tokio::test]
async fn strm_08_a_streamed_answer_of_100_mib_never_sits_in_memory() {
    const EVENTS: usize = 1600;
    let world = World::new().await;
    let event = Bytes::from(ONE.replace(":1}", &format!(r#":"{}"}}"#, "x".repeat(64 * 1024))));
    let sent = Arc::new(AtomicUsize::new(0));
    let (counted, each) = (Arc::clone(&sent), event.clone());
    world.upstream.answers(move |_| {
        let (counted, each) = (Arc::clone(&counted), each.clone());
        let events = (0..EVENTS).map(move |_| {
            counted.fetch_add(each.len(), Ordering::SeqCst);
            Ok::<_, std::convert::Infallible>(each.clone())
        });
        let all = events.chain([Ok(Bytes::from(DONE))]);
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from_stream(futures_util::stream::iter(all)))
            .unwrap()
    });
    let response = world.open(tool(&world.token(), "list_notes")).await;
    let mut body = response.into_body().into_data_stream();
    let (mut taken, mut ahead) = (0, 0);
    while let Some(chunk) = body.next().await {
        taken += chunk.unwrap().len();
        ahead = ahead.max(sent.load(Ordering::SeqCst).saturating_sub(taken));
    }
    assert_eq!(taken, EVENTS * event.len() + DONE.len());
    // What the kernel buffers, and little more.
    assert!(ahead < 16 * 1024 * 1024, "the upstream was {ahead} bytes ahead of the reader");
    assert_eq!(world.gateway.figures().room_taken, 0);
}
