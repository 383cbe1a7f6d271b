//! The socket itself.

use crate::app::TestApp;
use portcullis_server::api::{self, socket::AdminSocket};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(2);

async fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream
        .write_all(b"GET /api/v1/fleet HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn adm_01_the_socket_is_private_serves_its_owner_and_goes() {
    let test = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let socket = AdminSocket::bind(folder.path()).unwrap();
    let file = fs::metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    let stop = CancellationToken::new();
    let serving = tokio::spawn(socket.serve(api::router(&test.app), stop.clone(), GRACE));
    let answer = ask(&path).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("[[server]]"), "{answer}");
    stop.cancel();
    serving.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn pc_61_a_socket_that_was_left_behind_is_replaced() {
    let test = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    // As after kill -9: the file stays, nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("admin.new")).unwrap());
    assert!(UnixStream::connect(&path).await.is_err());
    let socket = AdminSocket::bind(folder.path()).unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(socket.serve(api::router(&test.app), stop.clone(), GRACE));
    assert!(ask(&path).await.starts_with("HTTP/1.1 200 "));
    stop.cancel();
    serving.await.unwrap();
}

#[test]
fn pc_63_a_path_that_is_too_long_is_said_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(120));
    fs::create_dir(&long).unwrap();
    let error = AdminSocket::bind(&long).unwrap_err().to_string();
    assert!(error.contains("--data"), "{error}");
}
