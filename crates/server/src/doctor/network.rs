//! What answers, and what should not.

use super::{Findings, chain};
use crate::config::Config;
use portcullis_client::{Client, Error};
use portcullis_domain::registry::{Placement, Upstream};
use portcullis_store::Registry;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of our own server, which answers in little.
const MOST_OF_AN_ANSWER: u64 = 1024 * 1024;

/// Upstreams that are asked at once.
const AT_ONCE: usize = 16;

/// Whether the server runs and answers, and whether its address is free otherwise.
pub(super) async fn server(config: &Config, is_running: bool, findings: &mut Findings) {
    let address = config.listen;
    if is_running {
        let socket = config.data.join("admin.sock");
        match tokio::time::timeout(PATIENCE, ask(&socket, "/api/v1/sessions?limit=1")).await {
            Ok(Ok((200, _))) => {
                findings.ok("server", "it runs, and answers on its socket");
                fleet_file(&socket, findings).await;
            }
            Ok(Ok((status, _))) => {
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

/// How the fleet file stands that the server follows, if it follows one.
async fn fleet_file(socket: &Path, findings: &mut Findings) {
    let Ok(Ok((200, body))) = tokio::time::timeout(PATIENCE, ask(socket, "/api/v1/fleet/file")).await else {
        return;
    };
    let standing: Value = serde_json::from_slice(&body).unwrap_or_default();
    let what = format!("fleet file {}", standing["file"].as_str().unwrap_or_default());
    match standing["says"].as_str() {
        None => findings.ok(&what, "applied as it stands"),
        Some(says) => findings.problem(
            &what,
            format!("it cannot be applied, and the fleet stays as it was: {says}"),
            "mend it, or put back what it was; it is read again by itself",
        ),
    }
    for remark in standing["remarks"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        findings.warning(&what, remark, "change the file if this is not what you want");
    }
}

/// Status and body of the answer to a question on the admin socket.
async fn ask(socket: &Path, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_OF_AN_ANSWER).read_to_end(&mut answer).await?;
    let status = answer.get(9..12).and_then(|code| str::from_utf8(code).ok()?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("its answer is not HTTP"))?;
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    Ok((status, answer.split_off(head)))
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
