//! The one place that builds HTTP clients: no redirects, own TLS, bounded answers, https or loopback.

use crate::error::Error;
use crate::text::one_line;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// For metadata and tokens, from the first byte to the last.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_TO_CONNECT: Duration = Duration::from_secs(5);

/// Metadata and token answers are a few KiB; nobody needs more.
const LARGEST_ANSWER: usize = 256 * 1024;

#[derive(Clone)]
pub(crate) struct Http {
    /// Through the proxy of the environment, if it names one.
    outward: reqwest::Client,
    /// Never through a proxy: what is on loopback stays on this machine.
    loopback: reqwest::Client,
}

/// An address we may send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(Url);

/// Where the server stands decides where its documents may send us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// https only, and nothing on this machine.
    Https,
    /// Loopback as well: the server is there itself.
    Loopback,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Probe {
    pub(crate) status: u16,
    pub(crate) challenge: Option<String>,
}

impl Address {
    /// OAuth 2.1 s1.5: TLS everywhere, except between parties on this machine. A distant server that sends us to our
    /// own loopback is after something else.
    pub(crate) fn parse(text: &str, reach: Reach) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let allowed = match (is_loopback(&url), reach) {
            (false, Reach::Https | Reach::Loopback) => url.scheme() == "https",
            (true, Reach::Loopback) => matches!(url.scheme(), "http" | "https"),
            (true, Reach::Https) => false,
        };
        (bare && allowed).then_some(Self(url))
    }

    /// Where nothing secret is sent: plain http as well, to servers of an internal network.
    pub(crate) fn open(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        (bare && matches!(url.scheme(), "http" | "https")).then_some(Self(url))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn reach(&self) -> Reach {
        if is_loopback(&self.0) { Reach::Loopback } else { Reach::Https }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// `host` or `host:port`, for messages.
    pub(crate) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        None => false,
    }
}

impl Http {
    pub(crate) fn new() -> Result<Self, Error> {
        let tls = tls()?;
        Ok(Self {
            outward: build(builder(tls.clone()).timeout(PATIENCE))?,
            loopback: build(builder(tls).timeout(PATIENCE).no_proxy())?,
        })
    }

    /// For MCP, whose streams end when they end: its user keeps the time.
    pub(crate) fn for_calls(address: &Address) -> Result<reqwest::Client, Error> {
        let builder = builder(tls()?);
        build(match address.reach() {
            Reach::Https => builder,
            Reach::Loopback => builder.no_proxy(),
        })
    }

    /// Asks as a stranger, and reads headers only: the answer may be a stream.
    pub(crate) async fn probe(&self, address: &Address) -> Result<Probe, Error> {
        let request = self
            .client(address)
            .get(address.url().clone())
            .header(ACCEPT, "text/event-stream, application/json");
        let response = request.send().await.map_err(|error| unreachable(address, &error))?;
        Ok(Probe {
            status: response.status().as_u16(),
            challenge: header(response.headers(), &WWW_AUTHENTICATE),
        })
    }

    pub(crate) async fn fetch(&self, address: &Address) -> Result<Answer, Error> {
        let request = self.client(address).get(address.url().clone());
        read(address, request.header(ACCEPT, "application/json")).await
    }

    /// `id` and `secret` go into HTTP Basic, form-encoded first (RFC 6749 s2.3.1).
    pub(crate) async fn post_form(
        &self,
        address: &Address,
        (id, secret): (&str, &str),
        form: String,
    ) -> Result<Answer, Error> {
        let encode =
            |part: &str| -> String { url::form_urlencoded::byte_serialize(part.as_bytes()).collect() };
        let request = self
            .client(address)
            .post(address.url().clone())
            .basic_auth(encode(id), Some(encode(secret)))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        read(address, request.body(form)).await
    }

    pub(crate) fn client(&self, address: &Address) -> &reqwest::Client {
        match address.reach() {
            Reach::Https => &self.outward,
            Reach::Loopback => &self.loopback,
        }
    }
}

async fn read(address: &Address, request: reqwest::RequestBuilder) -> Result<Answer, Error> {
    let broken = |error: reqwest::Error| unreachable(address, &error);
    let mut response = request.send().await.map_err(broken)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if chunk.len() > LARGEST_ANSWER - body.len() {
            return Err(Error::Unusable {
                address: address.as_str().to_owned(),
                problem: "the answer is larger than 256 KiB",
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after: header(response.headers(), &RETRY_AFTER).and_then(|text| text.parse().ok()),
        body,
    })
}

fn header(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The innermost cause says most: "connection refused", "certificate expired".
pub(crate) fn unreachable(address: &Address, error: &reqwest::Error) -> Error {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let reason =
        if error.is_timeout() { "no answer in time".to_owned() } else { one_line(&innermost.to_string()) };
    Error::Unreachable { host: address.host(), reason }
}

/// Never the provider of the process: a library must work whoever installed what before.
fn tls() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(rustls::ConfigBuilder::with_platform_verifier)
        .map_err(|error| Error::Tls(error.to_string()))?;
    Ok(config.with_no_client_auth())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the choke point: addresses are checked by `Address`, redirects are off"
)]
fn builder(tls: ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .connect_timeout(PATIENCE_TO_CONNECT)
        .user_agent(concat!("portcullis-client/", env!("CARGO_PKG_VERSION")))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder.build().map_err(|error| {
        Error::Tls(one_line(&error.source().map_or_else(|| error.to_string(), ToString::to_string)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_unless_all_is_on_loopback() {
        for (text, https, loopback) in [
            ("https://as.test/token", true, true),
            ("http://as.test/token", false, false),
            ("http://127.0.0.1:8080/token", false, true),
            ("http://localhost/token", false, true),
            ("https://localhost/token", false, true),
            ("https://[::1]/token", false, true),
            ("https://[::ffff:127.0.0.1]/token", false, true),
            ("https://user@as.test/token", false, false),
            ("https://as.test/token#x", false, false),
            ("ftp://as.test/token", false, false),
            ("file:///etc/passwd", false, false),
            ("/token", false, false),
        ] {
            assert_eq!(Address::parse(text, Reach::Https).is_some(), https, "{text}");
            assert_eq!(Address::parse(text, Reach::Loopback).is_some(), loopback, "{text}");
        }
    }
}
