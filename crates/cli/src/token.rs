//! `portcullis token URL`: a token for one MCP server, for a machine.

use crate::credentials::Source;
use crate::exit::{self, Failure};
use portcullis_client::{Client, ResourceUri, Scope, Token, TokenWish};
use std::io::Write as _;

/// Get an access token for an MCP server, with an agent's client id and secret
#[derive(clap::Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Arguments {
    /// The server's canonical URI, exactly as it is registered: https (or http on loopback), no slash at the end
    url: ResourceUri,

    #[command(flatten)]
    credentials: Source,

    /// Ask for this scope (several times if needed); without it you get the server's default
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<Scope>,

    /// Stay in this session instead of beginning a new one; its id is in the JSON of an earlier token
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Print the whole answer as JSON instead of the token alone
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let credentials = arguments.credentials.read()?;
    let wish = TokenWish { scopes: arguments.scope.into_iter().collect(), session_id: arguments.session };
    let token = Client::new()?.machine_token(&arguments.url, &credentials, &wish).await?;
    print(&token, arguments.json)
}

/// The one place that writes a token: on stdout, for whoever asked.
fn print(token: &Token, json: bool) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    if json {
        let answer = serde_json::json!({
            "access_token": token.access_token.reveal(),
            "token_type": "Bearer",
            "expires_in": token.expires_in,
            "scope": token.scope,
            "session_id": token.session_id,
        });
        writeln!(stdout, "{answer:#}")?;
    } else {
        writeln!(stdout, "{}", token.access_token.reveal())?;
    }
    Ok(())
}
