//! What answers, and what should not.

use super::{Findings, chain};
use crate::config::Config;
use portcullis_client::{Client, Error};
use portcullis_domain::registry::{Placement, Upstream};
use portcullis_store::Registry;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Upstreams that are asked at once.
const AT_ONCE: usize = 16;

/// Whether the server runs and answers, and whether its address is free otherwise.
pub(super) async fn server(config: &Config, is_running: bool, findings: &mut Findings) {
    let address = config.listen;
    if is_running {
        match tokio::time::timeout(PATIENCE, ask(&config.data.join("admin.sock"))).await {
            Ok(Ok(200)) => findings.ok("server", "it runs, and answers on its socket"),
            Ok(Ok(status)) => {
                findings.warning("server", format!("it answers {status} on its socket"), "its log says why");
            }
            Ok(Err(error)) => findings.problem(
                "server",
                format!("it runs, but its socket fails: {error}"),
                "run this as the user who serves; otherwise start it again",
            ),
            Err(_) => {
                findings.problem("server", "it runs, but does not answer", "look at its log; start it again");
            }
        }
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => findings.ok("address", format!("{address} is open")),
            Ok(Err(_)) | Err(_) => findings.problem(
                "address",
                format!("nobody listens on {address}"),
                "was it started with another --listen or configuration?",
            ),
        }
        return;
    }
    findings.warning("server", "no server runs on this data folder", "start `portcullis serve`");
    match TcpListener::bind(address).await {
        Ok(_) => findings.ok("address", format!("{address} is free")),
        Err(error) => findings.problem(
            "address",
            format!("{address} cannot be used: {error}"),
            "end the other program, or choose another address",
        ),
    }
}

/// The status of a question on the admin socket.
async fn ask(socket: &Path) -> io::Result<u16> {
    let mut stream = UnixStream::connect(socket).await?;
    stream
        .write_all(b"GET /api/v1/sessions?limit=1 HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
        .await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let text = String::from_utf8_lossy(&head);
    text.rsplit(' ')
        .next()
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other("its answer is not HTTP"))
}

/// As a caller from outside finds us: from a server's address to its authority.
pub(super) async fn public_url(
    config: &Config,
    is_running: bool,
    registry: &Registry,
    findings: &mut Findings,
) {
    let what = format!("public address {}", config.issuer);
    let behind_us =
        registry.servers.iter().find(|server| matches!(server.placement, Placement::Gateway { .. }));
    let (true, Some(server)) = (is_running, behind_us) else { return };
    let Ok(client) = Client::new() else { return };
    let asked = tokio::time::timeout(PATIENCE, client.discover(&server.canonical_uri)).await;
    let remedy = "from here it may be out of reach although others reach it; check DNS, the proxy in front and its certificate";
    match asked {
        Ok(Ok(found)) if found.authority.issuer == config.issuer.to_string() => {
            findings.ok(what, "leads to us");
        }
        Ok(Ok(found)) => findings.problem(
            what,
            format!("the server {} names another authority, {}", server.name, found.authority.issuer),
            "somebody else answers there",
        ),
        Ok(Err(error)) => findings.warning(what, chain(&error), remedy),
        Err(_) => findings.warning(what, "it does not answer", remedy),
    }
}

/// PC-05: an upstream that serves whoever asks is open to everybody who reaches it past the gateway.
pub(super) async fn upstreams(registry: &Registry, findings: &mut Findings) {
    let mut wanted = registry.servers.iter().filter_map(|server| match &server.placement {
        // Without its own authority and our certificate nothing could be told of it.
        Placement::Gateway { upstream: Upstream::Url(url), tls, .. } if tls.is_usual() => {
            Some((server.name.to_string(), url.clone()))
        }
        Placement::Gateway { upstream: Upstream::Url(_) | Upstream::Command(_), .. } | Placement::Direct => {
            None
        }
    });
    loop {
        let some: Vec<_> = wanted.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return;
        }
        let asked = some.into_iter().map(|(name, url)| async move {
            let answer = tokio::time::timeout(PATIENCE, portcullis_client::describe(&url, &[])).await;
            (name, answer.unwrap_or(Err(Error::TimedOut(PATIENCE))))
        });
        for (name, answer) in futures_util::future::join_all(asked).await {
            upstream(&name, answer.map(drop), findings);
        }
    }
}

fn upstream(name: &str, answer: Result<(), Error>, findings: &mut Findings) {
    let what = format!("upstream of {name}");
    match answer {
        Ok(()) => findings.warning(
            what,
            "it answers without a credential",
            "whoever reaches it past the gateway needs no token: let it check our assertion, or let only the gateway reach it",
        ),
        Err(Error::Unauthenticated(_) | Error::Forbidden(_)) => {
            findings.ok(what, "it answers, and wants a credential");
        }
        Err(error) => findings.problem(what, chain(&error), "is it running, and is `upstream` right?"),
    }
}
