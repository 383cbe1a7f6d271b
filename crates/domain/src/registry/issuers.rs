//! Whose tokens count at a server (PC-06): ours, and those of issuers that the fleet file names.

use super::SecretPlace;
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::jwk::ExternalAlgorithm;
use portcullis_oauth::scope::{Scope, ScopeSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest life of a token of another issuer, and so how long a revocation has to be remembered for their sake.
pub const LONGEST_EXTERNAL_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose tokens count at a server. Left out, ours only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuers {
    /// Whether ours do, and are issued for it.
    pub own: bool,
    /// Those of others; no two have one name.
    pub external: Vec<TrustedIssuer>,
}

impl Default for Issuers {
    fn default() -> Self {
        Self { own: true, external: Vec::new() }
    }
}

impl Issuers {
    /// What is trusted of the issuer that names itself exactly so.
    pub fn find(&self, issuer: &str) -> Option<&TrustedIssuer> {
        self.external.iter().find(|trusted| trusted.issuer.as_str() == issuer)
    }
}

/// What a server believes of an issuer that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedIssuer {
    /// `iss` of its tokens, exactly.
    pub issuer: ExternalIssuer,
    /// How its tokens are checked.
    pub proof: Proof,
    /// `aud` of its tokens where it cannot be the canonical URI of the server. Said loudly wherever the server is shown.
    pub audience: Option<String>,
    /// Where its tokens say what they are for.
    pub scope_claim: ScopeClaim,
    /// What its names mean here. With a map, what is not in it means nothing.
    pub scope_map: Option<BTreeMap<String, Scope>>,
    /// The claim that names the client; `None`: `client_id`, else `azp`.
    pub client_claim: Option<String>,
    /// The most that any token of it may do here.
    pub access: ScopeSet,
}

/// How tokens of another issuer are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Proof {
    /// It is asked about each (RFC 7662).
    Introspection {
        /// Where.
        address: String,
        /// Who we are there.
        client_id: String,
        /// What proves it.
        secret: SecretPlace,
    },
    /// By their signature, with the keys that it publishes.
    Jwks {
        /// Where.
        address: String,
        /// With which algorithms; never empty.
        algorithms: Vec<ExternalAlgorithm>,
        /// How strictly `typ` is taken.
        token_type: TokenType,
    },
}

/// What `typ` of a JWT of another issuer must be (RFC 8725 s3.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TokenType {
    /// As RFC 9068 wants it.
    #[default]
    #[serde(rename = "at+jwt")]
    AccessToken,
    /// Also `JWT` or none, for providers that do not mark access tokens. ID tokens are told apart by their claims.
    #[serde(rename = "jwt")]
    AnyJwt,
}

/// The claim that says what a token is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeClaim {
    /// RFC 9068 s2.2.3; words with spaces between them.
    #[default]
    Scope,
    /// Words with spaces, or a list.
    Scp,
    /// A list.
    Roles,
}

impl ScopeClaim {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Scp => "scp",
            Self::Roles => "roles",
        }
    }
}
