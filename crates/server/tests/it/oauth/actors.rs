//! Who takes part: programs that want tokens, and people with browsers.

use crate::app::{Answer, TestApp, form};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, StatusCode, header};
use portcullis_oauth::pkce::Verifier;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const ISSUER: &str = "http://127.0.0.1:8080";
pub(crate) const NOTES: &str = "http://127.0.0.1:8080/mcp/notes";
pub(crate) const OPS: &str = "http://127.0.0.1:8080/mcp/ops";
pub(crate) const LOOPBACK: &str = "http://127.0.0.1:53682/cb";
pub(crate) const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters";
pub(crate) const PASSWORD: &str = "alice has a long password";

/// A client that registered itself.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    pub(crate) redirect_uri: String,
}

/// Parameters of an authorization request.
#[derive(Clone, Debug)]
pub(crate) struct Asking(pub(crate) Vec<(String, String)>);

/// How an authorization request ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The browser was sent to this address.
    Away(String),
    /// On a page of ours.
    Page(Answer),
}

/// What a token request got.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) token_type: String,
    pub(crate) expires_in: u64,
    pub(crate) scope: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) session_id: String,
}

/// A person with a browser.
pub(crate) struct Browser<'t> {
    pub(crate) test: &'t TestApp,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) cookies: BTreeMap<String, String>,
}

pub(crate) fn challenge() -> String {
    VERIFIER.parse::<Verifier>().unwrap().challenge().to_string()
}

pub(crate) async fn register(test: &TestApp, metadata: &Value) -> Answer {
    let request = Request::post("/oauth/register")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(metadata.to_string()));
    test.send(request.unwrap()).await
}

/// Metadata of a public client with a loopback redirect.
pub(crate) fn native(name: &str) -> Value {
    json!({
        "client_name": name,
        "redirect_uris": [LOOPBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

/// Metadata of a public client that lives on the web.
pub(crate) fn on_the_web(name: &str) -> Value {
    let mut metadata = native(name);
    metadata["redirect_uris"] = json!(["https://client.example/cb"]);
    metadata
}

impl Program {
    pub(crate) async fn native(test: &TestApp) -> Self {
        Self::registered(test, &native("Inspector")).await
    }

    pub(crate) async fn registered(test: &TestApp, metadata: &Value) -> Self {
        let answer = register(test, metadata).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let answer: Value = answer.json();
        let member = |name: &str| answer[name].as_str().map(str::to_owned);
        Self {
            id: member("client_id").unwrap(),
            secret: member("client_secret"),
            redirect_uri: answer["redirect_uris"][0].as_str().unwrap().to_owned(),
        }
    }

    /// A good request for notes.
    pub(crate) fn asking(&self) -> Asking {
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "notes:read notes:write"),
            ("state", "st a&te=1"),
            ("code_challenge", &challenge()),
            ("code_challenge_method", "S256"),
            ("resource", NOTES),
        ];
        Asking(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    /// The fields of a good redemption.
    pub(crate) fn redemption<'a>(&'a self, code: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("grant_type", "authorization_code"),
            ("client_id", &self.id),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", &self.redirect_uri),
        ]
    }

    pub(crate) async fn redeem(&self, test: &TestApp, code: &str) -> Answer {
        test.post("/oauth/token", &self.redemption(code)).await
    }

    pub(crate) async fn refresh(&self, test: &TestApp, token: &str) -> Answer {
        self.refresh_with(test, token, &[]).await
    }

    pub(crate) async fn refresh_with(&self, test: &TestApp, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut fields =
            vec![("grant_type", "refresh_token"), ("client_id", &self.id), ("refresh_token", token)];
        fields.extend(more);
        test.post("/oauth/token", &fields).await
    }

    /// Through sign-in and consent to tokens.
    pub(crate) async fn tokens(&self, browser: &mut Browser<'_>) -> Tokens {
        let code = browser.code(&self.asking()).await;
        let answer = self.redeem(browser.test, &code).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }
}

impl TestApp {
    /// A program, and Alice, who let it have tokens.
    pub(crate) async fn signed_in_alice(&self) -> (Program, Browser<'_>, Tokens) {
        let program = Program::native(self).await;
        let mut browser = Browser::of_alice(self).await;
        let tokens = program.tokens(&mut browser).await;
        (program, browser, tokens)
    }
}

impl Asking {
    /// The same request with one parameter replaced, added, or (`None`) left out.
    pub(crate) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    pub(crate) fn again(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0);
        format!("/oauth/authorize?{}", query.finish())
    }
}

impl Ended {
    pub(crate) fn away(&self) -> &str {
        match self {
            Self::Away(location) => location,
            Self::Page(page) => panic!("ended on a page: {} {}", page.status, page.text()),
        }
    }

    pub(crate) fn page(&self) -> &Answer {
        match self {
            Self::Page(page) => page,
            Self::Away(location) => panic!("was sent away, to {}", location.split('?').next().unwrap()),
        }
    }

    /// A parameter of the answer to the client; it may stand there once.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let url = url::Url::parse(self.away()).unwrap();
        let pairs = url.query_pairs();
        let found: Vec<String> = pairs.filter(|(key, _)| key == name).map(|(_, v)| v.into_owned()).collect();
        assert!(found.len() <= 1, "{name} stands there {} times", found.len());
        found.into_iter().next()
    }

    pub(crate) fn error(&self) -> String {
        assert_eq!(self.parameter("code"), None);
        self.parameter("error").unwrap()
    }
}

/// The sealed field of a page of ours.
pub(crate) fn flow_of(page: &Answer) -> String {
    let (_, rest) = page.text().split_once("name=\"flow\" value=\"").expect("a form");
    rest.split('"').next().unwrap().to_owned()
}

pub(crate) fn is_sign_in(page: &Answer) -> bool {
    page.status == StatusCode::OK && page.text().contains("name=\"password\"")
}

pub(crate) fn is_consent(page: &Answer) -> bool {
    page.status == StatusCode::OK && page.text().contains("value=\"approve\"")
}

impl<'t> Browser<'t> {
    /// Alice, who may use both servers and has an account.
    pub(crate) async fn of_alice(test: &'t TestApp) -> Self {
        test.user("alice", PASSWORD).await;
        Self::new(test, "alice", PASSWORD)
    }

    pub(crate) fn new(test: &'t TestApp, username: &str, password: &str) -> Self {
        Self { test, username: username.to_owned(), password: password.to_owned(), cookies: BTreeMap::new() }
    }

    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Answer {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            request.headers_mut().insert(header::COOKIE, pairs.join("; ").parse().unwrap());
        }
        let answer = self.test.send(request).await;
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (name, rest) = set.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut request = form(path, fields);
        request.headers_mut().insert("origin", "null".parse().unwrap());
        request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
        self.send(request).await
    }

    /// Sends the sign-in form of `page`.
    pub(crate) async fn sign_in(&mut self, page: &Answer) -> Answer {
        assert!(is_sign_in(page), "{} {}", page.status, page.text());
        let (username, password) = (self.username.clone(), self.password.clone());
        let fields = [("flow", flow_of(page)), ("username", username), ("password", password)];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post("/login", &fields).await
    }

    pub(crate) async fn decide(&mut self, page: &Answer, decision: &str) -> Answer {
        let fields = [("flow", flow_of(page)), ("decision", decision.to_owned())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post("/consent", &fields).await
    }

    /// Follows redirects of ours and signs in, up to the consent page, an error page, or the way back.
    pub(crate) async fn reach_consent(&mut self, asking: &Asking) -> Ended {
        let mut answer = self.get(&asking.path()).await;
        for _ in 0..6 {
            if let Some(location) = answer.header("location") {
                assert_eq!(answer.status, StatusCode::SEE_OTHER);
                let Some(path) = location.strip_prefix(ISSUER) else {
                    return Ended::Away(location.to_owned());
                };
                let path = path.to_owned();
                answer = self.get(&path).await;
            } else if is_sign_in(&answer) {
                answer = self.sign_in(&answer).await;
            } else {
                return Ended::Page(answer);
            }
        }
        panic!("the flow does not end");
    }

    /// All the way, approving.
    pub(crate) async fn authorize(&mut self, asking: &Asking) -> Ended {
        match self.reach_consent(asking).await {
            Ended::Page(page) if is_consent(&page) => {
                let answer = self.decide(&page, "approve").await;
                match answer.header("location") {
                    Some(location) => Ended::Away(location.to_owned()),
                    None => Ended::Page(answer),
                }
            }
            other @ (Ended::Away(_) | Ended::Page(_)) => other,
        }
    }

    pub(crate) async fn code(&mut self, asking: &Asking) -> String {
        self.authorize(asking).await.parameter("code").unwrap()
    }

    /// A browser that is signed in already.
    pub(crate) async fn signed_in(mut self) -> Self {
        let page = self.get("/login").await;
        let answer = self.sign_in(&page).await;
        assert_eq!(answer.header("location"), Some("http://127.0.0.1:8080/account"));
        self
    }
}

/// The `error` of a refusal, after looking at what every refusal must have.
pub(crate) fn error_of(answer: &Answer) -> String {
    assert!(answer.status.is_client_error(), "{} {}", answer.status, answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body: Value = answer.json();
    assert!(body.get("access_token").is_none());
    body["error"].as_str().unwrap().to_owned()
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A form post of an agent of the fleet, authenticated by Basic.
pub(crate) async fn as_agent(test: &TestApp, agent: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let credentials = test.credentials(agent);
    let mut request = form(path, fields);
    let basic = basic(&credentials.client_id, &credentials.client_secret);
    request.headers_mut().insert(header::AUTHORIZATION, basic.parse().unwrap());
    test.send(request).await
}

/// What the inspector is told about a token.
pub(crate) async fn introspected(test: &TestApp, token: &str) -> Value {
    let answer = as_agent(test, "inspector", "/oauth/introspect", &[("token", token)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

pub(crate) async fn is_active(test: &TestApp, token: &str) -> bool {
    introspected(test, token).await["active"].as_bool().unwrap()
}
