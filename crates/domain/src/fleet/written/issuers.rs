//! `issuers` of a server, as its file says it.

use crate::registry::{Issuers, Proof, ScopeClaim, SecretPlace, TokenType, TrustedIssuer};
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::jwk::ExternalAlgorithm;
use portcullis_oauth::scope::Scope;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum WrittenIssuer<'a> {
    Own(&'static str),
    Other(Box<WrittenTrust<'a>>),
}

#[derive(Serialize)]
pub(super) struct WrittenTrust<'a> {
    issuer: &'a ExternalIssuer,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithms: Option<&'a [ExternalAlgorithm]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<TokenType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<WrittenClient<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_claim: Option<ScopeClaim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_claim: Option<&'a str>,
    access: Vec<&'a Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_map: Option<&'a BTreeMap<String, Scope>>,
}

#[derive(Serialize)]
struct WrittenClient<'a> {
    id: &'a str,
    secret: &'a SecretPlace,
}

impl<'a> WrittenIssuer<'a> {
    /// Nothing where only ours count.
    pub(super) fn all(issuers: &'a Issuers) -> Option<Vec<Self>> {
        if *issuers == Issuers::default() {
            return None;
        }
        let own = issuers.own.then_some(Self::Own("self"));
        let others = issuers.external.iter().map(|trusted| Self::Other(Box::new(WrittenTrust::of(trusted))));
        Some(own.into_iter().chain(others).collect())
    }
}

impl<'a> WrittenTrust<'a> {
    fn of(trusted: &'a TrustedIssuer) -> Self {
        let mut written = Self {
            issuer: &trusted.issuer,
            jwks: None,
            algorithms: None,
            token_type: None,
            introspection: None,
            client: None,
            audience: trusted.audience.as_deref(),
            scope_claim: (trusted.scope_claim != ScopeClaim::default()).then_some(trusted.scope_claim),
            client_claim: trusted.client_claim.as_deref(),
            access: trusted.access.iter().collect(),
            scope_map: trusted.scope_map.as_ref(),
        };
        match &trusted.proof {
            Proof::Introspection { address, client_id, secret } => {
                written.introspection = Some(address);
                written.client = Some(WrittenClient { id: client_id, secret });
            }
            Proof::Jwks { address, algorithms, token_type } => {
                written.jwks = Some(address);
                written.algorithms = (*algorithms != ExternalAlgorithm::ALL).then_some(algorithms);
                written.token_type = (*token_type != TokenType::default()).then_some(*token_type);
            }
        }
        written
    }
}
