//! Upstreams that are programs, through the gateway: the same checks, the same filter, sessions tied alike.

use crate::world::{META, World, legacy, request, tool};
use portcullis_domain::registry::{Placement, Upstream, UpstreamCredential};
use portcullis_gateway::Program;

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
    let command = command.to_owned();
    World::with(
        |settings| {
            for (name, script) in
                [("notes-local", SCRIPT), ("notes-refusing", REFUSING), ("notes-long", LONG)]
            {
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
    world.gateway.shutdown(std::time::Duration::from_secs(3)).await;
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
    world.gateway.shutdown(std::time::Duration::from_secs(3)).await;
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
    world.gateway.shutdown(std::time::Duration::from_secs(3)).await;
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
    world.gateway.shutdown(std::time::Duration::from_secs(3)).await;
}
