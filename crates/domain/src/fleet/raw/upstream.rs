//! Where a server runs and what it gets from us, as written.

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::fleet) struct RawUpstream {
    /// A Streamable HTTP address.
    pub(in crate::fleet) url: Option<String>,
    /// A program of portcullis.toml.
    pub(in crate::fleet) command: Option<String>,
    /// Who vouches for its certificate, instead of those whom the machine trusts: "file:PATH" of a PEM file.
    pub(in crate::fleet) ca: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::fleet) enum RawUpstreamCredential {
    Word(RawUpstreamWord),
    Several(Box<RawUpstreamCredentials>),
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::fleet) enum RawUpstreamWord {
    /// A signed assertion: who calls, for whom, with which scopes.
    Assertion,
    /// Nothing.
    None,
}

/// At most one of them stands in the Authorization header; a certificate goes with any of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::fleet) struct RawUpstreamCredentials {
    /// A signed assertion beside the certificate.
    pub(in crate::fleet) assertion: Option<bool>,
    /// The place of a secret that is the same for every caller: "env:NAME" or "file:PATH".
    pub(in crate::fleet) bearer: Option<String>,
    pub(in crate::fleet) client_credentials: Option<RawClientCredentials>,
    /// Each person connects an account of their own there.
    pub(in crate::fleet) per_user: Option<RawPerUser>,
    pub(in crate::fleet) mtls: Option<RawCertificate>,
}

/// How people connect to a third party, one by one. What is left out, it says itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::fleet) struct RawPerUser {
    /// What is asked for there, in its words.
    pub(in crate::fleet) scopes: Option<Vec<String>>,
    /// Where people sign in; needed with client_id.
    pub(in crate::fleet) issuer: Option<String>,
    /// A client that you registered there, with PUBLIC_URL/connect/callback as its way back.
    pub(in crate::fleet) client_id: Option<String>,
    /// The place of its secret on the machine of the control room: "env:NAME" or "file:PATH".
    pub(in crate::fleet) client_secret: Option<String>,
}

/// A token that we get as a client of the upstream's issuer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::fleet) struct RawClientCredentials {
    /// Its metadata says where tokens are got (on the same origin).
    pub(in crate::fleet) issuer: Option<String>,
    /// Where tokens are got.
    pub(in crate::fleet) token_endpoint: Option<String>,
    pub(in crate::fleet) client_id: String,
    /// Its place: "env:NAME" or "file:PATH".
    pub(in crate::fleet) secret: String,
    #[serde(default)]
    pub(in crate::fleet) scopes: Vec<String>,
    /// What the token is for (RFC 8707); left out, the upstream's address; "none" sends no such parameter.
    pub(in crate::fleet) resource: Option<String>,
}

/// The places of two PEM files.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::fleet) struct RawCertificate {
    pub(in crate::fleet) cert: String,
    pub(in crate::fleet) key: String,
}
