//! Metadata documents: authorization server (RFC 8414) and protected resource (RFC 9728).

use crate::client::{AuthMethod, GrantType};
use crate::issuer::Issuer;
use crate::resource::ResourceUri;
use crate::scope::{Scope, ScopeSet};
use serde::{Deserialize, Serialize};

/// RFC 8414 s2. Members with nothing to say are left out (s3.2).
#[derive(Clone, Debug, Serialize)]
pub struct AuthorizationServerMetadata {
    /// Character for character the issuer.
    pub issuer: Issuer,
    /// Where people are sent.
    pub authorization_endpoint: String,
    /// Where tokens come from.
    pub token_endpoint: String,
    /// Our public keys.
    pub jwks_uri: String,
    /// Present exactly when dynamic registration is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// RFC 7662
    pub introspection_endpoint: String,
    /// RFC 7009
    pub revocation_endpoint: String,
    /// Always exactly `code`.
    pub response_types_supported: Vec<&'static str>,
    /// Always exactly `query`.
    pub response_modes_supported: Vec<&'static str>,
    /// What the token endpoint takes.
    pub grant_types_supported: Vec<GrantType>,
    /// How clients authenticate there.
    pub token_endpoint_auth_methods_supported: Vec<AuthMethod>,
    /// Never `none`.
    pub introspection_endpoint_auth_methods_supported: Vec<AuthMethod>,
    /// Public clients may revoke their own tokens.
    pub revocation_endpoint_auth_methods_supported: Vec<AuthMethod>,
    /// Always exactly `S256`.
    pub code_challenge_methods_supported: Vec<&'static str>,
    /// RFC 9207 s3: always true.
    pub authorization_response_iss_parameter_supported: bool,
    /// Scopes worth advertising; left out when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<Scope>,
}

/// RFC 9728 s2.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProtectedResourceMetadata {
    /// The canonical URI.
    pub resource: ResourceUri,
    /// Whose tokens it takes; the first is ours when it is ours.
    pub authorization_servers: Vec<String>,
    /// Always exactly `header`.
    pub bearer_methods_supported: Vec<String>,
    /// Its scopes; `offline_access` is never among them.
    #[serde(default, skip_serializing_if = "ScopeList::is_empty")]
    pub scopes_supported: ScopeList,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
}

/// A scope set that is a JSON array on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeList(Vec<Scope>);

impl ScopeList {
    /// Whether the member is left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl From<&ScopeSet> for ScopeList {
    fn from(scopes: &ScopeSet) -> Self {
        Self(scopes.iter().cloned().collect())
    }
}
