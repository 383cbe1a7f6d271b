//! Idle streams: opened, answered once, and held until nobody wants them any more.

use crate::message::Connection;
use anyhow::{Context as _, Result, bail};
use http::Uri;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is listened to
    #[arg(long)]
    url: Uri,
    /// How many streams
    #[arg(long)]
    count: usize,
    /// Access tokens; the first is used
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Also be the upstream, at this address
    #[arg(long, value_name = "ADDRESS")]
    upstream: SocketAddr,
}

/// What is held.
#[derive(Serialize)]
struct Held {
    streams: usize,
}

/// What the upstream says once on each stream.
const HELLO: &[u8] = b": hello\n\n";

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let tokens = std::fs::read_to_string(&arguments.tokens).context("cannot read the tokens")?;
    let token = tokens.lines().next().context("no token")?;
    tokio::spawn(serve(TcpListener::bind(arguments.upstream).await?));
    let address = arguments.url.authority().context("the URL names no host")?.as_str();
    let request = request(address, arguments.url.path(), token);
    let mut held = Vec::with_capacity(arguments.count);
    for _ in 0..arguments.count {
        held.push(listen(address, &request).await?);
    }
    println!("{}", serde_json::to_string(&Held { streams: held.len() })?);
    // Until whoever started it closes.
    let _nothing = tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn serve(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        // A gateway that went away is no news.
        tokio::spawn(quiet(stream));
    }
}

async fn quiet(stream: TcpStream) -> Result<()> {
    let mut connection = Connection::new(stream)?;
    if connection.read().await?.is_none() {
        return Ok(());
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [format!("{head}{:x}\r\n", HELLO.len()).as_bytes(), HELLO, b"\r\n"].concat();
    connection.stream.write_all(&chunk).await?;
    // Until the other side closes.
    let _closed = connection.read().await?;
    Ok(())
}

async fn listen(address: &str, request: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    while !answer.windows(HELLO.len()).any(|part| part == HELLO) {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("no stream: {}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(stream)
}

fn request(address: &str, path: &str, token: &str) -> Vec<u8> {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true}},{meta}}}}}"#
    );
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: subscriptions/listen\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
