//! What a person does and sees on our pages.

use super::Demo;
use super::callback::Callback;
use super::chromium::{Chromium, Colours, Screen};
use super::http;
use base64::Engine as _;
use fantoccini::Locator;
use fantoccini::key::Key;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A client that registered itself, and waits for answers.
pub(crate) struct Native {
    pub(crate) client_id: String,
    pub(crate) callback: Callback,
}

impl Native {
    pub(crate) fn register(demo: &Demo, name: &str) -> Self {
        let callback = Callback::listen();
        let wish = json!({
            "client_name": name,
            "redirect_uris": [callback.uri],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        });
        let place = format!("{}/oauth/register", demo.issuer());
        let answer = http::post(&place, "application/json", &wish.to_string());
        assert_eq!(answer.status, 201, "registration: {}", answer.head);
        Self { client_id: answer.json()["client_id"].as_str().unwrap().to_owned(), callback }
    }

    /// The address to which the client sends the person's browser.
    pub(crate) fn authorize(&self, demo: &Demo, server: &str, scope: &str) -> String {
        let query = http::form(&[
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.callback.uri),
            ("resource", demo.server(server)),
            ("scope", scope),
            ("state", "state-of-the-client"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        format!("{}/oauth/authorize?{query}", demo.issuer())
    }

    /// Redeems a code.
    pub(crate) fn redeem(&self, demo: &Demo, server: &str, code: &str) -> Value {
        let form = http::form(&[
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_id),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", &self.callback.uri),
            ("resource", demo.server(server)),
        ]);
        let place = format!("{}/oauth/token", demo.issuer());
        let answer = http::post(&place, "application/x-www-form-urlencoded", &form);
        assert_eq!(answer.status, 200, "token: {}", answer.head);
        answer.json()
    }
}

impl Chromium {
    /// The words on the page.
    pub(crate) async fn words(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await.unwrap();
        body.text().await.unwrap()
    }

    /// Fills in the sign-in page with the keyboard alone, as it has the focus.
    pub(crate) async fn sign_in(&self, username: &str, password: &str) {
        self.until_shown("input[name=password]").await;
        assert_eq!(self.focused().await, "username", "the cursor is where one types first");
        let field = self.client.active_element().await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(username).await.unwrap();
        self.press(Key::Tab).await;
        assert_eq!(self.focused().await, "password");
        let field = self.client.active_element().await.unwrap();
        field.send_keys(password).await.unwrap();
        self.press(Key::Enter).await;
    }

    pub(crate) async fn until_shown(&self, css: &str) {
        self.client.wait().for_element(Locator::Css(css)).await.unwrap();
    }

    /// What has the focus: its name, with its value if it is a button.
    pub(crate) async fn focused(&self) -> String {
        let script = "const e = document.activeElement; return (e.name || e.tagName) + (e.type == 'submit' ? '=' + e.value : '')";
        let focused = self.client.execute(script, vec![]).await.unwrap();
        focused.as_str().unwrap().to_owned()
    }

    pub(crate) async fn press(&self, key: Key) {
        let field = self.client.active_element().await.unwrap();
        field.send_keys(&char::from(key).to_string()).await.unwrap();
    }

    /// Pictures of this page on every kind of screen, for people to look at: `target/xtask/screens`.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../xtask/screens");
        fs::create_dir_all(&folder).unwrap();
        for screen in [Screen::Phone, Screen::Wide] {
            for colours in [Colours::Light, Colours::Dark] {
                self.show_on(screen, colours).await;
                let whole = json!({"format": "png", "captureBeyondViewport": true});
                let taken = self.devtools("Page.captureScreenshot", whole).await;
                let png = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap());
                let file = format!("{name}-{screen:?}-{colours:?}.png").to_lowercase();
                fs::write(folder.join(file), png.unwrap()).unwrap();
                assert!(!self.scrolls_sideways().await, "{name} is wider than {screen:?}");
            }
        }
    }

    async fn scrolls_sideways(&self) -> bool {
        let script = "const e = document.documentElement; return e.scrollWidth > e.clientWidth";
        self.client.execute(script, vec![]).await.unwrap() == json!(true)
    }
}
