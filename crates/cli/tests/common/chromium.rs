//! A real browser, driven from outside: Chromium through its driver, each session with an empty profile.

use super::{free_port, until, variable};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) struct Chromium {
    pub(crate) client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

/// What a person's screen is like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Screen {
    Phone,
    Wide,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Colours {
    Dark,
    Light,
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        let chromium = program("PORTCULLIS_TEST_CHROMIUM", "/usr/bin/chromium");
        let program = program("PORTCULLIS_TEST_CHROMEDRIVER", "/usr/bin/chromedriver");
        let port = free_port();
        let driver = Command::new(program)
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("chromedriver listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        let profile = tempfile::tempdir().unwrap();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(&chromium, profile.path()))
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, driver, _profile: profile }
    }

    /// How pages are shown from now on.
    pub(crate) async fn show_on(&self, screen: Screen, colours: Colours) {
        let (width, height, mobile) = match screen {
            Screen::Phone => (390, 844, true),
            Screen::Wide => (1280, 800, false),
        };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let value = match colours {
            Colours::Dark => "dark",
            Colours::Light => "light",
        };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Errors and warnings that the pages caused since the last question: blocked content, missing files, scripts.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.client.issue_cmd(BrowserLog).await.unwrap();
        let is_serious = |entry: &&Value| entry["level"] == "SEVERE" || entry["level"] == "WARNING";
        let entries = entries.as_array().unwrap().iter().filter(is_serious);
        entries.map(|entry| entry["message"].to_string()).collect()
    }

    pub(crate) async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(DevTools(command, parameters)).await.unwrap()
    }

    pub(crate) async fn close(self) {
        let mut driver = self.driver;
        self.client.close().await.unwrap();
        let _ = driver.kill();
        let _ = driver.wait();
    }
}

/// No skipping in silence: without a browser these tests fail, and say what to do.
fn program(name: &str, usual: &str) -> String {
    let path = variable(name).unwrap_or_else(|| usual.to_owned());
    assert!(
        Path::new(&path).is_file(),
        "there is no {path}: `cargo xtask test` finds or installs it; or set {name}"
    );
    path
}

fn capabilities(chromium: &str, profile: &Path) -> Capabilities {
    let mut arguments = vec![
        "--headless".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-quic".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--no-first-run".to_owned(),
        "--no-proxy-server".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        format!("--user-data-dir={}", profile.display()),
    ];
    // Chromium's sandbox does not run as root.
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        arguments.push("--no-sandbox".to_owned());
    }
    let wanted = json!({
        "goog:chromeOptions": {"args": arguments, "binary": chromium},
        "goog:loggingPrefs": {"browser": "ALL"},
    });
    wanted.as_object().unwrap().clone()
}

#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"type": "browser"}).to_string()))
    }
}

#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({"cmd": self.0, "params": self.1});
        (http::Method::POST, Some(body.to_string()))
    }
}
