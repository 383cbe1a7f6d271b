//! The yardstick: hyper in, hyper out, nothing looked at.

use anyhow::{Context as _, Result};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::TcpListener;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// `host:port` of the upstream
    #[arg(long)]
    to: Authority,
}

type Upstream = Client<HttpConnector, Incoming>;

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let listener = TcpListener::bind(arguments.listen).await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    #[expect(clippy::disallowed_methods, reason = "this is no part of the product")]
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, to) = (client.clone(), arguments.to.clone());
        let service = service_fn(move |request| forward(client.clone(), to.clone(), request));
        // A client that went away is no news.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn forward(
    client: Upstream,
    to: Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>> {
    let mut address = request.uri().clone().into_parts();
    address.scheme = Some(Scheme::HTTP);
    address.authority = Some(to);
    *request.uri_mut() = Uri::from_parts(address)?;
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    client.request(request).await.context("the upstream is not there")
}
