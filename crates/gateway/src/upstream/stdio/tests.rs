//! Programs that are really started.

mod lifetime;
mod program;

use super::*;
use crate::settings::Program;
use crate::upstream::contract::CallInfo;
use portcullis_domain::id::{ServerId, SessionId, TokenId};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::{Placement, SecretPlace, Server, Upstream, UpstreamCredential};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use program::{sdk, shell};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::Instant;

/// Patience of the tests with themselves.
const DEADLINE: Duration = Duration::from_secs(20);

fn bounds() -> Bounds {
    Bounds {
        total: 8,
        per_server: 6,
        per_subject: 3,
        idle: Duration::from_mins(10),
        patience: Duration::from_secs(15),
        grace: Duration::from_millis(300),
        line_bytes: 64 * 1024,
        queue_messages: 16,
        queue_bytes: 1024 * 1024,
    }
}

fn known_place() -> SecretPlace {
    "env:KNOWN".parse().unwrap()
}

fn children(bounds: Bounds) -> Children {
    let minted = AtomicUsize::new(0);
    let mint = Arc::new(move || format!("session-{}", minted.fetch_add(1, Ordering::SeqCst)));
    Children::new(
        bounds,
        mint,
        Arc::new(|place| (*place == known_place()).then(|| "kept-elsewhere".to_owned())),
    )
}

fn server() -> Server {
    Server {
        id: ServerId::from_bytes([7; 16]),
        name: "ops".parse().unwrap(),
        title: "Operations".to_owned(),
        canonical_uri: "http://127.0.0.1:8080/mcp/ops".parse().unwrap(),
        placement: Placement::Gateway {
            upstream: Upstream::Command("ops".to_owned()),
            credential: UpstreamCredential::Assertion,
            tls: portcullis_domain::registry::UpstreamTls::default(),
        },
        access_seconds: None,
        labels: Vec::new(),
        owners: vec![],
        observe: false,
        pinning: portcullis_domain::registry::Pinning::default(),
        other_transports: std::collections::BTreeSet::default(),
        limits: portcullis_domain::registry::ServerLimits::default(),
        issuers: portcullis_domain::registry::Issuers::default(),

        default_scopes: ScopeSet::default(),
        scopes: BTreeMap::new(),
        rules: Vec::new(),
    }
}

fn principal(name: &str) -> Principal {
    let client: portcullis_oauth::client::ClientId = name.parse().unwrap();
    Principal {
        subject: Subject::Agent(client.clone()),
        client_id: client,
        session: SessionId::from_bytes([1; 16]),
        token: TokenId::from_bytes([2; 16]),
        scopes: ScopeSet::default(),
        roles: Vec::new(),
        issued_at: Timestamp::from_seconds(0),
        expires_at: Timestamp::from_seconds(900),
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

/// One message of `alice`; the helpers below vary it.
fn message(program: &Program, body: &str) -> StdioRequest {
    let value: Value = serde_json::from_str(body).unwrap();
    let method = value["method"].as_str().unwrap_or_default().to_owned();
    StdioRequest {
        server: Arc::new(server()),
        program: program.clone(),
        principal: principal("alice"),
        session: None,
        stateless: true,
        call: CallInfo {
            is_initialize: method == "initialize",
            is_response: method.is_empty(),
            method,
            id: value.get("id").map(raw),
            progress_token: value["params"]["_meta"].get("progressToken").map(raw),
        },
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn call(program: &Program, id: i64, tool: &str) -> StdioRequest {
    let mut meta = meta();
    meta["progressToken"] = json!(format!("token-{id}"));
    let body = json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": {}, "_meta": meta},
    });
    message(program, &body.to_string())
}

fn plain(program: &Program, id: i64) -> StdioRequest {
    message(
        program,
        &json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "x"}}).to_string(),
    )
}

fn initialize(program: &Program) -> StdioRequest {
    let body = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    });
    StdioRequest { stateless: false, ..message(program, &body.to_string()) }
}

fn within(session: &str, request: StdioRequest) -> StdioRequest {
    StdioRequest { stateless: false, session: Some(session.to_owned()), ..request }
}

fn by(name: &str, request: StdioRequest) -> StdioRequest {
    StdioRequest { principal: principal(name), ..request }
}

/// Everything is still permitted.
struct Always;

impl LastWord for Always {
    type Permit<'p> = ();

    async fn word(&mut self) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Children {
    async fn send(&self, request: StdioRequest) -> Result<StdioAnswer, StdioFailure> {
        self.post(request, &mut Always).await.map_err(|why| match why {
            Unposted::Failed(failure) => failure,
            Unposted::Refused(refusal) => panic!("{refusal:?}"),
        })
    }
}

async fn json_of(children: &Children, request: StdioRequest) -> Value {
    match children.send(request).await.unwrap() {
        StdioAnswer::Json { body, .. } => serde_json::from_slice(&body).unwrap(),
        StdioAnswer::Accepted | StdioAnswer::Events { .. } => panic!("one JSON answer was expected"),
    }
}

async fn text_of(children: &Children, request: StdioRequest) -> String {
    let answer = json_of(children, request).await;
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn events_of(children: &Children, request: StdioRequest) -> BoxStream<'static, Bytes> {
    match children.send(request).await.unwrap() {
        StdioAnswer::Events { stream, .. } => stream,
        StdioAnswer::Accepted | StdioAnswer::Json { .. } => panic!("a stream was expected"),
    }
}

async fn failure_of(children: &Children, request: StdioRequest) -> StdioFailure {
    children.send(request).await.err().expect("a failure was expected")
}

async fn begin(children: &Children, request: StdioRequest) -> String {
    match children.send(request).await.unwrap() {
        StdioAnswer::Json { session, .. } => session.unwrap(),
        StdioAnswer::Accepted | StdioAnswer::Events { .. } => panic!("a session was expected"),
    }
}

fn of_event(event: &Bytes) -> Value {
    let text = str::from_utf8(event).unwrap();
    let data = text.strip_prefix("event: message\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    serde_json::from_str(data).unwrap()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_gone(children: &Children) {
    eventually("every program is gone", async || children.pool.count() == 0).await;
}

async fn written(file: &Path) -> String {
    let mut text = String::new();
    eventually("the program writes its file", async || {
        text = std::fs::read_to_string(file).unwrap_or_default();
        text.ends_with('\n')
    })
    .await;
    text
}

/// A process that is there and not only waits to be forgotten.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn pc_42_a_program_gets_its_secrets_from_where_they_are_or_does_not_start() {
    let children = children(bounds());
    let mut program = sdk();
    program.env_from.insert("NOTES_TOKEN".to_owned(), known_place());
    let environment = text_of(&children, call(&program, 1, "environment")).await;
    assert!(environment.lines().any(|line| line == "NOTES_TOKEN=kept-elsewhere"), "{environment}");
    program.env_from.insert("OTHER".to_owned(), "env:NOT_THERE".parse().unwrap());
    assert_eq!(failure_of(&children, call(&program, 2, "environment")).await, StdioFailure::CannotStart);
}

#[tokio::test]
async fn dos_09_a_program_that_crashes_at_its_start_is_not_started_by_every_caller() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("starts");
    let crashes = format!("echo started >> {}; exit 1", log.display());
    let program = Program { run: vec!["sh".to_owned(), "-c".to_owned(), crashes], ..Program::default() };
    let children = children(bounds());
    for name in ["alice", "bob", "carol"] {
        assert_eq!(failure_of(&children, by(name, plain(&program, 1))).await, StdioFailure::Ended);
    }
    let crowd = (0..50).map(|number| {
        let request = by(&format!("caller{number}"), plain(&program, 1));
        failure_of(&children, request)
    });
    for failure in futures_util::future::join_all(crowd).await {
        assert_eq!(failure, StdioFailure::Resting { seconds: 1 });
    }
    all_gone(&children).await;
    let starts = std::fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(starts, 3, "what a crowd is told costs no process");
}

#[tokio::test]
async fn pc_02_a_program_is_told_whom_it_serves_and_nothing_else() {
    let children = children(bounds());
    let mut program = sdk();
    program.env.insert("PORTCULLIS_SUBJECT".to_owned(), "somebody else".to_owned());
    let environment = text_of(&children, call(&program, 1, "environment")).await;
    let expected = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PORTCULLIS_CLIENT_ID=alice",
        "PORTCULLIS_SERVER=ops",
        "PORTCULLIS_SUBJECT=alice",
    ];
    // The shell and the test harness add these two themselves.
    let own = |line: &&str| !["PWD=", "STDIO_TEST_PROGRAM="].iter().any(|start| line.starts_with(start));
    assert_eq!(environment.lines().filter(own).collect::<Vec<_>>(), expected);
    children.shutdown(DEADLINE).await;
    assert_eq!(children.pool.count(), 0);
}

#[tokio::test]
async fn stdio_one_program_serves_one_principal_without_sessions() {
    let children = children(bounds());
    let program = sdk();
    assert_eq!(text_of(&children, call(&program, 1, "cancelled")).await, "0");
    assert_eq!(text_of(&children, call(&program, 1, "cancelled")).await, "0");
    assert_eq!(children.pool.count(), 1);
    assert_eq!(text_of(&children, by("bob", call(&program, 1, "cancelled"))).await, "0");
    assert_eq!(children.pool.count(), 2);
    children.shutdown(DEADLINE).await;
    assert_eq!(children.pool.count(), 0);
    assert_eq!(failure_of(&children, call(&program, 1, "cancelled")).await, StdioFailure::Ended);
}

#[tokio::test]
async fn stdio_a_session_has_a_program_of_its_own_until_it_ends() {
    let children = children(bounds());
    let program = sdk();
    let one = begin(&children, initialize(&program)).await;
    let two = begin(&children, initialize(&program)).await;
    assert_ne!(one, two);
    assert_eq!(children.pool.count(), 2);
    let initialized = message(&program, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let told = children.send(within(&one, initialized)).await.unwrap();
    assert!(matches!(told, StdioAnswer::Accepted));
    assert_eq!(text_of(&children, within(&one, call(&program, 1, "cancelled"))).await, "0");

    let stranger = by("bob", within(&one, call(&program, 2, "cancelled")));
    assert_eq!(failure_of(&children, stranger).await, StdioFailure::UnknownSession);
    let again = within(&one, initialize(&program));
    assert_eq!(failure_of(&children, again).await, StdioFailure::SessionRequired);
    let mut none = within(&one, call(&program, 2, "cancelled"));
    none.session = None;
    assert_eq!(failure_of(&children, none).await, StdioFailure::SessionRequired);

    assert_eq!(children.end(&one), Ok(()));
    assert_eq!(children.end(&one), Err(StdioFailure::UnknownSession));
    let after = within(&one, call(&program, 3, "cancelled"));
    assert_eq!(failure_of(&children, after).await, StdioFailure::UnknownSession);
    eventually("the session's program is gone", async || children.pool.count() == 1).await;
    assert_eq!(text_of(&children, within(&two, call(&program, 1, "cancelled"))).await, "0");
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_a_refused_initialize_leaves_no_session() {
    let children = children(bounds());
    let refuses =
        shell(&[r#"read -r line; echo '{"jsonrpc":"2.0","id":0,"error":{"code":-1,"message":"no"}}'; cat"#]);
    match children.send(initialize(&refuses)).await.unwrap() {
        StdioAnswer::Json { session, .. } => assert_eq!(session, None),
        StdioAnswer::Accepted | StdioAnswer::Events { .. } => panic!("one JSON answer was expected"),
    }
    all_gone(&children).await;
}

#[tokio::test]
async fn stdio_progress_turns_the_answer_into_a_stream() {
    let children = children(bounds());
    let events: Vec<_> = events_of(&children, call(&sdk(), 5, "steps")).await.collect().await;
    let messages: Vec<_> = events.iter().map(of_event).collect();
    assert_eq!(messages.len(), 4);
    for (at, message) in messages[..3].iter().enumerate() {
        assert_eq!(message["params"]["progressToken"], "token-5");
        assert_eq!(message["params"]["progress"].as_f64(), Some(f64::from(u8::try_from(at).unwrap() + 1)));
    }
    assert_eq!(messages[3]["id"], 5);
    assert_eq!(messages[3]["result"]["content"][0]["text"], "walked");
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_a_subscription_streams_until_its_reader_leaves() {
    let children = children(bounds());
    let program = sdk();
    let listen = json!({
        "jsonrpc": "2.0", "id": "sub", "method": "subscriptions/listen",
        "params": {"notifications": {"toolsListChanged": true}, "_meta": meta()},
    });
    let mut stream = events_of(&children, message(&program, &listen.to_string())).await;
    let acknowledged = of_event(&stream.next().await.unwrap());
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "sub");
    drop(stream);
    assert_eq!(text_of(&children, call(&program, 1, "cancelled")).await, "0");
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_a_caller_that_leaves_cancels_its_request() {
    let children = children(bounds());
    let program = sdk();
    assert_eq!(text_of(&children, call(&program, 1, "cancelled")).await, "0");
    {
        let waiting = children.send(call(&program, 2, "wait"));
        let meanwhile = async {
            assert_eq!(failure_of(&children, call(&program, 2, "wait")).await, StdioFailure::DuplicateId);
            // Answered after the wait began: this program takes messages in order.
            assert_eq!(text_of(&children, call(&program, 3, "cancelled")).await, "0");
        };
        tokio::select! {
            biased;
            _ = waiting => panic!("nobody answers it"),
            () = meanwhile => {}
        }
    }
    let mut id = 10;
    eventually("the program hears of it", async || {
        id += 1;
        text_of(&children, call(&program, id, "cancelled")).await == "1"
    })
    .await;
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn rpc_duplicate_ids_in_flight_are_refused() {
    let children = children(bounds());
    let silent = shell(&["cat >/dev/null"]);
    let first = children.send(plain(&silent, 1));
    tokio::pin!(first);
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(failure_of(&children, plain(&silent, 1)).await, StdioFailure::DuplicateId);
    let mut spelled = plain(&silent, 1);
    spelled.call.id = Some(RawValue::from_string("1.0".to_owned()).unwrap());
    assert_eq!(failure_of(&children, spelled).await, StdioFailure::DuplicateId);
    let mut token = call(&silent, 2, "x");
    let other = children.send(call(&silent, 3, "x"));
    tokio::pin!(other);
    assert!(futures_util::poll!(&mut other).is_pending());
    token.call.progress_token = Some(raw(&json!("token-3")));
    assert_eq!(failure_of(&children, token).await, StdioFailure::DuplicateToken);
    // Another principal's ids are its own affair.
    let bobs = children.send(by("bob", plain(&silent, 1)));
    tokio::pin!(bobs);
    assert!(futures_util::poll!(&mut bobs).is_pending());
    children.shutdown(DEADLINE).await;
    assert_eq!(first.await.err(), Some(StdioFailure::Ended));
}

#[tokio::test]
async fn rpc_ids_that_are_no_ids_are_refused() {
    let children = children(bounds());
    for id in ["null", "true", "[1]", "{}", r#""\ud800""#] {
        let mut request = plain(&shell(&["cat >/dev/null"]), 1);
        request.call.id = Some(RawValue::from_string(id.to_owned()).unwrap());
        assert_eq!(failure_of(&children, request).await, StdioFailure::NotAMessage, "{id}");
    }
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_an_id_that_was_given_up_goes_to_another_program() {
    let children = children(bounds());
    // Answers the first request only after a second one came.
    let late = shell(&[
        r#"read -r a; read -r b; echo '{"jsonrpc":"2.0","id":1,"result":{"late":true}}'; cat >/dev/null"#,
    ]);
    {
        let first = children.send(plain(&late, 1));
        tokio::pin!(first);
        assert!(futures_util::poll!(&mut first).is_pending());
    }
    let again = children.send(plain(&late, 1));
    tokio::pin!(again);
    assert!(futures_util::poll!(&mut again).is_pending());
    // The new program has seen one request, so it answers nothing yet; the late answer of the old one is for nobody.
    assert_eq!(failure_of(&children, plain(&late, 1)).await, StdioFailure::DuplicateId);
    children.shutdown(DEADLINE).await;
    assert_eq!(again.await.err(), Some(StdioFailure::Ended));
}

#[tokio::test]
async fn stdio_the_program_reads_one_line_per_message() {
    let children = children(bounds());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen");
    let script = r#"IFS= read -r line; printf '%s\n' "$line" >"$0"; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; cat >/dev/null"#;
    let records = shell(&[script, file.to_str().unwrap()]);
    let body = "{\r\n \"jsonrpc\":\"2.0\",\n\"id\":1, \"method\":\"x\",\"params\":{\"a\":\"\u{2028}\u{85}é\",\"n\":1.10}\n}";
    json_of(&children, message(&records, body)).await;
    assert_eq!(
        written(&file).await,
        "{   \"jsonrpc\":\"2.0\", \"id\":1, \"method\":\"x\",\"params\":{\"a\":\"\\u2028\\u0085é\",\"n\":1.10} }\n",
    );
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_a_slow_reader_loses_its_stream_only() {
    let children = children(bounds());
    // Floods the progress of request 1, then answers request 2.
    let script = r#"
        read -r a
        i=0; while [ $i -lt 200 ]; do
            echo '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"token-1","progress":1}}'
            i=$((i+1))
        done
        while read -r line; do case "$line" in *'"id":2'*) echo '{"jsonrpc":"2.0","id":2,"result":{}}';; esac; done"#;
    let floods = shell(&[script]);
    let slow = events_of(&children, call(&floods, 1, "x")).await;
    assert!(json_of(&children, call(&floods, 2, "x")).await["result"].is_object());
    let events: Vec<_> = slow.collect().await;
    assert!(events.len() < 100, "{}", events.len());
    let last = of_event(events.last().unwrap());
    assert_eq!(last["id"], 1);
    assert_eq!(last["error"]["message"], "the answer was not read in time");
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_a_session_stream_carries_what_belongs_to_no_request() {
    let children = children(bounds());
    let script = r#"
        read -r a; echo '{"jsonrpc":"2.0","id":0,"result":{}}'
        echo '{"jsonrpc":"2.0","id":"s1","method":"roots/list"}'
        read -r b; printf '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%s}}\n' "$b"; cat"#;
    let program = shell(&[script]);
    let session = begin(&children, initialize(&program)).await;
    let mut stream = children.listen(&session).unwrap();
    let asked = of_event(&stream.next().await.unwrap());
    assert_eq!((&asked["id"], &asked["method"]), (&json!("s1"), &json!("roots/list")));
    let response = message(&program, r#"{"jsonrpc":"2.0","id":"s1","result":{"roots":[]}}"#);
    let told = children.send(within(&session, response)).await.unwrap();
    assert!(matches!(told, StdioAnswer::Accepted));
    let heard = of_event(&stream.next().await.unwrap());
    assert_eq!(heard["params"]["data"]["result"], json!({"roots": []}));
    children.end(&session).unwrap();
    assert!(stream.next().await.is_none());
    all_gone(&children).await;
}
