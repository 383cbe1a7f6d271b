//! Real access tokens, from the token endpoint, by client credentials.

use crate::message::Connection;
use anyhow::{Context as _, Result, bail};
use http::Uri;
use serde::Deserialize;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The token endpoint
    #[arg(long)]
    endpoint: Uri,
    /// As delivered by the product
    #[arg(long, value_name = "FILE")]
    credentials: PathBuf,
    /// Which server they are for
    #[arg(long)]
    resource: String,
    #[arg(long)]
    count: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Made anew, readable by nobody else
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Deserialize)]
struct Credentials {
    client_id: String,
    client_secret: String,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
}

struct Plan {
    address: String,
    request: Vec<u8>,
    count: usize,
    begun: AtomicUsize,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let credentials: Credentials = serde_json::from_slice(&std::fs::read(&arguments.credentials)?)?;
    let address = arguments.endpoint.authority().context("the URL names no host")?.to_string();
    let body = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&resource={}",
        credentials.client_id, credentials.client_secret, arguments.resource
    );
    let path = arguments.endpoint.path();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let plan =
        Plan { address, request: request.into_bytes(), count: arguments.count, begun: AtomicUsize::new(0) };
    let plan = Arc::new(plan);
    let start = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..arguments.connections {
        connections.spawn(Arc::clone(&plan).connection());
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&arguments.out)?;
    while let Some(done) = connections.join_next().await {
        for token in done?? {
            writeln!(file, "{token}")?;
        }
    }
    println!("{}", serde_json::json!({ "seconds": start.elapsed().as_secs_f64() }));
    Ok(())
}

impl Plan {
    async fn connection(self: Arc<Self>) -> Result<Vec<String>> {
        let mut connection = Connection::new(TcpStream::connect(&self.address).await?)?;
        let mut tokens = Vec::new();
        while self.begun.fetch_add(1, Ordering::Relaxed) < self.count {
            connection.stream.write_all(&self.request).await?;
            let answer = connection.read().await?.context("no answer")?;
            if !answer.head.starts_with(b"HTTP/1.1 200") {
                bail!("no token: {}", String::from_utf8_lossy(answer.body));
            }
            let answer: Answer = serde_json::from_slice(answer.body)?;
            tokens.push(answer.access_token);
        }
        Ok(tokens)
    }
}
