//! How upstreams and issuers are dialled: by an address where one may stand (UPS-04), within a time that is apart from the
//! time for an answer, and through no proxy.

use super::breaker::Breaker;
use crate::settings::Clock;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use portcullis_domain::registry::is_never_dialled;
use portcullis_oauth::upstream::UpstreamUrl;
use rustix::io::Errno;
use rustls::ClientConfig;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

/// A host that vanished is noticed although nothing is sent to it: streams may be silent for hours.
const KEEP_ALIVE: Duration = Duration::from_mins(1);

/// What hyper speaks over. Of what it knows about itself nothing is told but the protocol: hyper would make a copy of it for
/// each answer.
#[derive(Debug)]
pub struct Dialled(MaybeHttpsStream<TokioIo<TcpStream>>);

/// Dials http and https.
#[derive(Clone)]
pub struct Connector {
    https: HttpsConnector<HttpConnector<Resolver>>,
    patience: Duration,
    report: Option<(Arc<Breaker>, Clock)>,
}

impl Connector {
    /// A connection takes at most `patience`, name and handshake included.
    pub(super) fn new(tls: Arc<ClientConfig>, patience: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEP_ALIVE));
        http.set_connect_timeout(Some(patience));
        Self { https: HttpsConnector::from((http, tls)), patience, report: None }
    }

    /// Says how each attempt went.
    pub(super) fn reporting(self, breaker: Arc<Breaker>, clock: Clock) -> Self {
        Self { report: Some((breaker, clock)), ..self }
    }
}

impl Service<Uri> for Connector {
    type Response = Dialled;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Dialled, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        // An address as host is dialled without asking the resolver.
        let is_barred = to.to_string().parse::<UpstreamUrl>().ok().and_then(|url| url.address());
        let dialling = self.https.call(to);
        let (patience, report) = (self.patience, self.report.clone());
        Box::pin(async move {
            let dialled = async {
                if is_barred.is_some_and(is_never_dialled) {
                    return Err(barred().into());
                }
                let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
                tokio::time::timeout(patience, dialling).await.map_err(|_| late())?
            }
            .await;
            match (&dialled, report) {
                (Ok(_), Some((breaker, _))) => breaker.connected(),
                (Err(error), Some((breaker, clock))) if !is_our_lack(error.as_ref()) => {
                    breaker.failed(clock());
                }
                (Ok(_) | Err(_), _) => {}
            }
            dialled.map(Dialled)
        })
    }
}

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        let is_http2 = self.0.connected().is_negotiated_h2();
        if is_http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Dialled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, parts)
    }
}

/// Names lead to addresses where an upstream may stand, or nowhere.
#[derive(Clone)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move { allowed(resolving.await?) })
    }
}

/// One bad address among good ones is a trick or a mistake: the name is not dialled at all.
fn allowed(found: impl Iterator<Item = SocketAddr>) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let found: Vec<SocketAddr> = found.collect();
    if found.iter().any(|address| is_never_dialled(address.ip())) {
        return Err(barred());
    }
    Ok(found.into_iter())
}

fn barred() -> io::Error {
    let says =
        "it leads to a link-local, cloud metadata, multicast or unspecified address, which is never dialled";
    io::Error::new(io::ErrorKind::PermissionDenied, says)
}

/// Whether this machine, and not the upstream, had no room for a connection.
fn is_our_lack(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(cause) = error {
        let failed = cause.downcast_ref::<io::Error>();
        if let Some(number) = failed.and_then(io::Error::raw_os_error) {
            return [Errno::MFILE, Errno::NFILE, Errno::NOBUFS]
                .iter()
                .any(|lack| lack.raw_os_error() == number);
        }
        error = match failed.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ups_04_a_name_that_leads_to_a_metadata_address_is_not_dialled() {
        let found = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|one| one.parse().unwrap()).collect();
            allowed(addresses.into_iter()).map(Iterator::count)
        };
        assert_eq!(found(&["10.0.0.1:80", "[::1]:80"]).unwrap(), 2);
        for bad in [&["169.254.169.254:80"][..], &["10.0.0.1:80", "[::ffff:169.254.169.254]:80"]] {
            assert_eq!(found(bad).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn dos_09_what_this_machine_lacks_is_no_failure_of_the_upstream() {
        let error = |number: Errno| io::Error::other(io::Error::from(number));
        assert!(is_our_lack(&error(Errno::MFILE)));
        assert!(!is_our_lack(&error(Errno::CONNREFUSED)));
        assert!(!is_our_lack(&io::Error::other("no number")));
    }
}
