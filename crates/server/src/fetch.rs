//! Asking other people's servers for small documents, where their own documents say (FETCH, UPS-09). Every such request goes
//! through here: the address that is dialled is the one that was checked, and no redirect, proxy, cookie or certificate of
//! ours plays a part.

mod dial;
mod places;
mod tls;

use dial::dial;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

pub(crate) use places::{Place, Unfit};
pub(crate) use tls::NoTrust;

/// Documents and tokens are a few KiB.
const LARGEST: usize = 64 * 1024;

/// To read a document, all in all (CIMD-08).
const PATIENCE: Duration = Duration::from_secs(5);

/// To be given tokens: an answer that is not waited for is a token lost.
const PATIENCE_TO_BE_SERVED: Duration = Duration::from_secs(20);

/// Asks. One for the whole app.
pub(crate) struct Fetcher {
    tls: TlsConnector,
    internal: BTreeSet<String>,
}

/// A fetcher on behalf of one server: beside the usual port, that of the server's own address is good.
#[derive(Clone)]
pub(crate) struct Fetch {
    fetcher: Arc<Fetcher>,
    own: Option<(String, u16)>,
}

/// Why there is nothing. Said to operators only: to whoever chose the address, it would tell about our network (FETCH-03).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfetched {
    #[error("{0}")]
    Address(#[from] Unfit),
    #[error("no HTTP is spoken there")]
    Http(#[from] hyper::Error),
    #[error("the answer is longer than 64 KiB, or broke off")]
    Length,
    #[error("no answer in time")]
    Late,
    #[error("it redirects, which is not followed")]
    Redirect,
    #[error("it cannot be reached")]
    Unreachable(#[from] std::io::Error),
}

impl Fetcher {
    /// `internal` are hosts whose addresses may be private.
    pub(crate) fn new(internal: BTreeSet<String>, extra_ca: Option<&Path>) -> Result<Self, NoTrust> {
        Ok(Self { tls: tls::connector(extra_ca)?, internal })
    }
}

impl Fetch {
    pub(crate) fn on_behalf_of(fetcher: &Arc<Fetcher>, server: &str) -> Self {
        let own = Url::parse(server).ok();
        let own = own.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
        Self { fetcher: Arc::clone(fetcher), own }
    }

    /// Whether an address is one that we would ask at all, or send a browser to.
    pub(crate) fn check(&self, address: &str) -> Result<Place, Unfit> {
        let own = self.own.as_ref().map(|(host, port)| (host.as_str(), *port));
        Place::parse(address, &self.fetcher.internal, own)
    }

    /// The answer to one request. A redirect is a failure; a stream of events is answered without its content.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unfetched> {
        let place = self.check(&request.uri().to_string())?;
        let patience = if request.method() == Method::GET { PATIENCE } else { PATIENCE_TO_BE_SERVED };
        let asked = tokio::time::timeout(patience, self.ask(place, request));
        asked.await.unwrap_or(Err(Unfetched::Late))
    }

    async fn ask(&self, place: Place, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unfetched> {
        let stream = dial(&place, &self.fetcher.tls).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _driven_as_long_as_we_wait = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender.send_request(addressed(&place, request)).await?;
        let (head, body) = answer.into_parts();
        // 304 asks for nothing more, and nothing of before is kept.
        if head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED {
            return Err(Unfetched::Redirect);
        }
        let is_stream = head
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|stated| stated.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"));
        if is_stream {
            return Ok(Response::from_parts(head, Vec::new()));
        }
        let collected = Limited::new(body, LARGEST).collect().await.map_err(|_| Unfetched::Length)?;
        Ok(Response::from_parts(head, collected.to_bytes().into()))
    }
}

/// In the form in which HTTP/1.1 asks an origin (RFC 9112 s3.2.1).
fn addressed(place: &Place, request: Request<Vec<u8>>) -> Request<Full<bytes::Bytes>> {
    let (mut head, body) = request.into_parts();
    if let Some(path) = head.uri.path_and_query() {
        head.uri = path.as_str().parse().unwrap_or_default();
    }
    if let Ok(host) = place.authority().parse() {
        head.headers.insert(header::HOST, host);
    }
    head.headers.insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    if !head.headers.contains_key(header::ACCEPT) {
        head.headers.insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
    }
    let agent = http::HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
    head.headers.insert(header::USER_AGENT, agent);
    Request::from_parts(head, Full::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn fetch(internal: &[&str]) -> Fetch {
        crate::install_crypto();
        let internal = internal.iter().map(|host| (*host).to_owned()).collect();
        let fetcher = Fetcher::new(internal, None).unwrap();
        Fetch { fetcher: Arc::new(fetcher), own: None }
    }

    fn get(address: &str) -> Request<Vec<u8>> {
        Request::get(address).body(Vec::new()).unwrap()
    }

    /// A server that says this to whoever comes, and counts them.
    async fn saying(words: &'static [u8]) -> (String, tokio::sync::watch::Receiver<u32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (count, counted) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let _request = stream.read(&mut [0; 4096]).await;
                let _they_may_have_gone = stream.write_all(words).await;
            }
        });
        (format!("http://127.0.0.1:{port}/document"), counted)
    }

    #[tokio::test]
    async fn ups_09_nothing_private_is_dialled_unless_it_is_listed() {
        let (address, counted) = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        let refused = fetch(&[]).send(get(&address)).await.unwrap_err();
        assert!(matches!(refused, Unfetched::Address(_)), "{refused}");
        assert_eq!(*counted.borrow(), 0, "CIMD-01: no TCP connection");
        let answer = fetch(&["127.0.0.1"]).send(get(&address)).await.unwrap();
        assert_eq!((answer.status(), answer.body().as_slice()), (StatusCode::OK, b"{}".as_slice()));
        assert_eq!(*counted.borrow(), 1);
    }

    #[tokio::test]
    async fn cimd_04_a_name_is_refused_for_one_private_address() {
        let refused = fetch(&[]).send(get("https://localhost/x")).await.unwrap_err();
        assert!(matches!(refused, Unfetched::Address(Unfit::Private)), "{refused}");
    }

    #[tokio::test]
    async fn cimd_05_redirects_are_not_followed() {
        let (target, counted) = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        let head = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
        let (address, _) = saying(head.leak().as_bytes()).await;
        let refused = fetch(&["127.0.0.1"]).send(get(&address)).await.unwrap_err();
        assert!(matches!(refused, Unfetched::Redirect), "{refused}");
        assert_eq!(*counted.borrow(), 0);
    }

    #[tokio::test]
    async fn cimd_08_what_is_long_is_cut_and_streams_are_not_waited_for() {
        let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", "x".repeat(70_000));
        let (address, _) = saying(long.leak().as_bytes()).await;
        let refused = fetch(&["127.0.0.1"]).send(get(&address)).await.unwrap_err();
        assert!(matches!(refused, Unfetched::Length), "{refused}");
        let (address, _) =
            saying(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n").await;
        let answer = fetch(&["127.0.0.1"]).send(get(&address)).await.unwrap();
        assert!(answer.body().is_empty());
    }
}
