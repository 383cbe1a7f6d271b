//! Tokens for machines: client credentials (OAuth 2.1 s4.2), for one server (RFC 8707).

use crate::Client;
use crate::discover::{Discovered, NOT_THERE, unusable};
use crate::error::{Error, TokenRefusal};
use crate::http::{Address, Answer, Reach};
use crate::secret::AccessToken;
use crate::text::one_line;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::ScopeSet;
use serde::Deserialize;
use std::fmt;
use zeroize::{Zeroize as _, Zeroizing};

/// The client id and secret of an agent. The secret is wiped when dropped and not shown by `Debug`.
#[derive(Clone)]
pub struct MachineCredentials {
    client_id: String,
    secret: Zeroizing<String>,
    issuer: Option<Issuer>,
}

impl MachineCredentials {
    /// Credentials for an authority on the same origin as the server that they are used for.
    pub fn new(client_id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), secret: Zeroizing::new(secret.into()), issuer: None }
    }

    /// Binds the credentials to one authority, wherever the server stands. Recommended: a server says by itself who its
    /// authority is, and without this a wrong server address on another origin is all that protects the secret.
    #[must_use]
    pub fn for_issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// MCP "Authorization Server Binding": a secret is shown to the authority that made it, and to no other.
    fn check(&self, found: &Discovered) -> Result<(), Error> {
        let named = &found.authority.issuer;
        let (good, expected) = match &self.issuer {
            Some(issuer) => (issuer.as_str() == named, issuer.as_str()),
            None => (origin(named) == Some(found.server.origin().to_owned()), found.server.origin()),
        };
        if good {
            Ok(())
        } else {
            Err(Error::ForeignIssuer { named: one_line(named), expected: expected.to_owned() })
        }
    }
}

impl fmt::Debug for MachineCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MachineCredentials({})", self.client_id)
    }
}

/// What to ask for, beyond the server.
#[derive(Clone, Debug, Default)]
pub struct TokenWish {
    /// Nothing means the server's default scopes, cut to what the agent may have.
    pub scopes: ScopeSet,
    /// Go on in this session (its id came with an earlier token) instead of beginning a new one.
    pub session_id: Option<String>,
}

/// What the authority gave.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub access_token: AccessToken,
    /// Seconds until it expires, if the authority said.
    pub expires_in: Option<u64>,
    /// The scopes granted, if the authority said.
    pub scope: Option<ScopeSet>,
    /// The session that the token belongs to; Portcullis always says.
    pub session_id: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
    scope: Option<String>,
    session_id: Option<String>,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
    error_description: Option<String>,
}

impl Client {
    /// A token for `server`, by client credentials. Discovers first; nothing is sent to an authority that the
    /// credentials are not for.
    ///
    /// # Errors
    /// As [`Client::discover`]; [`Error::ForeignIssuer`]; [`Error::TokenRefused`] with the authority's own words.
    pub async fn machine_token(
        &self,
        server: &ResourceUri,
        credentials: &MachineCredentials,
        wish: &TokenWish,
    ) -> Result<Token, Error> {
        let found = self.discover(server).await?;
        credentials.check(&found)?;
        self.ask(&found, credentials, wish).await
    }

    async fn ask(
        &self,
        found: &Discovered,
        credentials: &MachineCredentials,
        wish: &TokenWish,
    ) -> Result<Token, Error> {
        let endpoint = token_endpoint(found)?;
        let who = (credentials.client_id.as_str(), credentials.secret.as_str());
        let answer = self.http.post_form(&endpoint, who, form(&found.server, wish)).await?;
        match answer.status {
            200 => granted(answer, &endpoint),
            429 | 500.. => Err(Error::Unavailable {
                host: endpoint.host(),
                status: answer.status,
                retry_after: answer.retry_after,
            }),
            300..400 => Err(unusable(endpoint.as_str(), "a token endpoint must not redirect")),
            _ => Err(refused(&answer, &endpoint)),
        }
    }
}

/// The issuer is the one that the credentials are for, and its metadata says where its endpoint is.
fn token_endpoint(found: &Discovered) -> Result<Address, Error> {
    let authority = &found.authority;
    Address::parse(&authority.issuer, Reach::Loopback)
        .and_then(|issuer| Address::parse(&authority.token_endpoint, issuer.reach()))
        .ok_or_else(|| unusable(&authority.token_endpoint, NOT_THERE))
}

fn form(server: &ResourceUri, wish: &TokenWish) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials").append_pair("resource", server.as_str());
    if !wish.scopes.is_empty() {
        form.append_pair("scope", &wish.scopes.to_string());
    }
    if let Some(session) = &wish.session_id {
        form.append_pair("session_id", session);
    }
    form.finish()
}

fn granted(mut answer: Answer, endpoint: &Address) -> Result<Token, Error> {
    let parsed = serde_json::from_slice::<TokenAnswer>(&answer.body);
    answer.body.zeroize();
    let malformed = |problem| unusable(endpoint.as_str(), problem);
    let parsed = parsed.map_err(|_| malformed("this is no well-formed token answer"))?;
    if !parsed.token_type.eq_ignore_ascii_case("bearer") {
        return Err(malformed("the token is not of the type Bearer"));
    }
    let scope = parsed.scope.map(|scope| scope.parse::<ScopeSet>()).transpose();
    Ok(Token {
        access_token: AccessToken::new(parsed.access_token),
        expires_in: parsed.expires_in,
        scope: scope.map_err(|_| malformed("the granted scopes are malformed"))?,
        session_id: parsed.session_id,
    })
}

fn refused(answer: &Answer, endpoint: &Address) -> Error {
    match serde_json::from_slice::<TokenError>(&answer.body) {
        Ok(said) => Error::TokenRefused(TokenRefusal {
            error: one_line(&said.error),
            description: said.error_description.as_deref().map(one_line),
        }),
        Err(_) => unusable(endpoint.as_str(), "this is no well-formed token answer"),
    }
}

fn origin(address: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    Some(url.origin().ascii_serialization())
}
