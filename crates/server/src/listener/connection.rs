//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, with every bound set by hand.

use super::Answers;
use super::activity::{Activity, Busy, Watched};
use super::forwarded::{TrustedProxies, Unclear};
use super::head;
use super::leftover::Lender;
use super::places::Place;
use super::stream::{Agreed, Stream};
use super::taken::Patient;
use super::tap::{Tap, Tapped};
use super::tls::Tls;
use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_gateway::ClientAddress;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio_util::sync::CancellationToken;

/// Beyond it: 431. Nor may there be more than 100 headers, which is hyper's own bound: told again, it would cost each request.
const HEADER_BYTES: usize = 32 * 1024;

/// HTTP/2 requests at once on one connection (HTTP-13).
const STREAMS: u32 = 128;

/// Streams that were reset before we looked at them; beyond it the connection ends (CVE-2023-44487).
const RESET_STREAMS: usize = 32;

/// What a peer may send before we read: of one request, and of all on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What waits for a peer that does not read, of one answer.
const SEND_BUFFER: usize = 64 * 1024;

/// From the connection to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);

/// How an HTTP/2 connection begins (RFC 9113 s3.4); no HTTP/1 request can begin with it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Until when a connection stays.
type Life = (Duration, CancellationToken);

/// Everything that is served, to one peer.
#[derive(Clone)]
pub(super) struct Site<A> {
    pub(super) answers: A,
    pub(super) peer: SocketAddr,
    pub(super) proxies: Arc<TrustedProxies>,
}

/// `place` is held for as long as anybody has the connection, whatever it became.
pub(super) async fn serve(
    (stream, tls): (TcpStream, Option<Tls>),
    site: Site<impl Answers>,
    life: Life,
    place: Place,
) {
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => match Box::pin(shaken(stream, &tls, life.0)).await {
            Some(stream) => stream,
            None => return,
        },
    };
    let agreed = stream.agreed();
    let Ok(Ok((stream, first))) = tokio::time::timeout(life.0, first_bytes(stream)).await else {
        return; // nothing was asked
    };
    // Each in its own room: a connection that is idle for long takes no more of it than it needs.
    let served = match (agreed, first == PREFACE) {
        (Agreed::Http2 | Agreed::Nothing, true) => {
            Box::pin(serve_2(Tapped::new(stream, first, place).0, site, life)).await
        }
        (Agreed::Http1 | Agreed::Nothing, false) => {
            Box::pin(serve_1(Tapped::new(stream, first, place), site, life)).await
        }
        (Agreed::Http1, true) | (Agreed::Http2, false) => {
            tracing::debug!("the peer speaks another HTTP than was agreed on");
            return;
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = %error, "connection ended");
    }
}

async fn shaken(stream: TcpStream, tls: &Tls, patience: Duration) -> Option<Stream> {
    match tokio::time::timeout(patience.min(HANDSHAKE), tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        // Strangers can cause as many as they like.
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "no TLS handshake");
            None
        }
        Err(_) => None,
    }
}

impl<A: Answers> Site<A> {
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        let answer = match self.proxies.client(self.peer.ip(), request.headers()) {
            Ok(client) => self.answers.answer(request, Some(ClientAddress(client))).await,
            Err(unclear) => of_nobody(unclear),
        };
        if is_head { without_body(answer) } else { answer }
    }
}

/// Reads until the preface is complete or cannot be one.
async fn first_bytes(mut stream: Stream) -> std::io::Result<(Stream, Vec<u8>)> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let mut rest = [0; PREFACE.len()];
        let wanted = PREFACE.len() - first.len();
        let got = stream.read(&mut rest[..wanted]).await?;
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        first.extend_from_slice(&rest[..got]);
    }
    Ok((stream, first))
}

async fn serve_1((stream, tap): (Tapped, Tap), site: Site<impl Answers>, life: Life) -> hyper::Result<()> {
    let activity = Activity::new();
    let watched = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let strict = tap.check(&request);
        let site = site.clone();
        let (busy, tap) = (watched.busy(), tap.clone());
        // Given back when the answer begins, not when the connection ends. The room first: `Box::pin` would make a call's whole
        // way elsewhere and move it here.
        let room = Box::new_uninit();
        Box::into_pin(Box::write(room, async move {
            match strict {
                Ok(()) => {
                    let answer = watch(busy, answer_1(site, request).await);
                    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                        tap.leave();
                    }
                    Ok::<_, Infallible>(answer)
                }
                Err(fault) => Ok(refuse(fault)),
            }
        }))
    });
    let connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(life.0)
            .max_header_size(HEADER_BYTES)
            .max_buf_size(HEADER_BYTES + 8192)
            .serve_connection(TokioIo::new(stream), service)
            // For WebSocket, where the gateway takes it: it alone ever answers 101 (HTTP-08).
            .with_upgrades()
    );
    live(connection, http1::UpgradeableConnection::graceful_shutdown, &activity, life).await
}

async fn serve_2(stream: Tapped, site: Site<impl Answers>, life: Life) -> hyper::Result<()> {
    let activity = Activity::new();
    let watched = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let site = site.clone();
        let busy = watched.busy();
        let answer = site.answer(request.map(Body::new));
        Box::pin(async move { Ok::<_, Infallible>(watch(busy, answer.await)) })
    });
    let connection = pin!(
        http2::Builder::new(Patient(life.0))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .max_local_error_reset_streams(RESET_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .serve_connection(TokioIo::new(stream), service)
    );
    live(connection, http2::Connection::graceful_shutdown, &activity, life).await
}

/// From here on the answer counts as work, until the last of it is taken; `busy` did since the head.
fn watch(busy: Busy, answer: Response<Body>) -> Response<Body> {
    answer.map(|body| Body::new(Watched::new(body, busy.over())))
}

/// Serves until the peer goes, or nothing went on for long enough, or everything ends. Whoever does not go when told to is
/// cut off after as long again; at the end of everything, by the listener.
async fn live<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    end: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    (idle, stop): Life,
) -> hyper::Result<()> {
    tokio::select! {
        // Nearly always it is the connection; one that never rests must not keep the rest from being asked.
        biased;
        ended = connection.as_mut() => return ended,
        () = unconstrained(activity.idle(idle)) => {}
        () = stop.cancelled() => {}
    }
    end(connection.as_mut());
    activity.touch();
    tokio::select! {
        ended = connection => ended,
        () = unconstrained(activity.idle(idle)) => Ok(()),
    }
}

async fn answer_1(site: Site<impl Answers>, request: Request<Incoming>) -> Response<Body> {
    let lender = Lender::default();
    let expects_continue = request.headers().contains_key(header::EXPECT);
    let mut response = site.answer(request.map(|body| Body::new(lender.lend(body)))).await;
    lender.settle(expects_continue, response.headers_mut()).await;
    response
}

/// RFC 9110 s9.3.2: as long as it would be, and nothing of it. Over HTTP/2 nobody else sees to that.
fn without_body(answer: Response<Body>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, Body::empty())
}

/// HTTP-04, HTTP-05: two readers could cut such a message differently, so nothing after it is believed either.
fn refuse(fault: head::Fault) -> Response<Body> {
    tracing::info!(reason = %fault, "malformed request head refused");
    let mut response = bad_request(&fault);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn of_nobody(unclear: Unclear) -> Response<Body> {
    tracing::info!(reason = %unclear, "a request of a trusted proxy refused");
    bad_request(&unclear)
}

fn bad_request(says: &impl std::fmt::Display) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{says}\n")));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
