//! The fleet file exactly as written: shape only, nothing checked.

mod upstream;

pub(super) use upstream::{
    RawCertificate, RawClientCredentials, RawPerUser, RawUpstream, RawUpstreamCredential,
    RawUpstreamCredentials, RawUpstreamWord,
};

use crate::registry::{ClientAuth, Members, Name, OtherTransport, Pinning, Risk, ScopeClaim, TokenType};
use portcullis_oauth::scope::{Scope, ScopeSet};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::value::Datetime;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFleet {
    #[serde(default)]
    pub(super) server: Vec<RawServer>,
    #[serde(default)]
    pub(super) agent: Vec<RawAgent>,
    #[serde(default)]
    pub(super) client: Vec<RawClient>,
    #[serde(default)]
    pub(super) role: Vec<RawRole>,
    pub(super) self_registered: Option<RawSelfRegistered>,
    #[serde(default)]
    pub(super) forbid: Vec<RawForbid>,
}

pub(super) type RawAccess = BTreeMap<Spanned<String>, Vec<Spanned<String>>>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    #[schemars(with = "String")]
    pub(super) name: Spanned<String>,
    pub(super) title: Option<String>,
    #[schemars(with = "Option<String>")]
    pub(super) canonical_uri: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) mode: RawMode,
    #[schemars(with = "Option<RawUpstream>")]
    pub(super) upstream: Option<Spanned<RawUpstream>>,
    /// What the upstream gets instead of the caller's token.
    #[schemars(with = "Option<RawUpstreamCredential>")]
    pub(super) credential: Option<Spanned<RawUpstreamCredential>>,
    #[schemars(with = "Option<String>")]
    pub(super) access: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    #[serde(default)]
    pub(super) owners: Vec<String>,
    #[serde(default)]
    pub(super) observe: bool,
    #[serde(default)]
    pub(super) pinning: Pinning,
    /// How else than by Streamable HTTP, which is always served, it may be spoken to.
    #[serde(default)]
    pub(super) other_transports: BTreeSet<OtherTransport>,
    /// Whose tokens count: "self", and tables of other issuers. Left out, ours only.
    #[schemars(with = "Option<Vec<RawIssuer>>")]
    pub(super) issuers: Option<Spanned<Vec<Spanned<RawIssuer>>>>,
    /// What it is asked for at most, beside the limits of the deployment.
    #[schemars(with = "Option<RawServerLimits>")]
    pub(super) limits: Option<Spanned<RawServerLimits>>,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) default_scopes: Vec<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawScope>")]
    pub(super) scopes: BTreeMap<Spanned<String>, RawScope>,
    #[serde(default)]
    pub(super) rule: Vec<RawRule>,
}

impl RawFleet {
    /// The shape, for the check of keys and types.
    pub(super) fn schema() -> serde_json::Value {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        settings.into_generator().into_root_schema_for::<Self>().to_value()
    }
}

impl RawServer {
    /// Its name and its scopes, as far as they can be read.
    pub(super) fn declares(&self) -> Option<(Name, ScopeSet)> {
        let scopes = self.scopes.keys().filter_map(|text| text.get_ref().parse::<Scope>().ok());
        Some((self.name.get_ref().parse().ok()?, scopes.collect()))
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawMode {
    Direct,
    #[default]
    Gateway,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServerLimits {
    /// Calls in a minute, of all callers together.
    #[schemars(with = "Option<u32>")]
    pub(super) calls_per_minute: Option<Spanned<i64>>,
    /// Calls under way at once, of all callers together.
    #[schemars(with = "Option<u32>")]
    pub(super) calls_at_once: Option<Spanned<i64>>,
    /// The longest body of a call in bytes.
    #[schemars(with = "Option<u32>")]
    pub(super) body: Option<Spanned<i64>>,
    /// From the end of a call to the first byte of the answer, "1s" to "60m".
    #[schemars(with = "Option<String>")]
    pub(super) upstream_timeout: Option<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawIssuer {
    Word(String),
    Other(Box<RawTrustedIssuer>),
}

/// Without places: what one of several shapes is read from has lost them. An issuer that is not ours: either by the keys that it publishes, or asked about each token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrustedIssuer {
    pub(super) issuer: String,
    pub(super) jwks: Option<String>,
    pub(super) algorithms: Option<Vec<String>>,
    pub(super) token_type: Option<TokenType>,
    pub(super) introspection: Option<String>,
    pub(super) client: Option<RawIssuerClient>,
    pub(super) audience: Option<String>,
    #[serde(default)]
    pub(super) scope_claim: ScopeClaim,
    pub(super) scope_map: Option<BTreeMap<String, String>>,
    pub(super) client_claim: Option<String>,
    pub(super) access: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuerClient {
    pub(super) id: String,
    pub(super) secret: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawScope {
    Says(String),
    Full(RawScopeTable),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScopeTable {
    pub(super) says: String,
    #[serde(default)]
    pub(super) implies: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) tools: Vec<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) prompts: Vec<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) resources: Vec<Spanned<String>>,
    /// Methods that MCP itself has no meaning for, by their exact names.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) methods: Vec<Spanned<String>>,
    #[schemars(with = "Vec<String>")]
    pub(super) scopes: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) risk: Risk,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    #[schemars(with = "String")]
    pub(super) name: Spanned<String>,
    pub(super) owner: String,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    #[serde(default)]
    pub(super) disabled: bool,
    /// From then on as if it were disabled: a date (the moment it begins in UTC), or a date with time and offset (RFC 3339).
    #[serde(default)]
    #[schemars(schema_with = "moment")]
    pub(super) expires: Option<Spanned<RawMoment>>,
    pub(super) credential: Option<RawCredential>,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub(super) access: RawAccess,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) introspects: Vec<Spanned<String>>,
}

/// Written as a date of TOML, or as a text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawMoment {
    Date(Datetime),
    Text(String),
}

/// TOML has dates, JSON has not: an editor's schema calls both a text.
fn moment(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["datetime", "string", "null"] })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClient {
    #[schemars(with = "String")]
    pub(super) name: Spanned<String>,
    pub(super) title: Option<String>,
    pub(super) owner: String,
    #[schemars(with = "Vec<String>")]
    pub(super) redirect_uris: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) auth: ClientAuth,
    pub(super) credential: Option<RawCredential>,
    #[serde(default)]
    pub(super) disabled: bool,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub(super) access: RawAccess,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCredential {
    pub(super) secret: RawSecret,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    #[schemars(with = "String")]
    pub(super) deliver: Spanned<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRole {
    #[schemars(with = "String")]
    pub(super) name: Spanned<String>,
    pub(super) members: Members,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub(super) access: RawAccess,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSelfRegistered {
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub(super) access: RawAccess,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawForbid {
    #[schemars(with = "String")]
    pub(super) name: Spanned<String>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) servers: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) labels: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) scopes: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) tools: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) agents: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) agent_labels: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) roles: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<RawWhen>")]
    pub(super) when: Option<Spanned<RawWhen>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWhen {
    #[schemars(with = "Option<String>")]
    pub(super) inside: Option<Spanned<String>>,
    #[schemars(with = "Option<String>")]
    pub(super) outside: Option<Spanned<String>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) address_in: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) address_not_in: Option<Vec<Spanned<String>>>,
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) argument_in: Option<BTreeMap<String, Spanned<String>>>,
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) argument_outside: Option<BTreeMap<String, Spanned<String>>>,
}

impl RawWhen {
    /// Where each argument that it asks about stands.
    pub(super) fn places_of_arguments(&self) -> BTreeMap<String, usize> {
        let both = [&self.argument_in, &self.argument_outside].into_iter().flatten().flatten();
        both.map(|(name, text)| (name.clone(), text.span().start)).collect()
    }

    /// Whether it has no condition.
    pub(super) fn is_empty(&self) -> bool {
        let Self { inside, outside, address_in, address_not_in, argument_in, argument_outside } = self;
        inside.is_none()
            && outside.is_none()
            && [address_in, address_not_in].iter().all(|list| list.as_ref().is_none_or(Vec::is_empty))
            && [argument_in, argument_outside]
                .iter()
                .all(|table| table.as_ref().is_none_or(BTreeMap::is_empty))
    }
}
