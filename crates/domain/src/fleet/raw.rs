//! The fleet file exactly as written: shape only, nothing checked.

use crate::registry::{Members, Name, Risk, UpstreamCredential};
use portcullis_oauth::scope::{Scope, ScopeSet};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFleet {
    #[serde(default)]
    pub(super) server: Vec<RawServer>,
    #[serde(default)]
    pub(super) agent: Vec<RawAgent>,
    #[serde(default)]
    pub(super) role: Vec<RawRole>,
    pub(super) self_registered: Option<RawSelfRegistered>,
}

pub(super) type RawAccess = BTreeMap<Spanned<String>, Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    pub(super) name: Spanned<String>,
    pub(super) title: Option<String>,
    pub(super) canonical_uri: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) mode: RawMode,
    pub(super) upstream: Option<Spanned<RawUpstream>>,
    #[serde(default)]
    pub(super) credential: UpstreamCredential,
    pub(super) access: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    #[serde(default)]
    pub(super) default_scopes: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) scopes: BTreeMap<Spanned<String>, RawScope>,
    #[serde(default)]
    pub(super) rule: Vec<RawRule>,
}

impl RawServer {
    /// Its name and its scopes, as far as they can be read.
    pub(super) fn declares(&self) -> Option<(Name, ScopeSet)> {
        let scopes = self.scopes.keys().filter_map(|text| text.get_ref().parse::<Scope>().ok());
        Some((self.name.get_ref().parse().ok()?, scopes.collect()))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawMode {
    Direct,
    #[default]
    Gateway,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    pub(super) url: Option<String>,
    pub(super) command: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawScope {
    Says(String),
    Full(RawScopeTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScopeTable {
    pub(super) says: String,
    #[serde(default)]
    pub(super) implies: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default)]
    pub(super) tools: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) prompts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) resources: Vec<Spanned<String>>,
    pub(super) scopes: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) risk: Risk,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    pub(super) name: Spanned<String>,
    pub(super) owner: String,
    pub(super) credential: Option<RawCredential>,
    #[serde(default)]
    pub(super) access: RawAccess,
    #[serde(default)]
    pub(super) introspects: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCredential {
    pub(super) secret: RawSecret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    pub(super) deliver: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRole {
    pub(super) name: Spanned<String>,
    pub(super) members: Members,
    #[serde(default)]
    pub(super) access: RawAccess,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSelfRegistered {
    #[serde(default)]
    pub(super) access: RawAccess,
}
