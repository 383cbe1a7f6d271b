//! `portcullis call URL TOOL [JSON]`: one tool call, for a machine.

use crate::credentials::{Source, variable};
use crate::exit::{self, Failure};
use portcullis_client::{AccessToken, Client, Outcome, ResourceUri, Scope, TokenWish, ToolCall};
use serde_json::{Map, Value};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Where a token is looked for when no variable is named.
const TOKEN: &str = "PORTCULLIS_TOKEN";

/// Call a tool of an MCP server
///
/// With a token from --token-env, or from the variable PORTCULLIS_TOKEN, or else with one that it gets for this call with
/// the agent's client id and secret.
#[derive(clap::Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Arguments {
    /// The server's canonical URI, exactly as it is registered: https (or http on loopback), no slash at the end
    url: ResourceUri,

    /// The name of the tool
    tool: String,

    /// Its arguments, a JSON object
    #[arg(value_name = "JSON", value_parser = object)]
    object: Option<Object>,

    #[command(flatten)]
    credentials: Source,

    /// Ask for this scope (several times if needed); without it you get the server's default
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<Scope>,

    /// Use the token in this environment variable
    #[arg(long, value_name = "NAME", conflicts_with_all = ["credentials", "scope"])]
    token_env: Option<String>,

    /// How many seconds the tool may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// Print the whole result as JSON instead of its text
    #[arg(long)]
    json: bool,
}

type Object = Map<String, Value>;

fn object(text: &str) -> Result<Object, &'static str> {
    serde_json::from_str(text).map_err(|_| r#"must be a JSON object, such as '{"title": "Milk"}'"#)
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new()?.with_patience(Duration::from_secs(arguments.timeout));
    let token = token(&client, &arguments).await?;
    let call = ToolCall::new(arguments.tool).with_arguments(arguments.object.unwrap_or_default());
    let outcome = client.call(&arguments.url, &token, &call).await?;
    print(&outcome, arguments.json)?;
    if outcome.is_error() { Err(Failure::Tool) } else { Ok(()) }
}

/// A token that was named, then credentials that were named, then a token that lies there, then credentials.
async fn token(client: &Client, arguments: &Arguments) -> Result<AccessToken, Failure> {
    if let Some(name) = &arguments.token_env {
        return match variable(name)? {
            Some(token) => Ok(AccessToken::new(token)),
            None => Err(Failure::usage(format!("{name} is not set"))),
        };
    }
    if !arguments.credentials.names_a_file()
        && arguments.scope.is_empty()
        && let Some(token) = variable(TOKEN)?
    {
        return Ok(AccessToken::new(token));
    }
    let credentials = arguments.credentials.read()?;
    let wish = TokenWish { scopes: arguments.scope.iter().collect(), session_id: None };
    let token = client.machine_token(&arguments.url, &credentials, &wish).await?;
    Ok(token.access_token)
}

fn print(outcome: &Outcome, json: bool) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{:#}", outcome.to_json())?;
    } else if stdout.is_terminal() {
        writeln!(stdout, "{}", for_terminal(&outcome.text()))?;
    } else {
        writeln!(stdout, "{}", outcome.text())?;
    }
    Ok(())
}

/// A tool must not steer the terminal of whoever called it: escapes become visible.
fn for_terminal(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_or_nothing() {
        assert_eq!(object(r#"{"a": 1}"#).unwrap().len(), 1);
        for bad in ["", "1", "[]", "null", "{", "{'a': 1}"] {
            assert!(object(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tool_cannot_steer_the_terminal() {
        assert_eq!(for_terminal("a\u{1b}[2J\tb\nc\r\u{9b}"), "a\u{fffd}[2J\tb\nc\u{fffd}\u{fffd}");
    }
}
