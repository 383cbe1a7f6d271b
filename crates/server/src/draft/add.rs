//! `server add`: from an address, or a program of this machine, to a drafted `[[server]]`.

use super::{Drafted, IntoError, Names, append, describe_command, draft, legal_name};
use crate::config::{Config, ConfigError};
use portcullis_client::{Client, Error, Header, ResourceUri, describe};
use portcullis_domain::fleet::{Fleet, Problem, Surroundings};
use portcullis_domain::registry::{Name, Upstream};
use portcullis_oauth::upstream::{InvalidUpstream, UpstreamUrl};
use std::collections::BTreeSet;
use std::path::Path;

/// What is added.
pub enum Source<'a> {
    /// A Streamable HTTP address, asked with these headers.
    Address {
        /// As it goes into the fleet file.
        url: &'a str,
        /// For the question only.
        headers: &'a [Header],
    },
    /// A program of this machine's `[command]` table.
    Command(&'a str),
}

/// Why nothing was drafted.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// This machine's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another server, or another program, than there is.
    #[error("this machine's portcullis.toml defines no [command.{0}]; there is: {1}")]
    NoCommand(String, String),
    /// The address.
    #[error("the address {0}")]
    Address(#[from] InvalidUpstream),
    /// The name.
    #[error("{0}")]
    Name(#[from] portcullis_domain::registry::InvalidName),
    /// It wants a token of somebody else's.
    #[error("the server wants OAuth itself (401){}", .0.as_deref().map(|who| format!(": its tokens come from {who}")).unwrap_or_default())]
    WantsOauth(Option<String>),
    /// It does not answer.
    #[error(transparent)]
    Server(Error),
    /// The program does not answer.
    #[error("the program {0}: {1}")]
    Program(String, super::ProgramError),
    /// A fault of ours.
    #[error("the draft is no fleet file; this is a fault of Portcullis: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Draft(Vec<Problem>),
    /// The fleet file.
    #[error(transparent)]
    Into(#[from] IntoError),
}

/// Asks, and drafts. With a fleet file, the name is one that is free there.
pub async fn add(
    config: &Config,
    source: Source<'_>,
    name: Option<&str>,
    into: Option<&Path>,
) -> Result<(String, Drafted), AddError> {
    let name = match name {
        Some(name) => name.parse::<Name>()?.to_string(),
        None => Names::new(taken(config, into)?).give(&wish(&source)),
    };
    let (upstream, said) = match source {
        Source::Address { url, headers } => {
            url.parse::<UpstreamUrl>()?;
            let said = match describe(url, headers).await {
                Ok(said) => said,
                Err(Error::Unauthenticated(_)) => return Err(AddError::WantsOauth(issuer_of(url).await)),
                Err(error) => return Err(AddError::Server(error)),
            };
            (Upstream::Url(url.to_owned()), said)
        }
        Source::Command(command) => {
            let program = config.commands.get(command).ok_or_else(|| {
                let known: Vec<&str> = config.commands.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                AddError::NoCommand(command.to_owned(), known)
            })?;
            let said = describe_command(program, &name).await;
            let said = said.map_err(|error| AddError::Program(command.to_owned(), error))?;
            (Upstream::Command(command.to_owned()), said)
        }
    };
    let drafted = draft(&name, &upstream, &said).map_err(AddError::Draft)?;
    if let Some(file) = into {
        let commands = config.commands.keys().cloned().collect();
        append(file, &drafted.text, Surroundings { issuer: &config.issuer, commands: &commands })?;
    }
    Ok((name, drafted))
}

/// Names of the servers in the fleet file.
fn taken(config: &Config, into: Option<&Path>) -> Result<BTreeSet<String>, AddError> {
    let Some(file) = into else { return Ok(BTreeSet::new()) };
    let text = std::fs::read_to_string(file).map_err(IntoError::File)?;
    let commands = config.commands.keys().cloned().collect();
    let fleet = Fleet::parse(&text, Surroundings { issuer: &config.issuer, commands: &commands });
    let fleet = fleet.map_err(IntoError::Before)?;
    Ok(fleet.servers.iter().map(|server| server.name.to_string()).collect())
}

/// The last telling part of the path, or the host.
fn wish(source: &Source<'_>) -> String {
    match source {
        Source::Command(command) => (*command).to_owned(),
        Source::Address { url, .. } => {
            let Ok(url) = url::Url::parse(url) else { return String::new() };
            let telling = |part: &&str| !matches!(*part, "" | "mcp" | "sse" | "api" | "v1" | "v2");
            let part = url.path_segments().and_then(|mut parts| parts.rfind(telling).map(legal_name));
            let host = url.host_str().unwrap_or_default();
            let host = host.strip_prefix("mcp.").or_else(|| host.strip_prefix("www.")).unwrap_or(host);
            part.unwrap_or_else(|| host.split('.').next().unwrap_or_default().to_owned())
        }
    }
}

/// Whose tokens the server takes, if it says so.
async fn issuer_of(url: &str) -> Option<String> {
    let server: ResourceUri = url.parse().ok()?;
    let found = Client::new().ok()?.discover(&server).await.ok()?;
    Some(super::text::plain(&found.authority.issuer, 200))
}
