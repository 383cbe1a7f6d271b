//! From the address of a server to the authority that issues tokens for it (RFC 9728, then RFC 8414).

use crate::Client;
use crate::error::Error;
use crate::http::{Address, Answer, Reach};
use portcullis_oauth::challenge;
use portcullis_oauth::resource::ResourceUri;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What was found out about a server.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// The server, by its canonical URI.
    pub server: ResourceUri,
    /// A name for people, if the server gives one.
    pub name: Option<String>,
    /// Scopes that the server advertises.
    pub scopes: Vec<String>,
    /// Who issues tokens for it; the first that the server names and that answers.
    pub authority: Authority,
}

/// An authorization server (RFC 8414 s2), as far as a caller needs to know it.
#[derive(Clone, Debug, Deserialize)]
pub struct Authority {
    /// Its identifier, character for character.
    pub issuer: String,
    /// Where tokens come from.
    pub token_endpoint: String,
    /// Where people sign in.
    pub authorization_endpoint: Option<String>,
    /// Where clients register themselves, if they may.
    pub registration_endpoint: Option<String>,
    /// Absent means authorization code and implicit (RFC 8414 s2).
    #[serde(default)]
    pub grant_types_supported: Vec<String>,
}

/// RFC 9728 s2. Lenient where nothing hangs on it: other people's servers write these too.
#[derive(Deserialize)]
struct ResourceDocument {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    resource_name: Option<String>,
}

/// More authorities than this are not tried.
const MOST_AUTHORITIES: usize = 4;

impl Client {
    /// Asks the server who issues tokens for it, and that authority where its endpoints are.
    ///
    /// # Errors
    /// [`Error::NotProtected`] when there is no metadata, [`Error::Unusable`] when it speaks for another server or
    /// issuer or leads to an address we must not use, and [`Error::Unreachable`] or [`Error::Unavailable`].
    pub async fn discover(&self, server: &ResourceUri) -> Result<Discovered, Error> {
        let (document, reach) = self.resource_document(server).await?;
        let mut failure = None;
        for issuer in document.authorization_servers.iter().take(MOST_AUTHORITIES) {
            match self.authority(issuer, reach).await {
                Ok(authority) => {
                    return Ok(Discovered {
                        server: server.clone(),
                        name: document.resource_name,
                        scopes: document.scopes_supported,
                        authority,
                    });
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            unusable(server.metadata_url(), "the server's metadata names no authorization server")
        }))
    }

    /// MCP "Protected Resource Metadata Discovery": the challenge's address first, then the well-known ones.
    async fn resource_document(&self, server: &ResourceUri) -> Result<(ResourceDocument, Reach), Error> {
        // A `ResourceUri` is https or loopback by construction.
        let address = Address::parse(server.as_str(), Reach::Loopback)
            .ok_or_else(|| unusable(server.as_str(), "this address cannot be used"))?;
        let reach = address.reach();
        let probe = self.http.probe(&address).await?;
        if probe.status >= 500 {
            return Err(Error::Unavailable { host: address.host(), status: probe.status, retry_after: None });
        }
        let named = probe.challenge.and_then(|header| challenge::parameter(&header, "resource_metadata"));
        let root = format!("{}/.well-known/oauth-protected-resource", server.origin());
        for place in named.into_iter().chain([server.metadata_url(), root]) {
            let place = Address::parse(&place, reach).ok_or_else(|| unusable(&place, NOT_THERE))?;
            let Some(document) = self.document::<ResourceDocument>(&place).await? else {
                continue;
            };
            // RFC 9728 s3.3: a document about another resource must not be used.
            return match document.resource.parse::<ResourceUri>() {
                Ok(resource) if resource == *server => Ok((document, reach)),
                _ => Err(unusable(place.as_str(), "this metadata speaks for another server")),
            };
        }
        Err(Error::NotProtected { server: server.to_string() })
    }

    async fn authority(&self, issuer: &str, reach: Reach) -> Result<Authority, Error> {
        let address = Address::parse(issuer, reach).ok_or_else(|| unusable(issuer, NOT_THERE))?;
        for place in well_known(&address) {
            let place = Address::parse(&place, reach).ok_or_else(|| unusable(&place, NOT_THERE))?;
            let Some(authority) = self.document::<Authority>(&place).await? else {
                continue;
            };
            // RFC 8414 s3.3, and AS mix-up: it must be the issuer that we asked for, character for character.
            if authority.issuer != issuer {
                return Err(unusable(place.as_str(), "this metadata speaks for another issuer"));
            }
            return Ok(authority);
        }
        Err(unusable(issuer, "the authorization server publishes no metadata"))
    }

    /// `None` when there is no such document.
    async fn document<T: DeserializeOwned>(&self, place: &Address) -> Result<Option<T>, Error> {
        let Answer { status, body, retry_after } = self.http.fetch(place).await?;
        match status {
            200 => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|_| unusable(place.as_str(), "this is no well-formed metadata document")),
            429 | 500.. => Err(Error::Unavailable { host: place.host(), status, retry_after }),
            300..400 => Err(unusable(place.as_str(), "metadata must not redirect")),
            _ => Ok(None),
        }
    }
}

pub(crate) const NOT_THERE: &str =
    "must be https (loopback only for a server on loopback), without user info or fragment";

/// The forms of RFC 8414 s3.1 and OpenID Connect Discovery, in the order that MCP gives.
fn well_known(issuer: &Address) -> Vec<String> {
    let origin = issuer.url().origin().ascii_serialization();
    let path = issuer.url().path().trim_end_matches('/');
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    places
}

pub(crate) fn unusable(address: impl Into<String>, problem: &'static str) -> Error {
    Error::Unusable { address: crate::text::one_line(&address.into()), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_meta_01_all_well_known_forms_in_order() {
        let places = |issuer: &str| well_known(&Address::parse(issuer, Reach::Https).unwrap());
        assert_eq!(
            places("https://as.test"),
            [
                "https://as.test/.well-known/oauth-authorization-server",
                "https://as.test/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            places("https://as.test:8443/t1/"),
            [
                "https://as.test:8443/.well-known/oauth-authorization-server/t1",
                "https://as.test:8443/.well-known/openid-configuration/t1",
                "https://as.test:8443/t1/.well-known/openid-configuration",
            ]
        );
    }
}
