//! The admin API: of the `serve` that runs on a data folder, over its Unix socket; or, with `--url`, of one elsewhere, with
//! an access token.

use crate::credentials::{CLIENT_ID, CLIENT_SECRET, from_environment, variable};
use crate::exit::Failure;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use portcullis_client::{AccessToken, ApiRequest, Client, Issuer, ResourceUri, Scope, TokenWish};
use portcullis_server::entropy::Entropy;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

/// The longest page there is.
const PAGE: u32 = 500;

/// The variable with an access token for the admin API.
const TOKEN: &str = "PORTCULLIS_TOKEN";

/// Where the server is.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The data folder of the running `portcullis serve`
    #[arg(long, value_name = "DIR", default_value = "portcullis-data")]
    data: PathBuf,

    /// The public URL of a deployment elsewhere, instead of --data; with the token in PORTCULLIS_TOKEN, or one got with
    /// PORTCULLIS_CLIENT_ID and PORTCULLIS_CLIENT_SECRET
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    url: Option<Issuer>,

    /// Got once for all requests of a command.
    #[arg(skip)]
    token: OnceCell<AccessToken>,
}

/// What the server answered.
pub(crate) struct Answer {
    /// The version of the registry, where the answer has one.
    pub(crate) etag: Option<String>,
    body: Bytes,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(
        "no portcullis runs on the data folder {folder}: start `portcullis serve --data {folder}`, or name its folder with --data",
        folder = .0.display()
    )]
    NotRunning(PathBuf),
    #[error("not allowed to use {}: run this as the user who runs `portcullis serve`", .0.display())]
    NotAllowed(PathBuf),
    #[error("the server ended the connection: run this as the user who serves; otherwise its log says why")]
    Cut(#[source] hyper::Error),
    #[error("cannot connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Credentials(String),
    #[error("no token for --url: set {TOKEN}, or {CLIENT_ID} and {CLIENT_SECRET}")]
    NoToken,
    #[error("{0}")]
    Elsewhere(#[from] portcullis_client::Error),
    #[error("{0}")]
    Problem(Box<Problem>),
    #[error("the server's answer cannot be read: is it of another version?")]
    Unreadable,
}

/// problem+json (RFC 9457).
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Problem {
    title: String,
    detail: String,
    /// Mistakes in a fleet file.
    #[serde(default)]
    problems: Vec<Mistake>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Mistake {
    line: usize,
    says: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.title, self.detail)?;
        self.problems
            .iter()
            .try_for_each(|mistake| write!(formatter, "\n  line {}: {}", mistake.line, mistake.says))
    }
}

/// A part of a list.
#[derive(Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// What `cursor` has to be to go on.
    pub(crate) next: Option<String>,
}

/// What is sent.
pub(crate) enum Body {
    Nothing,
    Json(serde_json::Value),
    Toml(String),
}

/// A request, for each attempt the same.
struct Sending<'a> {
    method: Method,
    path: &'a str,
    content_type: Option<&'static str>,
    content: String,
    if_match: Option<&'a str>,
    key: Option<String>,
}

impl AdminError {
    /// Whether it may have arrived, and nobody knows.
    fn is_cut(&self) -> bool {
        matches!(self, Self::Cut(_) | Self::Elsewhere(portcullis_client::Error::Unreachable { .. }))
    }
}

/// For one change.
fn fresh_key() -> Result<String, AdminError> {
    let entropy = Entropy::from_system().map_err(|error| AdminError::Credentials(error.to_string()))?;
    Ok(entropy.unique_text())
}

impl Place {
    /// Asks for something.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, AdminError> {
        self.send(Method::GET, path, Body::Nothing, None).await
    }

    /// Asks for a list, whole: every page of it, one after the other.
    pub(crate) async fn pages<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, AdminError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}{joint}limit={PAGE}{cursor}")).await?;
            let Page { items, next } = page.json()?;
            all.extend(items);
            let Some(next) = next else { return Ok(all) };
            cursor = format!("&cursor={}", segment(&next));
        }
    }

    /// Ends something.
    pub(crate) async fn delete(&self, path: &str) -> Result<Answer, AdminError> {
        self.send(Method::DELETE, path, Body::Nothing, None).await
    }

    /// Changes something.
    pub(crate) async fn patch(&self, path: &str, body: Body) -> Result<Answer, AdminError> {
        self.send(Method::PATCH, path, body, None).await
    }

    /// Sends something.
    pub(crate) async fn post(&self, path: &str, body: Body) -> Result<Answer, AdminError> {
        self.send(Method::POST, path, body, None).await
    }

    /// Sends something that is meant for one version only.
    pub(crate) async fn post_if(&self, path: &str, body: Body, etag: &str) -> Result<Answer, AdminError> {
        self.send(Method::POST, path, body, Some(etag)).await
    }

    /// Sends a request; once more, if the connection was cut, where that does nothing twice: the server knows a change by
    /// its key.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
        if_match: Option<&str>,
    ) -> Result<Answer, AdminError> {
        let key = if method == Method::POST { Some(fresh_key()?) } else { None };
        let (content_type, content) = match body {
            Body::Nothing => (None, String::new()),
            Body::Json(value) => (Some("application/json"), value.to_string()),
            Body::Toml(text) => (Some("application/toml"), text),
        };
        let is_repeatable = key.is_some() || method == Method::GET;
        let sending = Sending { method, path, content_type, content, if_match, key };
        match self.attempt(&sending).await {
            Err(error) if is_repeatable && error.is_cut() => self.attempt(&sending).await,
            outcome => outcome,
        }
    }

    async fn attempt(&self, sending: &Sending<'_>) -> Result<Answer, AdminError> {
        let Sending { method, path, content_type, content, if_match, key } = sending;
        if let Some(issuer) = &self.url {
            let token = self.token.get_or_try_init(|| token_for(issuer)).await?;
            let request = ApiRequest {
                url: &issuer.join(path),
                method: method.as_str(),
                body: content_type.map(|media_type| (media_type, content.as_str())),
                if_match: *if_match,
                idempotency_key: key.as_deref(),
            };
            let answer = Client::new()?.api(token, request).await?;
            let status = StatusCode::from_u16(answer.status).map_err(|_| AdminError::Unreadable)?;
            return judged(status, answer.etag, answer.body.into());
        }
        let mut request = Request::builder().method(method).uri(*path).header(header::HOST, "admin");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, *content_type);
        }
        if let Some(etag) = if_match {
            request = request.header(header::IF_MATCH, *etag);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(content.clone().into())).map_err(|_| AdminError::Unreadable)?;
        let stream = self.connect().await?;
        answer(exchange(stream, request).await.map_err(AdminError::Cut)?)
    }

    async fn connect(&self) -> Result<UnixStream, AdminError> {
        let path = self.data.join("admin.sock");
        UnixStream::connect(&path).await.map_err(|source| {
            let kind = source.kind();
            if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused {
                AdminError::NotRunning(self.data.clone())
            } else if kind == io::ErrorKind::PermissionDenied {
                AdminError::NotAllowed(path)
            } else {
                AdminError::Connect { path, source }
            }
        })
    }
}

/// The token of the environment, or one for all that these credentials may do there.
async fn token_for(issuer: &Issuer) -> Result<AccessToken, AdminError> {
    let unusable = |failure: Failure| AdminError::Credentials(failure.to_string());
    if let Some(token) = variable(TOKEN).map_err(unusable)? {
        return Ok(AccessToken::new(token));
    }
    if variable(CLIENT_ID).map_err(unusable)?.is_none()
        && variable(CLIENT_SECRET).map_err(unusable)?.is_none()
    {
        return Err(AdminError::NoToken);
    }
    let credentials = from_environment().map_err(unusable)?.for_issuer(issuer.clone());
    let server = issuer.join("/api/v1").parse::<ResourceUri>().map_err(|_| AdminError::Unreadable)?;
    let scopes =
        ["admin:read", "admin:write", "audit:read"].into_iter().filter_map(|scope| scope.parse().ok());
    let wish = TokenWish { scopes: scopes.collect::<Vec<Scope>>().into_iter().collect(), session_id: None };
    Ok(Client::new()?.machine_token(&server, &credentials, &wish).await?.access_token)
}

async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> hyper::Result<Response<Bytes>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer.
    let driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(head, body))
}

fn answer(response: Response<Bytes>) -> Result<Answer, AdminError> {
    let (head, body) = response.into_parts();
    let etag = head.headers.get(header::ETAG).and_then(|value| value.to_str().ok());
    judged(head.status, etag.map(str::to_owned), body)
}

fn judged(status: StatusCode, etag: Option<String>, body: Bytes) -> Result<Answer, AdminError> {
    if status == StatusCode::OK || status == StatusCode::CREATED || status == StatusCode::NO_CONTENT {
        return Ok(Answer { etag, body });
    }
    let problem = serde_json::from_slice(&body).map_err(|_| AdminError::Unreadable)?;
    Err(AdminError::Problem(Box::new(problem)))
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        serde_json::from_slice(&self.body).map_err(|_| AdminError::Unreadable)
    }

    pub(crate) fn text(&self) -> Result<&str, AdminError> {
        str::from_utf8(&self.body).map_err(|_| AdminError::Unreadable)
    }
}

/// One segment of a path (RFC 3986 s2.1).
pub(crate) fn segment(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            let _infallible = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("../a b?#%é"), "%2E%2E%2Fa%20b%3F%23%25%C3%A9");
    }
}
