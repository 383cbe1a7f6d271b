//! What a gateway recorded comes to the control room once, whatever is killed meanwhile (PC-50).

use super::world::{Far, Room, until};
use http::StatusCode;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The calls of a gateway, as the control room shows them, the newest first.
async fn calls(room: &Room, gateway: &str) -> Vec<Value> {
    let answer = room.operator().get(&format!("/api/v1/calls?gateway={gateway}&limit=500")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json::<Value>()["items"].as_array().unwrap().clone()
}

fn kept(room: &Room) -> PathBuf {
    let folder = room.test.folder.path().join("gateways");
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

fn segments(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|kind| kind == "jsonl"));
    names.sort_unstable();
    names
}

#[tokio::test]
async fn pc_50_calls_at_a_gateway_that_runs_alone_are_found_in_the_control_room() {
    let room = Room::open().await;
    let far = Far::enrolled(&room, "far", None).await;
    let token = room.token("notes").await;
    far.call(&token, "notes", "list_notes").await;
    far.call(&token, "notes", "create_note").await;
    until(async || calls(&room, "far").await.len() == 2).await;
    until(async || calls(&room, "far").await[1]["ended"]["status"] == 200).await;
    let told = calls(&room, "far").await;
    let outcomes: Vec<&Value> = told.iter().map(|call| &call["outcome"]).collect();
    assert_eq!(outcomes, ["refused", "allowed"]);
    assert!(told.iter().all(|call| call["gateway"] == "far" && call["agent"] == "ci-bot"));
    assert!(calls(&room, "near").await.is_empty());
    let all: Value = room.operator().get("/api/v1/calls").await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "among all calls too");
}

#[tokio::test]
async fn pc_50_kill_9_between_bringing_and_cutting_loses_nothing_and_doubles_nothing() {
    let mut room = Room::open().await;
    let far = Far::enrolled(&room, "far", None).await;
    let token = room.token("notes").await;
    for _ in 0..3 {
        assert_eq!(far.call(&token, "notes", "list_notes").await.0, StatusCode::OK);
    }
    until(async || calls(&room, "far").await.len() == 3).await;
    let folder = far.end().await;
    let first = segments(&folder.path().join("spool"));
    assert_eq!(first.len(), 1);

    // Brought and not cut, more than once; and what was never brought.
    let again = Far::on(&room, folder).await;
    until(async || again.lone.gateway.is_fresh()).await;
    assert_eq!(again.call(&token, "notes", "list_notes").await.0, StatusCode::OK);
    until(async || calls(&room, "far").await.len() == 4).await;
    until(async || segments(&again.folder.path().join("spool")).len() == 1).await;
    assert_ne!(segments(&again.folder.path().join("spool")), first, "what is kept there is cut here");
    let folder = again.end().await;
    let spool = folder.path().join("spool");
    for name in segments(&kept(&room)) {
        fs::copy(kept(&room).join(&name), spool.join(&name)).unwrap();
    }
    room.go_away().await;
    let third = Far::on(&room, folder).await;
    assert_eq!(third.call(&token, "notes", "list_notes").await.0, StatusCode::OK, "by what it kept");
    assert!(segments(&third.folder.path().join("spool")).len() >= 3, "nothing is cut that is not kept there");
    room.come_back().await;
    until(async || calls(&room, "far").await.len() == 5).await;
    until(async || segments(&third.folder.path().join("spool")).len() == 1).await;
    let told = calls(&room, "far").await;
    let names: BTreeSet<&str> = told.iter().map(|call| call["call"].as_str().unwrap()).collect();
    assert_eq!((told.len(), names.len()), (5, 5), "each once");
    assert_eq!(room.upstream.count(), 5);
}

#[tokio::test]
async fn pc_50_a_full_record_refuses_calls_when_the_control_room_is_away_for_long() {
    let mut room = Room::open().await;
    let far = Far::enrolled(&room, "far", None).await;
    let token = room.token("notes").await;
    assert_eq!(far.call(&token, "notes", "list_notes").await.0, StatusCode::OK);
    room.go_away().await;
    let spool = far.folder.path().join("spool");
    let bound = far.lone.gateway.figures().spool_limit;
    let full = fs::File::create(spool.join("0000000000.jsonl")).unwrap();
    full.set_len(bound).unwrap();
    let folder = far.end().await;
    let far = Far::on(&room, folder).await;
    let before = room.upstream.count();
    assert_eq!(far.call(&token, "notes", "list_notes").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(room.upstream.count(), before, "nothing goes upstream unrecorded");
    assert!(far.ready().await.1["reasons"].to_string().contains("record of calls is full"));
}
