//! What a gateway hears that listens to a node which itself heard nothing for long.

use super::identity::Keys;
use super::world::{Far, Room, now};
use crate::app::purge;
use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use portcullis_domain::snapshot::Update;
use portcullis_server::gateways::wire::{IDENTITY_TYPE, SNAPSHOT};
use portcullis_server::listener::Answers as _;
use portcullis_server::router::front;
use std::time::Duration;

/// The next line of a stream; each is a piece of its own.
async fn next(body: &mut Body) -> Update {
    let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
    serde_json::from_slice(&piece).unwrap()
}

#[tokio::test]
async fn pc_21_pc_62_a_stream_that_stood_still_for_long_begins_anew() {
    let room = Room::open().await;
    let far = Far::enrolled(&room, "far", None).await;
    let (node, _data) = room.test.another_node(&format!("public_url = {:?}", room.issuer())).await;
    let keys = Keys::of(&far);
    // What it sees of tools is a change too.
    let _folder = far.end().await;
    let token = keys.identity.sign(IDENTITY_TYPE, &keys.claims(&room, SNAPSHOT, now(&room))).unwrap();
    let request = Request::get(format!("{SNAPSHOT}?format=1"))
        .header("host", room.issuer().trim_start_matches("http://"))
        .header("authorization", format!("Bearer {token}"));
    let request = request.body(Body::empty()).unwrap();
    let answer = front(&node, Router::new()).answer(request, None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut told = answer.into_body();
    assert!(matches!(next(&mut told).await, Update::Full { .. }));
    assert!(matches!(next(&mut told).await, Update::Fresh { .. }));

    let fleet = room.fleet().replace("Change notes", "Create notes");
    room.test.apply(&fleet).await.unwrap();
    room.test.advance(Duration::from_mins(61)).await;
    let narrower = fleet.replace("access = { notes = [\"notes:read\"], other", "access = { other");
    assert_ne!(narrower, fleet);
    room.test.apply(&narrower).await.unwrap();
    purge(&room.test.app).await;
    node.clock.advance(Duration::from_mins(61));
    let Update::Full { snapshot, .. } = next(&mut told).await else {
        panic!("a part of what it missed");
    };
    assert!(!snapshot.agents[0].access.contains_key("notes"));
    let notes = snapshot.servers.iter().find(|server| server.name.as_str() == "notes").unwrap();
    assert!(format!("{:?}", notes.scopes).contains("Create notes"), "{:?}", notes.scopes);
    // From then on it is told as before.
    let news = next(&mut told).await;
    assert!(matches!(news, Update::Fresh { .. }), "{news:?}");
}
