//! Upstreams that are programs, through the gateway: the same checks, the same filter, sessions tied alike.

use crate::world::{META, World, legacy, request, tool};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::{Placement, Upstream, UpstreamCredential};
use portcullis_gateway::Program;
use std::time::Duration;

/// Answers every line with a list, under the id 1, and says for whom it runs.
const SCRIPT: &str = r#"while read -r line; do
    printf '{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"list_notes"},{"name":"wipe"}]}}\n'
done"#;

/// Begins sessions, and refuses everything else: calls for a capability of the client, the rest as not there.
const REFUSING: &str = r#"while read -r line; do
    case "$line" in
        *initialize*) answer='"result":{}' ;;
        *tools/call*) answer='"error":{"code":-32021,"message":"no"}' ;;
        *) answer='"error":{"code":-32601,"message":"no"}' ;;
    esac
    printf '{"jsonrpc":"2.0","id":1,%s}\n' "$answer"
done"#;

/// Answers every call at length.
const LONG: &str = r#"while read -r line; do
    printf '{"jsonrpc":"2.0","id":1,"result":{"text":"%0100000d"}}\n' 0
done"#;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

async fn world(command: &str) -> World {
    running(command, &[("notes-local", SCRIPT), ("notes-refusing", REFUSING), ("notes-long", LONG)]).await
}

/// `notes` is one of these programs.
async fn running(command: &str, scripts: &[(&str, &str)]) -> World {
    let command = command.to_owned();
    World::with(
        |settings| {
            for &(name, script) in scripts {
                let run = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
                let program = Program { run, ..Program::default() };
                settings.programs.insert(name.into(), program);
            }
        },
        move |snapshot| {
            snapshot.servers[0].placement = Placement::Gateway {
                upstream: Upstream::Command(command),
                credential: UpstreamCredential::Assertion,
                tls: portcullis_domain::registry::UpstreamTls::default(),
            };
        },
    )
    .await
}

#[tokio::test]
async fn pc_02_a_program_behind_the_gateway_needs_a_token_like_any_server() {
    let world = world("notes-local").await;
    let token = world.token();
    assert_eq!(world.send(tool(&token, "list_notes")).await.status, 200);
    world.refused(tool(&token, "list_notes").without("authorization"), 401).await;
    world.refused(tool(&token, "wipe"), 403).await;
    let answered = world.send(request(&token, "tools/list", &format!("{{{META}}}"))).await;
    assert_eq!(answered.text(), r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"list_notes"}]}}"#);
    world.gateway.shutdown(Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_session_of_a_program_is_its_principals() {
    let world = world("notes-local").await;
    let token = world.token();
    let begun = world.send(legacy(&token, INITIALIZE)).await;
    assert_eq!(begun.status, 200);
    let session = begun.header("mcp-session-id");
    assert!(session.len() >= 32);
    let list = |token: &str| legacy(token, LIST).header("mcp-session-id", session);
    let answered = world.send(list(&token)).await;
    assert!(answered.status == 200 && !answered.text().contains("wipe"), "{}", answered.text());
    world.refused(list(&world.user_token("notes:read")), 404).await;
    world.refused(legacy(&token, LIST), 400).await;
    assert_eq!(world.send(list(&token).verb("DELETE")).await.status, 204);
    world.refused(list(&token), 404).await;
    world.gateway.shutdown(Duration::from_secs(3)).await;
}

#[tokio::test]
async fn errors_of_a_program_have_the_status_that_2026_07_28_wants() {
    let world = world("notes-refusing").await;
    let token = world.token();
    let answered = world.send(request(&token, "ping", &format!("{{{META}}}"))).await;
    assert_eq!((answered.status.as_u16(), answered.code()), (404, -32601));
    let answered = world.send(tool(&token, "list_notes")).await;
    assert_eq!((answered.status.as_u16(), answered.code()), (400, -32021));
    let begun = world.send(legacy(&token, INITIALIZE)).await;
    let ask = legacy(&token, LIST).header("mcp-session-id", begun.header("mcp-session-id"));
    let answered = world.send(ask).await;
    assert_eq!((answered.status.as_u16(), answered.code()), (200, -32601), "404 would end the session");
    world.gateway.shutdown(Duration::from_secs(3)).await;
}

#[tokio::test]
async fn ups_08_only_the_machines_own_table_names_programs() {
    let world = world("/bin/sh").await;
    let answered = world.refused(tool(&world.token(), "list_notes"), 502).await;
    assert!(answered.text().contains("server notes"));
}

#[tokio::test]
async fn dos_05_what_a_program_says_at_length_has_its_room_until_it_is_taken() {
    let world = world("notes-long").await;
    let response = world.open(tool(&world.token(), "list_notes")).await;
    assert_eq!(response.status(), 200);
    let figures = world.gateway.figures();
    assert!(figures.room_taken > 100_000, "{}", figures.room_taken);
    assert_eq!(figures.calls, 1, "it is still being answered");
    drop(response);
    let figures = world.gateway.figures();
    assert_eq!((figures.room_taken, figures.calls), (0, 0));
    world.gateway.shutdown(Duration::from_secs(3)).await;
}

async fn eventually(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), held).await.unwrap();
}

#[tokio::test]
async fn pc_45_what_ends_while_a_program_reads_nothing_is_not_written() {
    let place = tempfile::tempdir().unwrap();
    let (go, read) = (place.path().join("go"), place.path().join("read"));
    let script = format!(
        r#"while [ ! -e '{}' ]; do sleep 0.02; done
        while read -r line; do
            printf '%.23s\n' "$line" >> '{}'
            case "$line" in *'"id":2'*) id=2 ;; *) id=1 ;; esac
            printf '{{"jsonrpc":"2.0","id":%d,"result":{{}}}}\n' "$id"
        done"#,
        go.display(),
        read.display(),
    );
    let world = running("notes-slow", &[("notes-slow", &script)]).await;
    let token = world.token();
    let call = |id: u8, argument: &str| {
        let params = format!(r#"{{"name":"list_notes","arguments":{{"a":"{argument}"}},{META}}}"#);
        tool(&token, "list_notes")
            .body(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#))
    };
    // More than a pipe holds, so it is not written before the program reads.
    let long = call(1, &"x".repeat(200_000));
    let behind = async {
        eventually(|| world.gateway.figures().programs == 1).await;
        world.send(call(2, "")).await
    };
    let ends = async {
        let is_decided = |record: &serde_json::Value| record["kind"] == "call.decided";
        eventually(|| world.records().iter().filter(|record| is_decided(record)).count() == 2).await;
        // It is on its way to the program then.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let until = world.now() + Duration::from_mins(15);
        world.revoke(Revocation { target: RevokedTarget::All, at: world.now(), until });
        std::fs::write(&go, "").unwrap();
    };
    let (_first, second, ()) = tokio::join!(world.send(long), behind, ends);
    assert_eq!(second.status, 401, "{}", second.text());
    world.gateway.shutdown(Duration::from_secs(3)).await;
    assert_eq!(std::fs::read_to_string(&read).unwrap(), "{\"jsonrpc\":\"2.0\",\"id\":1\n");
}
