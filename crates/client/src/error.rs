//! What can go wrong for a caller, in words that say what to do.

use portcullis_oauth::scope::ScopeSet;
use std::fmt;
use std::time::Duration;

/// Why there is no token, or no result. Never contains a secret; words of other parties are bounded to one plain line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// 403: the token is good, but not for this call.
    #[error("refused (403): {0}")]
    Forbidden(Refusal),
    /// The server names an authority that the credentials are not for; they were not sent.
    #[error(
        "the server names the authority {named}, but these credentials are for {expected}; nothing was sent. \
         If it is right, say so with the credentials (`issuer`)"
    )]
    ForeignIssuer {
        /// Whom the server named.
        named: String,
        /// Whom the credentials are for.
        expected: String,
    },
    /// Nothing at this address publishes protected-resource metadata (RFC 9728).
    #[error(
        "no MCP server that takes OAuth tokens was found at {server} (no protected-resource metadata): check the address"
    )]
    NotProtected {
        /// The address that was asked.
        server: String,
    },
    /// JSON-RPC: the server understood who calls and what for, and answered with an error.
    #[error("the server answered with error {code}: {message}")]
    Protocol {
        /// The JSON-RPC code.
        code: i32,
        /// What the server says about it.
        message: String,
    },
    /// The patience of the caller ended before the answer came. The tool may have run.
    #[error("no answer within {} s; the tool may have run all the same", .0.as_secs())]
    TimedOut(Duration),
    /// The machine's TLS configuration could not be read.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The authority gave no token.
    #[error("no token: {0}")]
    TokenRefused(TokenRefusal),
    /// 401: the server does not take this token, or any.
    #[error("refused (401): {0}")]
    Unauthenticated(Refusal),
    /// It is there, but not at work: a 5xx, or a limit was reached (429).
    #[error("{host} answered {status}{}", Later(*.retry_after))]
    Unavailable {
        /// Who.
        host: String,
        /// The HTTP status.
        status: u16,
        /// In how many seconds to come back, if the server said.
        retry_after: Option<u64>,
    },
    /// No connection, or it broke.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Whom.
        host: String,
        /// In one line.
        reason: String,
    },
    /// An answer that the standards forbid; going on would not be safe.
    #[error("{address}: {problem}")]
    Unusable {
        /// Where the answer came from.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What a server said when it refused (RFC 6750 s3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// `invalid_token`, `insufficient_scope`, …; absent when no token was sent.
    pub error: Option<String>,
    /// A sentence for people.
    pub description: Option<String>,
    /// All scopes that the operation needs.
    pub needed: ScopeSet,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.description.as_deref(), self.error.as_deref()) {
            (Some(sentence), _) => formatter.write_str(sentence)?,
            (None, Some("invalid_token")) => formatter.write_str("the server does not take this token")?,
            (None, Some(code)) => formatter.write_str(code)?,
            (None, None) => formatter.write_str("the server did not say why")?,
        }
        if self.error.as_deref() != Some("insufficient_scope") {
            return Ok(());
        }
        let sentence = self.description.as_deref().unwrap_or_default();
        // The sentence of our own gateway names the scopes already.
        let unnamed = |needed: &ScopeSet| needed.iter().any(|scope| !sentence.contains(scope.as_str()));
        if unnamed(&self.needed) {
            write!(formatter, " (scopes of this operation: {})", self.needed)?;
        }
        Ok(())
    }
}

/// What an authority said when it gave no token (RFC 6749 s5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    /// `invalid_client`, `invalid_scope`, `invalid_target`, …
    pub error: String,
    /// A sentence for people.
    pub description: Option<String>,
}

impl TokenRefusal {
    /// What usually helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self.error.as_str() {
            "invalid_client" => Some(
                "check client id and secret; if the secret was rotated, the owner of this agent has the new one",
            ),
            "invalid_scope" => Some(
                "ask for fewer scopes, or for none to get the server's default; the owner of this agent can raise its ceiling",
            ),
            "invalid_target" => Some(
                "use the server's canonical URI exactly, and ask the owner of this agent whether it may use this server",
            ),
            "unauthorized_client" => {
                Some("this client may not use client credentials; register it as an agent")
            }
            _ => None,
        }
    }
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.error)?;
        if let Some(description) = &self.description {
            write!(formatter, ": {description}")?;
        }
        Ok(())
    }
}

struct Later(Option<u64>);

impl fmt::Display for Later {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(seconds) => write!(formatter, "; try again in {seconds} s"),
            None => formatter.write_str("; try again later"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_23_a_refusal_names_every_scope_once() {
        let needed: ScopeSet = "notes:read notes:write".parse().unwrap();
        let mut refusal = Refusal {
            error: Some("insufficient_scope".to_owned()),
            description: Some("needs notes:write".to_owned()),
            needed,
        };
        assert_eq!(
            refusal.to_string(),
            "needs notes:write (scopes of this operation: notes:read notes:write)"
        );
        refusal.description = Some("needs notes:read and notes:write".to_owned());
        assert_eq!(refusal.to_string(), "needs notes:read and notes:write");
        assert_eq!(Refusal::default().to_string(), "the server did not say why");
        // At a 401 the challenge's scopes are what one could ask for; they are not why.
        refusal.error = Some("invalid_token".to_owned());
        refusal.description = None;
        assert_eq!(refusal.to_string(), "the server does not take this token");
    }

    #[test]
    fn an_overloaded_server_says_when_to_come_back() {
        let error = Error::Unavailable { host: "as.test".to_owned(), status: 429, retry_after: Some(7) };
        assert_eq!(error.to_string(), "as.test answered 429; try again in 7 s");
    }
}
