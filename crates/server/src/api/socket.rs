//! The socket of the admin API, `admin.sock` in the data folder: who may connect is asked of the kernel.

use super::operator::admit;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Its name in the data folder.
pub const NAME: &str = "admin.sock";

/// A request's headers arrive within this.
const HEADER_TIME: Duration = Duration::from_secs(15);

/// After an error of accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections at once. They are all of one operator.
const CONNECTIONS: usize = 64;

/// The socket, for as long as this process serves; its file goes with it.
#[derive(Debug)]
pub struct AdminSocket {
    socket: UnixListener,
    path: PathBuf,
}

/// There is no socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot make the socket {}: on many systems its path may have 100 characters at most; choose another data folder with --data",
    path.display()
)]
pub struct SocketError {
    path: PathBuf,
    source: io::Error,
}

impl AdminSocket {
    /// Makes the socket (0600). The folder must be ours alone (`DataFolder`): whatever has this name was left by a
    /// process that ended.
    pub fn bind(folder: &Path) -> Result<Self, SocketError> {
        let path = folder.join(NAME);
        match Self::bind_and_move(folder, &path) {
            Ok(socket) => Ok(Self { socket, path }),
            Err(source) => Err(SocketError { path, source }),
        }
    }

    /// Nobody can connect by the well-known name before the mode is right.
    fn bind_and_move(folder: &Path, path: &Path) -> io::Result<UnixListener> {
        let new = folder.join("admin.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(socket)
    }

    /// Serves until `stop`, then lets open connections finish what they are doing until `grace` is over.
    pub async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) {
        let graceful = GracefulShutdown::new();
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept(), if open.len() < CONNECTIONS => accepted,
                Some(_) = open.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    if let Some(router) = admit_peer(&stream, &router) {
                        open.spawn(connection(stream, router, graceful.watcher()));
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "an admin connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(self);
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::info!(open = open.len(), "admin connections cut at the end of the grace");
        }
        open.shutdown().await;
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

/// SO_PEERCRED, or its like: who connected, as the kernel saw it then. Others get no answer at all.
fn admit_peer(stream: &UnixStream, router: &Router) -> Option<Router> {
    let peer = stream.peer_cred().map(|credentials| credentials.uid());
    let admitted = peer.as_ref().ok().and_then(|uid| admit(router.clone(), *uid));
    if admitted.is_none() {
        tracing::warn!(peer.uid = ?peer.ok(), "an admin connection of another user was refused");
    }
    admitted
}

async fn connection(stream: UnixStream, router: Router, watcher: Watcher) {
    let service =
        service_fn(move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error = %error, "admin connection ended");
    }
}
