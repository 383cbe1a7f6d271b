//! Where a server runs and what it gets from us, as its file says it.

use crate::registry::{
    ClientCertificate, ClientCredentials, PerUser, SecretPlace, TokenEndpoint, Upstream, UpstreamCredential,
    UpstreamTls,
};
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::scope::Scope;
use portcullis_oauth::upstream::without_query;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct WrittenUpstream<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<&'a SecretPlace>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum WrittenUpstreamCredential<'a> {
    Word(&'static str),
    Several(Box<WrittenUpstreamCredentials<'a>>),
}

#[derive(Serialize)]
pub(super) struct WrittenUpstreamCredentials<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    assertion: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer: Option<&'a SecretPlace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_credentials: Option<WrittenClientCredentials<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_user: Option<WrittenPerUser<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtls: Option<&'a ClientCertificate>,
}

#[derive(Serialize)]
struct WrittenPerUser<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<&'a Scope>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a SecretPlace>,
}

impl<'a> WrittenPerUser<'a> {
    fn of(asks: &'a PerUser) -> Self {
        Self {
            scopes: asks.scopes.as_ref().map(|scopes| scopes.iter().collect()),
            issuer: asks.issuer.as_ref().map(ExternalIssuer::as_str),
            client_id: asks.client.as_ref().map(|client| client.id.as_str()),
            client_secret: asks.client.as_ref().and_then(|client| client.secret.as_ref()),
        }
    }
}

#[derive(Serialize)]
struct WrittenClientCredentials<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<&'a str>,
    client_id: &'a str,
    secret: &'a SecretPlace,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'a Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
}

impl<'a> WrittenUpstream<'a> {
    pub(super) fn of(upstream: &'a Upstream, tls: &'a UpstreamTls) -> Self {
        let (url, command) = match upstream {
            Upstream::Command(name) => (None, Some(name.as_str())),
            Upstream::Url(url) => (Some(url.as_str()), None),
        };
        Self { url, command, ca: tls.ca.as_ref() }
    }
}

impl<'a> WrittenUpstreamCredential<'a> {
    /// Nothing where it is what is meant when it is left out.
    pub(super) fn of(
        credential: &'a UpstreamCredential,
        tls: &'a UpstreamTls,
        upstream: &Upstream,
    ) -> Option<Self> {
        let mtls = tls.certificate.as_ref();
        let none = WrittenUpstreamCredentials {
            assertion: None,
            bearer: None,
            client_credentials: None,
            per_user: None,
            mtls,
        };
        let several = match (credential, mtls) {
            (UpstreamCredential::Assertion, None) => return None,
            (UpstreamCredential::None, None) => return Some(Self::Word("none")),
            (UpstreamCredential::Assertion, Some(_)) => {
                WrittenUpstreamCredentials { assertion: Some(true), ..none }
            }
            (UpstreamCredential::None, Some(_)) => none,
            (UpstreamCredential::Bearer(place), _) => {
                WrittenUpstreamCredentials { bearer: Some(place), ..none }
            }
            (UpstreamCredential::ClientCredentials(client), _) => WrittenUpstreamCredentials {
                client_credentials: Some(WrittenClientCredentials::of(client, upstream)),
                ..none
            },
            (UpstreamCredential::PerUser(asks), _) => {
                WrittenUpstreamCredentials { per_user: Some(WrittenPerUser::of(asks)), ..none }
            }
        };
        Some(Self::Several(Box::new(several)))
    }
}

impl<'a> WrittenClientCredentials<'a> {
    fn of(client: &'a ClientCredentials, upstream: &Upstream) -> Self {
        let (issuer, token_endpoint) = match &client.at {
            TokenEndpoint::Issuer(issuer) => (Some(issuer.as_str()), None),
            TokenEndpoint::Url(url) => (None, Some(url.as_str())),
        };
        let usual = match upstream {
            Upstream::Command(_) => None,
            Upstream::Url(url) => Some(without_query(url)),
        };
        let resource = Some(client.resource.as_deref().unwrap_or("none"));
        Self {
            issuer,
            token_endpoint,
            client_id: &client.client_id,
            secret: &client.secret,
            scopes: client.scopes.iter().collect(),
            resource: resource.filter(|written| Some(*written) != usual),
        }
    }
}
