//! The accept loop: who may connect, how slowly a request may arrive, and how everything ends.
//!
//! Our own instead of `axum::serve`, which has no bounds on the time and size of headers.

mod activity;
mod connection;
mod course;
pub mod forwarded;
mod head;
mod leftover;
mod places;
mod stream;
mod taken;
mod tap;
pub mod tls;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use connection::Site;
use forwarded::TrustedProxies;
use places::{Most, Peer, Place, Places};
use portcullis_gateway::ClientAddress;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::Tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Answers requests.
pub trait Answers: Clone + Send + Sync + 'static {
    /// Answers one, `from` where it really comes. Not boxed: its room is in the connection's own task.
    fn answer(&self, request: Request, from: Option<ClientAddress>) -> impl Future<Output = Response> + Send;
}

/// Its handlers find where a request comes from among the extensions.
impl Answers for Router {
    async fn answer(&self, mut request: Request, from: Option<ClientAddress>) -> Response {
        if let Some(from) = from {
            request.extensions_mut().insert(from);
        }
        let Ok::<_, Infallible>(response) = self.clone().oneshot(request).await;
        response
    }
}

/// After an error of accept that is not the connection's own, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// What strangers may take, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one address (of one /64 network, in IPv6).
    pub of_one_address: usize,
    /// Connections at once of one trusted proxy.
    pub of_one_proxy: usize,
    /// To send all headers of a request; also how long a connection without a request stays open (CWE-400).
    pub idle: Duration,
    /// After `stop`, for requests to finish.
    pub grace: Duration,
}

impl Bounds {
    /// What holds unless somebody has a reason: one address may have a quarter of all, a trusted proxy seven eighths.
    pub fn of(connections: usize, grace: Duration) -> Self {
        Self {
            connections,
            of_one_address: connections.div_ceil(4),
            of_one_proxy: connections - connections / 8,
            idle: Duration::from_secs(15),
            grace,
        }
    }
}

/// An address that is ours.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    proxies: Arc<TrustedProxies>,
}

/// Why an address cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program listens there.
    #[error(
        "{0} is in use by another program: stop it, or choose another address with --listen or listen.address"
    )]
    InUse(SocketAddr),
    /// Not for us.
    #[error(
        "not allowed to listen on {0}: ports below 1024 need privileges; choose another with --listen or listen.address"
    )]
    NotAllowed(SocketAddr),
    /// Not an address of this machine, or something else.
    #[error("cannot listen on {address}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl BindError {
    fn of(address: SocketAddr, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            Self::InUse(address)
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            Self::NotAllowed(address)
        } else {
            Self::Other { address, source }
        }
    }
}

impl Listener {
    /// Takes the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        // `TcpListener::bind` sets SO_REUSEADDR on Unix: a restart need not wait for old connections to be forgotten.
        let socket = TcpListener::bind(address).await.map_err(|source| BindError::of(address, source))?;
        let address = socket.local_addr().unwrap_or(address);
        Ok(Self { socket, address, tls: None, proxies: Arc::default() })
    }

    /// Serves https.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Believes these about whose requests they bring.
    #[must_use]
    pub fn behind(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = Arc::new(proxies);
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets open connections finish what they are doing until the grace is over.
    pub async fn serve(self, answers: impl Answers, bounds: Bounds, stop: CancellationToken) {
        let most = Most { of_anybody: bounds.of_one_address, of_a_proxy: bounds.of_one_proxy };
        let places = Places::new(bounds.connections, most);
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&places) => accepted,
            };
            if let Some((stream, peer, place)) = accepted {
                let site = Site { answers: answers.clone(), peer, proxies: Arc::clone(&self.proxies) };
                let life = (bounds.idle, stop.clone());
                open.spawn(connection::serve((stream, self.tls.clone()), site, life, place));
            }
            while open.try_join_next().is_some() {}
        }
        drop(self.socket);
        let all_end = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(bounds.grace, all_end).await.is_err() {
            tracing::info!(open = open.len(), "connections cut at the end of the grace");
        }
        open.shutdown().await;
    }

    /// One more connection, as soon as there is a place for it.
    async fn accept(&self, places: &Places) -> Option<(TcpStream, SocketAddr, Place)> {
        let place = places.any().await?;
        match self.socket.accept().await {
            Ok((stream, peer)) => {
                // Small answers should not wait for acknowledgements; a failure costs speed only.
                let _best_effort = stream.set_nodelay(true);
                let place = places.take(place, self.kind_of(peer))?;
                Some((stream, peer, place))
            }
            Err(error) if is_the_connections_own(&error) => None,
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    fn kind_of(&self, peer: SocketAddr) -> Peer {
        let source = peer.ip().into();
        if self.proxies.contain(peer.ip()) { Peer::Proxy(source) } else { Peer::Anybody(source) }
    }
}

/// It went away before it was accepted: the next one need not wait for that.
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
