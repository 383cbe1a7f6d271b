//! Streams: passed on as they come, and ended when they must.

use crate::world::{META, World, claims, request, tool};
use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use http::Response;
use portcullis_domain::condition::Forbid;
use portcullis_domain::id::{TokenId, UserId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

type Tap = mpsc::UnboundedSender<&'static str>;

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
    tap.send("data: {\"n\":1}\n\n").unwrap();
    assert_eq!(reader.next().await.unwrap(), "data: {\"n\":1}\n\n");
    (tap, reader)
}

#[tokio::test]
async fn events_are_passed_on_one_by_one_and_whole() {
    let world = World::new().await;
    let tap = tapped(&world);
    let response = world.open(tool(&world.token(), "list_notes")).await;
    let mut reader = Reader(response.into_body().into_data_stream());
    tap.send("data: {\"n\":").unwrap();
    tap.send("1}\n\nid: 7\r\ndata: 2\r\n\r\ndata: half").unwrap();
    assert_eq!(reader.next().await.unwrap(), "data: {\"n\":1}\n\n");
    assert_eq!(reader.next().await.unwrap(), "id: 7\r\ndata: 2\r\n\r\n");
    drop(tap);
    assert_eq!(reader.next().await, None, "half an event is none");
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
    let claims = claims(crate::world::NOW);
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
    tap.send("data: 2\n\n").unwrap();
    assert_eq!(reader.next().await.unwrap(), "data: 2\n\n", "within the leeway");
    world.advance(Duration::from_secs(1));
    tap.send("data: 3\n\n").unwrap();
    let last = reader.next().await.unwrap();
    assert!(last.contains("-31401") && !last.contains("data: 3"), "{last}");
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
    tap.send("data: 2\n\n").unwrap();
    assert_eq!(reader.next().await.unwrap(), "data: 2\n\n");
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
    tap.send("data: done\n\n").unwrap();
    assert_eq!(answering.next().await.unwrap(), "data: done\n\n");
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
    tap.send("data: 1\n\n").unwrap();
    assert_eq!(answering.next().await.unwrap(), "data: 1\n\n");
    let gateway = world.gateway.clone();
    tokio::spawn(async move { gateway.shutdown(Duration::from_millis(30)).await });
    assert!(answering.next().await.unwrap().contains("-31503"));
    assert_eq!(answering.next().await, None);
}
