//! A server and its authority on one loopback port, whose answers a test may bend.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) struct Fake {
    /// `http://127.0.0.1:PORT`
    pub(crate) origin: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    answers: Mutex<HashMap<String, Canned>>,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Clone)]
struct Canned {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

impl Fake {
    /// Good in everything: server `/mcp/a`, issuer at the origin, a token for whoever asks.
    pub(crate) async fn good() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner::default());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let fake = Self { origin, inner };
        fake.set_metadata(&fake.origin);
        fake.json("/token", 200, &json!({"access_token": "abc", "token_type": "bearer", "expires_in": 900, "scope": "a:read", "session_id": "ses_1"}));
        fake
    }

    fn set_metadata(&self, origin: &str) {
        let place = format!("{origin}/.well-known/oauth-protected-resource/mcp/a");
        let challenge = format!("Bearer scope=\"a:read\", resource_metadata=\"{place}\"");
        self.set("/mcp/a", 401, vec![("www-authenticate", challenge)], String::new());
        self.json(
            "/.well-known/oauth-protected-resource/mcp/a",
            200,
            &json!({"resource": format!("{origin}/mcp/a"), "authorization_servers": [origin], "scopes_supported": ["a:read"]}),
        );
        self.json("/.well-known/oauth-authorization-server", 200, &self.authority());
    }

    pub(crate) fn authority(&self) -> Value {
        json!({"issuer": self.origin, "token_endpoint": format!("{}/token", self.origin)})
    }

    pub(crate) fn server(&self) -> portcullis_client::ResourceUri {
        format!("{}/mcp/a", self.origin).parse().unwrap()
    }

    pub(crate) fn json(&self, path: &str, status: u16, body: &Value) {
        self.set(path, status, vec![("content-type", "application/json".to_owned())], body.to_string());
    }

    pub(crate) fn set(&self, path: &str, status: u16, headers: Vec<(&'static str, String)>, body: String) {
        let canned = Canned { status, headers, body };
        self.inner.answers.lock().unwrap().insert(path.to_owned(), canned);
    }

    /// What arrived at `path`.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.inner.seen.lock().unwrap();
        seen.iter().filter(|one| one.path == path).cloned().collect()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let authorization = parts.headers.get("authorization");
    let path = parts.uri.path().to_owned();
    inner.seen.lock().unwrap().push(Seen {
        path: path.clone(),
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let canned = inner.answers.lock().unwrap().get(&path).cloned();
    let Some(canned) = canned else {
        return Response::builder().status(404).body(Body::empty()).unwrap();
    };
    let mut response = Response::builder().status(canned.status);
    for (name, value) in canned.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(canned.body)).unwrap()
}
