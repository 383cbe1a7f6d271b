//! `TestApp`: one server in this process, on the engine that this run is about.

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::fleet::{Fleet, Problem, Surroundings};
use portcullis_oauth::time::Timestamp;
use portcullis_server::app::App;
use portcullis_server::clock::Clock;
use portcullis_server::config::{Config, Options};
use portcullis_server::entropy::Entropy;
use portcullis_server::fleet::{self, Applied};
use portcullis_server::front::Front;
use portcullis_server::listener::Answers as _;
use portcullis_server::router::front;
use portcullis_server::setup::{Power, Validity, create_user};
use portcullis_store::testing::TestDatabase;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// When all tests begin.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Two servers, an agent that may read notes, an introspector, and people with the role `team`.
pub(crate) const FLEET: &str = r#"
[[server]]
name = "notes"
title = "Team notes"
upstream = { url = "http://127.0.0.1:9/mcp" }
default_scopes = ["notes:read"]
[server.scopes]
"notes:read" = "Read notes"
"notes:write" = { says = "Create and change notes", implies = ["notes:read"] }
[[server.rule]]
tools = ["list_notes"]
scopes = ["notes:read"]
[[server.rule]]
tools = ["create_note"]
scopes = ["notes:write"]
risk = "high"

[[server]]
name = "ops"
upstream = { url = "http://127.0.0.1:9/ops" }
default_scopes = ["ops:read"]
[server.scopes]
"ops:read" = "See how the machine is doing"
"ops:admin" = "Restart services"
[[server.rule]]
tools = ["uptime"]
scopes = ["ops:read"]

[[agent]]
name = "ci-bot"
owner = "platform"
credential = { secret = { deliver = "file:@DATA@/ci-bot.json" } }
access = { notes = ["notes:read"] }

[[agent]]
name = "inspector"
owner = "platform"
credential = { secret = { deliver = "file:@DATA@/inspector.json" } }
introspects = ["notes", "ops"]

[[role]]
name = "team"
members = { users = ["alice", "bob"] }
access = { notes = ["notes:read", "notes:write"], ops = ["ops:read"] }

[self_registered]
access = { notes = ["notes:read", "notes:write"], ops = ["ops:read"] }
"#;

pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) front: Front,
    pub(crate) database: TestDatabase,
    pub(crate) folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A delivered file.
#[derive(serde::Deserialize)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl TestApp {
    /// With [`FLEET`] and dynamic registration, at http://127.0.0.1:8080.
    pub(crate) async fn start() -> Self {
        Self::start_with("registration.dynamic = true", FLEET).await
    }

    /// With another configuration and fleet.
    pub(crate) async fn start_with(config: &str, fleet: &str) -> Self {
        let test = Self::open(config, TestDatabase::create().await, tempfile::tempdir().unwrap()).await;
        test.apply(fleet).await.unwrap();
        test
    }

    /// On a database and a data folder that may be used already.
    pub(crate) async fn open(config: &str, database: TestDatabase, folder: TempDir) -> Self {
        let config = config_at(config, &database, folder.path());
        let app = App::open(config, Clock::fixed(START), Entropy::insecure_seeded(1)).await.unwrap();
        let front = front(&app, Router::new());
        Self { app, front, database, folder }
    }

    /// Another node on the same database, with its own clock and folder.
    pub(crate) async fn another_node(&self, config: &str) -> (Arc<App>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(self.folder.path().join("master.key"), folder.path().join("master.key")).unwrap();
        let config = config_at(config, &self.database, folder.path());
        let clock = Clock::fixed(self.app.clock.now());
        (App::open(config, clock, Entropy::insecure_seeded(2)).await.unwrap(), folder)
    }

    /// Ends the server, but not its database and folder.
    pub(crate) async fn end(self) -> (TestDatabase, TempDir) {
        self.app.store.close().await;
        (self.database, self.folder)
    }

    pub(crate) fn fleet(&self, text: &str) -> Result<Fleet, Vec<Problem>> {
        let commands = self.app.config.commands.keys().cloned().collect();
        let text = text.replace("@DATA@", &self.folder.path().display().to_string());
        Fleet::parse(&text, Surroundings { issuer: &self.app.config.issuer, commands: &commands })
    }

    pub(crate) async fn apply(&self, fleet: &str) -> Result<Applied, fleet::ApplyError> {
        fleet::apply(&self.app, &self.fleet(fleet).unwrap()).await
    }

    /// An account with a password that holds.
    pub(crate) async fn user(&self, name: &str, password: &str) {
        assert!(create_user(&self.app, name, password, Power::Person, Validity::Kept).await.unwrap());
    }

    /// Later; the follower has been there too.
    pub(crate) async fn advance(&self, by: Duration) {
        self.app.clock.advance(by);
        self.app.catch_up().await;
    }

    /// What was delivered to an agent of [`FLEET`].
    pub(crate) fn credentials(&self, agent: &str) -> Credentials {
        serde_json::from_slice(&std::fs::read(self.file(agent)).unwrap()).unwrap()
    }

    pub(crate) fn file(&self, agent: &str) -> PathBuf {
        self.folder.path().join(format!("{agent}.json"))
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        let issuer = self.app.config.issuer.origin();
        let host = issuer.split_once("://").unwrap().1.parse().unwrap();
        request.headers_mut().entry(header::HOST).or_insert(host);
        let response = self.front.answer(request, None).await;
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: to_bytes(body, 16 * 1024 * 1024).await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// A form, as programs and browsers send it.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(form(path, fields)).await
    }
}

/// Housekeeping.
pub(crate) async fn purge(app: &App) {
    let event = Event::new(Kind::HousekeepingDone, Outcome::Allowed, Actor::System);
    let write = app.store.write(app.clock.now(), event, |event, tx| {
        Box::pin(async move {
            tx.purge().await?;
            tx.record(event, ()).await
        })
    });
    write.await.unwrap();
}

pub(crate) fn config_at(text: &str, database: &TestDatabase, folder: &Path) -> Config {
    let text = format!("{text}\ndatabase.url = {:?}\n", database.url());
    let options = Options { data: Some(folder.to_owned()), ..Options::default() };
    Config::parse(&text, &options).unwrap()
}

pub(crate) fn form(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body.finish()))
        .unwrap()
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The one value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }
}
