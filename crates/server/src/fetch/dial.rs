//! Dialling: the address that was checked is the address that is connected to (CIMD-04), and TLS is for the name.

use super::Unfetched;
use super::places::{Place, Unfit};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes in and out.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) async fn dial(place: &Place, tls: &TlsConnector) -> Result<Box<dyn Stream>, Unfetched> {
    let stream = connect(place).await?;
    if !place.is_https() {
        return Ok(Box::new(stream));
    }
    let host = place.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|_| Unfit::Form)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

async fn connect(place: &Place) -> Result<TcpStream, Unfetched> {
    let addresses = match place.literal() {
        Some(address) => vec![SocketAddr::new(address, place.port())],
        None => tokio::net::lookup_host((place.host(), place.port())).await?.collect(),
    };
    // One private address among several is enough to be refused: which one is dialled would be theirs to choose.
    for address in &addresses {
        place.admits(address.ip())?;
    }
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure.into())
}
