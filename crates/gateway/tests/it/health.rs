//! An upstream that cannot be reached: callers are told at once, and it is dialled by one of them at a time.

use crate::world::{World, respond, tool};
use portcullis_domain::registry::{Placement, Upstream};
use portcullis_domain::snapshot::Snapshot;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn at(address: SocketAddr) -> impl FnOnce(&mut Snapshot) {
    move |snapshot| {
        if let Placement::Gateway { upstream, .. } = &mut snapshot.servers[0].placement {
            *upstream = Upstream::Url(format!("http://{address}/mcp"));
        }
    }
}

/// An address of this machine that no other test listens on, and nobody now.
async fn dead(number: u8) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from(([127, 77, 0, number], 0))).await.unwrap();
    listener.local_addr().unwrap()
}

/// Answers each request, and counts connections.
async fn revive(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = [0; 4096];
            let _some = stream.read(&mut read).await;
            let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _written = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
}

#[tokio::test]
async fn dos_09_an_upstream_that_cannot_be_reached_is_not_dialled_by_everybody() {
    let address = dead(1).await;
    let world = World::with(|_| (), at(address)).await;
    let ask = tool(&world.token(), "list_notes");
    for _ in 0..5 {
        let answered = world.refused(ask.clone(), 502).await;
        assert_eq!((answered.code(), answered.header("retry-after")), (-31502, ""));
    }
    assert!(world.gateway.figures().resting["notes"] && !world.gateway.figures().resting["ops"]);
    let answered = world.refused(ask.clone(), 503).await;
    assert_eq!((answered.code(), answered.header("retry-after")), (-31503, "1"));
    assert_eq!(answered.json()["error"]["data"]["retryAfterSeconds"], 1);
    assert!(answered.text().contains("server notes: the upstream cannot be reached: try again in 1 s"));
    revive(address).await;
    world.refused(ask.clone(), 503).await;
    world.advance(Duration::from_secs(1));
    assert_eq!(world.send(ask.clone()).await.status, 200);
    assert!(!world.gateway.figures().resting["notes"]);
    assert_eq!(world.send(ask).await.status, 200);
}

#[tokio::test]
async fn dos_09_a_rest_outlives_changes_of_the_policy_and_ends_with_a_change_of_the_address() {
    let world = World::with(|_| (), at(dead(2).await)).await;
    let ask = tool(&world.token(), "list_notes");
    for _ in 0..5 {
        world.refused(ask.clone(), 502).await;
    }
    let mut changed = world.snapshot.clone();
    changed.number += 1;
    changed.servers[0].title = "Other".into();
    world.feed_snapshot(&changed);
    world.refused(ask.clone(), 503).await;
    changed.number += 1;
    at(world.upstream.address.trim_start_matches("http://").trim_end_matches("/mcp").parse().unwrap())(
        &mut changed,
    );
    world.feed_snapshot(&changed);
    world.served(ask).await;
}

#[tokio::test]
async fn dos_09_what_an_upstream_answers_never_makes_it_rest() {
    let world = World::new().await;
    let ask = tool(&world.token(), "list_notes");
    for status in [400, 401, 404, 429, 500, 503] {
        world.upstream.answers(move |_| respond(status, "text/plain", ""));
        for _ in 0..6 {
            assert_ne!(world.send(ask.clone()).await.header("retry-after"), "1", "{status}");
        }
    }
    assert!(!world.gateway.figures().resting["notes"]);
}

#[tokio::test]
async fn ups_04_an_address_of_cloud_metadata_is_not_dialled_whoever_registered_it() {
    for bad in ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fe80::1]:80", "0.0.0.0:80"] {
        let world = World::with(|_| (), at(bad.parse().unwrap())).await;
        let answered = world.refused(tool(&world.token(), "list_notes"), 502).await;
        assert!(answered.text().contains("is not there") && !answered.text().contains("169"), "{bad}");
    }
}
