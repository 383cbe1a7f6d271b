//! Plain requests to a protected API that is no MCP server, such as the admin API of Portcullis.

use crate::Client;
use crate::discover::unusable;
use crate::error::Error;
use crate::http::{Address, Reach, unreachable};
use crate::secret::AccessToken;
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH};

/// The longest answer: a fleet of thousands fits.
const LARGEST: usize = 64 * 1024 * 1024;

/// One request. Its token is sent over https, or on this machine, and nowhere else; redirects are not followed.
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
    /// Absolute.
    pub url: &'a str,
    /// Such as `GET`.
    pub method: &'a str,
    /// Media type and content.
    pub body: Option<(&'a str, &'a str)>,
    /// For this version only.
    pub if_match: Option<&'a str>,
    /// The same for each attempt at one change, so that it is made once.
    pub idempotency_key: Option<&'a str>,
}

/// What came back, good or bad.
#[derive(Clone, Debug)]
pub struct ApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The version, where the answer has one.
    pub etag: Option<String>,
    /// Whatever it is.
    pub body: Vec<u8>,
}

impl Client {
    /// Sends one request.
    ///
    /// # Errors
    /// The address is none that a token may be sent to, nobody answers there, or the answer is too long.
    pub async fn api(&self, token: &AccessToken, request: ApiRequest<'_>) -> Result<ApiAnswer, Error> {
        let address = Address::parse(request.url, Reach::Loopback)
            .ok_or_else(|| unusable(request.url, "it must be https, or http on this machine"))?;
        let method = request.method.parse().map_err(|_| unusable(request.url, "no such method"))?;
        let mut sent = self.http.client(&address).request(method, address.url().clone());
        sent = sent.bearer_auth(token.reveal()).header(ACCEPT, "application/json, application/toml");
        if let Some((media_type, body)) = request.body {
            sent = sent.header(CONTENT_TYPE, media_type).body(body.to_owned());
        }
        if let Some(version) = request.if_match {
            sent = sent.header(IF_MATCH, version);
        }
        if let Some(key) = request.idempotency_key {
            sent = sent.header("idempotency-key", key);
        }
        let broken = |error: reqwest::Error| unreachable(&address, &error);
        let mut response = sent.send().await.map_err(broken)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if chunk.len() > LARGEST - body.len() {
                return Err(unusable(request.url, "the answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok());
        Ok(ApiAnswer { status: response.status().as_u16(), etag: etag.map(str::to_owned), body })
    }
}
