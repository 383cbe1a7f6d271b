//! How a command ends: one line or two on stderr, and a code that scripts can rely on.

use crate::admin::AdminError;
use portcullis_client::{Error, Refusal};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Stands below the help of each command that speaks to a server.
pub(crate) const HELP: &str = "Exit codes:
  0  done
  1  the tool, or the server about this call, answered with an error
  2  usage: an argument, file or variable is missing or wrong
  3  refused: not authenticated (401; wrong secret; token for another server, expired or revoked)
  4  refused: not allowed (403; the scope or the server is beyond what this agent may have)
  5  unreachable, too slow, or its answer breaks the standards";

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The running server refused, or there is none.
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Client(#[from] Error),
    /// `plan` found something; what, stands on stdout.
    #[error("applying this file would change something")]
    Differs,
    /// `doctor` found something; what, stands on stdout.
    #[error("not everything is as it should be")]
    Found(u8),
    #[error("nothing was changed: this takes something away, and nobody agreed to it")]
    NotAgreed,
    /// Of a command for operators, whose one code for errors is 1.
    #[error("{0}")]
    Operator(String),
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
    /// The whole chain: whoever starts a server can act on any part of it.
    #[error("{0:#}")]
    Serve(anyhow::Error),
    /// What the tool said stands on stdout already.
    #[error("the tool says that it failed")]
    Tool,
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    pub(crate) fn usage(words: impl Into<String>) -> Self {
        Self::Usage(words.into())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Admin(_)
            | Self::NotAgreed
            | Self::Operator(_)
            | Self::Output(_)
            | Self::Serve(_)
            | Self::Tool => 1,
            Self::Differs | Self::Usage(_) => 2,
            Self::Found(code) => *code,
            Self::Client(error) => code_of(error),
        }
    }

    /// What to do about it, where that is not plain.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Client(Error::TokenRefused(refusal)) => refusal.hint().map(str::to_owned),
            Self::Client(Error::Unauthenticated(_)) => Some(
                "a token is good at one server only, and for minutes; get one with `portcullis token URL` for this very URL"
                    .to_owned(),
            ),
            Self::Client(Error::Forbidden(refusal)) if may_help(refusal) => {
                let mut flags = String::new();
                for scope in refusal.needed.iter() {
                    let _ = write!(flags, " --scope {scope}");
                }
                Some(format!(
                    "ask with{flags}; if that is refused too, the owner of this agent can raise its ceiling"
                ))
            }
            Self::NotAgreed => Some("answer yes on a terminal, or give --yes".to_owned()),
            Self::Admin(_) | Self::Differs | Self::Found(_) | Self::Operator(_) | Self::Client(_) | Self::Output(_) | Self::Serve(_) | Self::Tool | Self::Usage(_) => None,
        }
    }
}

/// PC-23: our gateway says when asking again is useless.
fn may_help(refusal: &Refusal) -> bool {
    let is_beyond = refusal.description.as_ref().is_some_and(|said| said.contains("beyond"));
    !refusal.needed.is_empty() && !is_beyond
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an enum open to new variants; none of them means success"
)]
fn code_of(error: &Error) -> u8 {
    match error {
        // Of our own gateway: no such server, too many calls, or the upstream is down, late or cannot be served now.
        Error::Protocol { code: -31404 | -31429 | -31502 | -31503 | -31504, .. } => 5,
        Error::Protocol { .. } => 1,
        Error::Unauthenticated(_) => 3,
        Error::TokenRefused(refusal) if refusal.error == "invalid_client" => 3,
        // Our own secret was not sent: whoever runs this must decide.
        Error::ForeignIssuer { .. } => 2,
        Error::Forbidden(_) | Error::TokenRefused(_) => 4,
        _ => 5,
    }
}

/// Says what went wrong, if anything, and gives the code.
#[expect(clippy::print_stderr, reason = "the end of a command on the terminal")]
pub(crate) fn end(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Not an error: an answer for scripts.
    if matches!(failure, Failure::Differs | Failure::Found(_)) {
        return ExitCode::from(failure.code());
    }
    // Whoever reads has had enough: `portcullis … | head`.
    if matches!(&failure, Failure::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {failure}");
    if let Some(hint) = failure.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(failure.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_client::TokenRefusal;

    #[test]
    fn every_kind_of_refusal_has_the_code_that_the_help_promises() {
        let refused = |error: &str| {
            Failure::Client(Error::TokenRefused(TokenRefusal { error: error.to_owned(), description: None }))
        };
        for (failure, code) in [
            (Failure::Tool, 1),
            (Failure::usage("x"), 2),
            (refused("invalid_client"), 3),
            (Failure::Client(Error::Unauthenticated(Refusal::default())), 3),
            (refused("invalid_scope"), 4),
            (refused("invalid_target"), 4),
            (Failure::Client(Error::Forbidden(Refusal::default())), 4),
            (Failure::Client(Error::Tls("x".to_owned())), 5),
            (Failure::Client(Error::Protocol { code: -32602, message: "x".to_owned() }), 1),
            (Failure::Client(Error::Protocol { code: -31502, message: "x".to_owned() }), 5),
        ] {
            assert_eq!(failure.code(), code, "{failure}");
        }
    }

    #[test]
    fn pc_23_a_refusal_for_scope_says_how_to_ask() {
        let refusal = Refusal { needed: "notes:read notes:write".parse().unwrap(), ..Refusal::default() };
        let hint = Failure::Client(Error::Forbidden(refusal)).hint().unwrap();
        assert!(hint.starts_with("ask with --scope notes:read --scope notes:write;"), "{hint}");
        let refusal = Refusal {
            needed: "notes:write".parse().unwrap(),
            description: Some(
                "needs notes:write, which is beyond this agent's ceiling: ask its owner".to_owned(),
            ),
            ..Refusal::default()
        };
        assert_eq!(Failure::Client(Error::Forbidden(refusal)).hint(), None, "asking again cannot help");
    }
}
