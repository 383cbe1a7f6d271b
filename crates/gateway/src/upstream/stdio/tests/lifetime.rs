//! How programs end, and what that does to those who wait.

use super::*;

#[tokio::test]
async fn stdio_garbage_ends_the_program_and_fails_what_waits() {
    let children = children(bounds());
    let noisy = shell(&["read -r line; echo hello; cat >/dev/null"]);
    assert_eq!(failure_of(&children, plain(&noisy, 1)).await, StdioFailure::Garbled);
    all_gone(&children).await;
    let endless = shell(&["head -c 100000 /dev/zero | tr '\\0' x; cat >/dev/null"]);
    assert_eq!(failure_of(&children, by("bob", plain(&endless, 1))).await, StdioFailure::Garbled);
    all_gone(&children).await;
}

#[tokio::test]
async fn stdio_diagnostics_never_block_the_program() {
    let children = children(bounds());
    let script =
        r#"read -r line; head -c 1000000 /dev/zero >&2; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; cat"#;
    assert!(json_of(&children, plain(&shell(&[script]), 1)).await["result"].is_object());
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_a_crash_fails_what_waits_and_the_next_call_starts_another() {
    let children = children(bounds());
    let program = sdk();
    assert_eq!(failure_of(&children, call(&program, 1, "crash")).await, StdioFailure::Ended);
    assert_eq!(text_of(&children, call(&program, 2, "cancelled")).await, "0");
    // The second failure in a row costs a pause; whoever else calls does not pay for it.
    assert_eq!(failure_of(&children, call(&program, 3, "crash")).await, StdioFailure::Ended);
    let resting = failure_of(&children, call(&program, 4, "cancelled")).await;
    assert!(matches!(resting, StdioFailure::Resting { .. }), "{resting:?}");
    assert_eq!(text_of(&children, by("bob", call(&program, 4, "cancelled"))).await, "0");
    eventually("the pause is over", async || children.send(call(&program, 5, "cancelled")).await.is_ok())
        .await;
    children.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn stdio_a_program_that_does_not_exist_is_a_clear_failure() {
    let children = children(bounds());
    let missing = Program { run: vec!["/does/not/exist".to_owned()], ..shell(&[]) };
    assert_eq!(failure_of(&children, plain(&missing, 1)).await, StdioFailure::CannotStart);
    let empty = Program { run: Vec::new(), ..shell(&[]) };
    assert_eq!(failure_of(&children, by("bob", plain(&empty, 1))).await, StdioFailure::CannotStart);
    assert_eq!(children.pool.count(), 0);
}

#[tokio::test]
async fn stdio_a_silent_program_is_ended_when_time_runs_out() {
    let children = children(Bounds { patience: Duration::from_millis(100), ..bounds() });
    let silent = shell(&["cat >/dev/null"]);
    assert_eq!(failure_of(&children, plain(&silent, 1)).await, StdioFailure::TimedOut);
    all_gone(&children).await;
    let deaf = shell(&["while :; do sleep 1; done"]);
    let mut large = by("bob", plain(&deaf, 1));
    let text = "x".repeat(1024 * 1024);
    large.body = Bytes::from(json!({"jsonrpc":"2.0","id":1,"method":"x","params":{"text":text}}).to_string());
    assert_eq!(failure_of(&children, large).await, StdioFailure::TimedOut);
    all_gone(&children).await;
}

#[tokio::test]
async fn stdio_nothing_of_a_program_outlives_it() {
    let children = children(bounds());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    // Ignores the end of its input and SIGTERM, and has a child of its own that does the same.
    let script = r#"
        trap '' TERM
        sleep 1000 & echo "$$ $!" >"$0"
        read -r line; echo '{"jsonrpc":"2.0","id":1,"result":{}}'
        while :; do sleep 1; done"#;
    let stubborn = shell(&[script, file.to_str().unwrap()]);
    json_of(&children, plain(&stubborn, 1)).await;
    let pids = written(&file).await;
    assert!(pids.split_whitespace().all(runs));
    children.shutdown(DEADLINE).await;
    eventually("both processes are gone", async || !pids.split_whitespace().any(runs)).await;

    // One that ends by itself takes its own children along.
    let file = folder.path().join("more");
    let script = r#"sleep 1000 & echo "$!" >"$0"; read -r line"#;
    let children = self::children(bounds());
    let quits = shell(&[script, file.to_str().unwrap()]);
    let asked = children.send(plain(&quits, 1));
    tokio::pin!(asked);
    assert!(futures_util::poll!(&mut asked).is_pending());
    let pid = written(&file).await;
    children.shutdown(DEADLINE).await;
    eventually("the grandchild is gone", async || !runs(pid.trim())).await;
}

#[tokio::test]
async fn stdio_a_program_that_nobody_needs_ends() {
    let children = children(Bounds { idle: Duration::from_millis(50), ..bounds() });
    let program = sdk();
    let session = begin(&children, initialize(&program)).await;
    text_of(&children, call(&program, 1, "cancelled")).await;
    all_gone(&children).await;
    let late = within(&session, call(&program, 1, "cancelled"));
    assert_eq!(failure_of(&children, late).await, StdioFailure::UnknownSession);
    assert_eq!(text_of(&children, call(&program, 1, "cancelled")).await, "0");
    all_gone(&children).await;
}

#[tokio::test]
async fn stdio_there_are_never_more_programs_than_allowed() {
    let children = children(bounds());
    let program = shell(&[r#"read -r a; echo '{"jsonrpc":"2.0","id":0,"result":{}}'; cat >/dev/null"#]);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(begin(&children, initialize(&program)).await);
    }
    // A fourth session of the same subject, through whatever client, takes the place of the one that it used least.
    let mut by_another_client = initialize(&program);
    by_another_client.principal.client_id = "another".parse().unwrap();
    sessions.push(begin(&children, by_another_client).await);
    assert_eq!(children.pool.count(), 3);
    assert!(children.listen(&sessions[0]).is_err());
    // Nobody's sessions are taken away for somebody else.
    for name in ["bob", "bob", "bob"] {
        begin(&children, by(name, initialize(&program))).await;
    }
    let refused = by("carol", initialize(&program));
    assert_eq!(failure_of(&children, refused).await, StdioFailure::TooManyPrograms);
    assert_eq!(children.pool.count(), 6);
    children.shutdown(DEADLINE).await;
    assert_eq!(children.pool.count(), 0);
}
