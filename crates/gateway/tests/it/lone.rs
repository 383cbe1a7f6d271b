//! The lone gateway (PC-62): a process of its own that is fed snapshot bytes over its standard input, and serves.
//! It has no database and no issuer key: this test binary runs itself again in that role.

use crate::world::{ISSUER, NOW, World, router, settings_for, tool};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::snapshot::Update;
use portcullis_gateway::Gateway;
use portcullis_oauth::jwt::SigningKey;
use std::io::{BufRead as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Set for the process that is the lone gateway: its folder.
const ROLE: &str = "PORTCULLIS_TEST_LONE_GATEWAY";

/// Ends the process with the test.
struct Lone {
    process: Child,
    news: Option<ChildStdin>,
    address: String,
}

impl Drop for Lone {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _waited = self.process.wait();
    }
}

impl Lone {
    fn start(folder: &std::path::Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["lone::the_lone_gateway_itself", "--exact", "--nocapture"])
            .env(ROLE, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the process ended").unwrap();
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.to_owned();
            }
        };
        let news = process.stdin.take();
        Self { process, news, address }
    }

    fn feed(&mut self, update: &Update) {
        let news = self.news.as_mut().unwrap();
        let mut line = serde_json::to_vec(update).unwrap();
        line.push(b'\n');
        news.write_all(&line).unwrap();
        news.flush().unwrap();
    }

    /// One call over a connection of its own; the status.
    async fn call(&self, token: &str, path: &str) -> u16 {
        let params = format!(r#"{{"name":"list_notes",{}}}"#, crate::world::META);
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: as.test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: list_notes\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Calls until the status is `wanted`: what was fed is read by another process.
    async fn becomes(&self, token: &str, wanted: u16) {
        let calls = async {
            while self.call(token, "/mcp/notes").await != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), calls).await.expect("it never came to that");
    }
}

#[tokio::test]
async fn pc_62_the_gateway_runs_alone_on_snapshot_bytes() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let folder = tempfile::tempdir().unwrap();
    let mut lone = Lone::start(folder.path());
    assert_eq!(lone.call(&token, "/mcp/notes").await, 503, "it knows nothing yet");

    let full = Update::Full { snapshot: Box::new(world.snapshot.clone()), revocations: vec![], as_of: NOW };
    lone.feed(&full);
    lone.becomes(&token, 200).await;
    assert_eq!(lone.call(&token, "/mcp/ops").await, 401, "AUD-12");
    assert_eq!(lone.call("garbage", "/mcp/notes").await, 401);
    let foreign = SigningKey::from_pkcs8("k1".into(), &SigningKey::generate_pkcs8().unwrap()).unwrap();
    let forged = foreign.sign("at+jwt", &crate::world::claims(NOW)).unwrap();
    assert_eq!(lone.call(&forged, "/mcp/notes").await, 401);
    assert_eq!(lone.call(&token, "/mcp/far").await, 404);

    let revocation = Revocation {
        target: RevokedTarget::Client("cli_agent".parse().unwrap()),
        at: NOW,
        until: NOW + Duration::from_mins(15),
    };
    lone.feed(&Update::Revoked { number: 2, revocations: vec![revocation], as_of: NOW });
    lone.becomes(&token, 401).await;
    let spooled = std::fs::read_dir(folder.path().join("decisions")).unwrap().count();
    assert!(spooled > 0, "it records on its own disk");
}

/// The process that the test above starts; does nothing when it was not.
#[test]
#[expect(clippy::disallowed_methods, reason = "the role of this process is told by its environment")]
fn the_lone_gateway_itself() {
    let Some(folder) = std::env::var_os(ROLE) else {
        return;
    };
    let clock = Arc::new(AtomicI64::new(NOW.seconds()));
    let settings = settings_for(&clock, folder.as_ref());
    assert_eq!(settings.issuer.as_str(), ISSUER);
    let der = SigningKey::generate_pkcs8().unwrap();
    let key = SigningKey::from_pkcs8("lone-1".into(), &der).unwrap();
    let gateway = Gateway::new(settings, key).unwrap();
    let feeding = gateway.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            feeding.feed(line.unwrap().as_bytes()).unwrap();
        }
        std::process::exit(0);
    });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on {}", listener.local_addr().unwrap());
        axum::serve(listener, router(&gateway)).await.unwrap();
    });
}
