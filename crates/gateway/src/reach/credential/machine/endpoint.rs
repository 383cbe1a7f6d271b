//! Where an upstream's issuer gives out tokens, and how a client proves itself there (RFC 8414).

use super::{Machine, NoToken};
use crate::reach::fetch::Unheard;
use portcullis_domain::registry::TokenEndpoint;
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::upstream::UpstreamUrl;
use serde::Deserialize;
use std::time::Duration;
use url::Url;

/// Metadata is read again after so long.
const KEPT: Duration = Duration::from_hours(1);

#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) proof: Proof,
    since: Timestamp,
}

/// How the secret is shown (RFC 6749 s2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Form,
    Header,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    #[serde(default)]
    token_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Machine {
    pub(super) async fn endpoint(&self, now: Timestamp) -> Result<Endpoint, NoToken> {
        match &self.client.at {
            // RFC 6749 s2.3.1: whoever takes secrets takes them in the header.
            TokenEndpoint::Url(address) => {
                Ok(Endpoint { address: address.clone(), proof: Proof::Header, since: now })
            }
            TokenEndpoint::Issuer(issuer) => {
                let known = self.state().endpoint.clone();
                let known = known.filter(|known| known.since <= now && now.since(known.since) < KEPT);
                if let Some(known) = known {
                    return Ok(known);
                }
                let (address, proof) = of(issuer, &self.metadata(issuer).await?)?;
                let found = Endpoint { address, proof, since: now };
                self.state().endpoint = Some(found.clone());
                Ok(found)
            }
        }
    }

    /// At the place of RFC 8414 s3.1, or where OpenID Connect has it.
    async fn metadata(&self, issuer: &ExternalIssuer) -> Result<Metadata, NoToken> {
        let (first, second) = places(issuer).ok_or(Unheard::Address)?;
        // Both in the time of one.
        let patience = self.patience() / 2;
        let body = match self.means.fetcher.get(&first, patience).await {
            Err(Unheard::Status(_) | Unheard::Garbled) => self.means.fetcher.get(&second, patience).await?,
            answered => answered?,
        };
        portcullis_oauth::strict_json::check(&body, 16).map_err(|_| Unheard::Garbled)?;
        serde_json::from_slice(&body).map_err(|_| Unheard::Garbled.into())
    }
}

fn places(issuer: &ExternalIssuer) -> Option<(String, String)> {
    let text = issuer.as_str().trim_end_matches('/');
    let url = Url::parse(issuer.as_str()).ok()?;
    let origin = url.origin().ascii_serialization();
    let path = url.path().trim_end_matches('/');
    Some((
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{text}/.well-known/openid-configuration"),
    ))
}

/// Metadata counts for the issuer that it names (RFC 8414 s3.3), and leads the secret to no other origin than that.
fn of(issuer: &ExternalIssuer, metadata: &Metadata) -> Result<(String, Proof), NoToken> {
    if metadata.issuer != issuer.as_str() {
        return Err(NoToken::OtherIssuer);
    }
    let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
    let address = metadata.token_endpoint.as_deref().filter(|address| {
        let url = address.parse::<UpstreamUrl>();
        url.is_ok_and(|url| url.is_confidential()) && origin(address) == origin(issuer.as_str())
    });
    let address = address.ok_or(NoToken::NoEndpoint)?.to_owned();
    let takes = |method: &str| match &metadata.token_endpoint_auth_methods_supported {
        // RFC 8414 s2: left out, it is this one.
        None => method == "client_secret_basic",
        Some(methods) => methods.iter().any(|known| known == method),
    };
    let proof = if takes("client_secret_basic") {
        Proof::Header
    } else if takes("client_secret_post") {
        Proof::Form
    } else {
        return Err(NoToken::NoProof);
    };
    Ok((address, proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(metadata: &str) -> Result<(String, Proof), NoToken> {
        of(&"https://idp.example/t".parse().unwrap(), &serde_json::from_str(metadata).unwrap())
    }

    #[test]
    fn ups_09_the_secret_goes_to_the_origin_of_the_named_issuer_only() {
        let metadata = |issuer: &str, endpoint: &str| {
            read(&format!(r#"{{"issuer":"{issuer}","token_endpoint":"{endpoint}"}}"#))
        };
        let good = metadata("https://idp.example/t", "https://idp.example/t/token").unwrap();
        assert_eq!(good, ("https://idp.example/t/token".to_owned(), Proof::Header));
        for issuer in ["https://idp.example/t/", "https://idp.example", "https://evil.example/t"] {
            assert!(
                matches!(metadata(issuer, "https://idp.example/t/token"), Err(NoToken::OtherIssuer)),
                "{issuer}"
            );
        }
        for endpoint in [
            "https://evil.example/token",
            "https://idp.example.evil.example/token",
            "https://idp.example:444/token",
            "http://idp.example/token",
            "https://us:secret@idp.example/token",
            "javascript:alert(1)",
            "/token",
            "",
        ] {
            let refused = metadata("https://idp.example/t", endpoint);
            assert!(matches!(refused, Err(NoToken::NoEndpoint)), "{endpoint}");
        }
        assert!(matches!(read(r#"{"issuer":"https://idp.example/t"}"#), Err(NoToken::NoEndpoint)));
    }

    #[test]
    fn pc_05_the_secret_is_shown_as_the_issuer_says() {
        let methods = |methods: &str| {
            let read = read(&format!(
                r#"{{"issuer":"https://idp.example/t","token_endpoint":"https://idp.example/x","token_endpoint_auth_methods_supported":{methods}}}"#
            ));
            read.map(|(_, proof)| proof)
        };
        let both = methods(r#"["client_secret_post","client_secret_basic"]"#);
        assert_eq!(both.unwrap(), Proof::Header);
        assert_eq!(methods(r#"["client_secret_post"]"#).unwrap(), Proof::Form);
        assert!(matches!(methods(r#"["private_key_jwt"]"#), Err(NoToken::NoProof)));
        assert!(matches!(methods("[]"), Err(NoToken::NoProof)));
    }

    #[test]
    fn metadata_stands_where_the_specifications_say() {
        let of = |issuer: &str| places(&issuer.parse().unwrap()).unwrap();
        assert_eq!(
            of("https://idp.example/t/"),
            (
                "https://idp.example/.well-known/oauth-authorization-server/t".to_owned(),
                "https://idp.example/t/.well-known/openid-configuration".to_owned()
            )
        );
        assert_eq!(of("http://127.0.0.1:9").0, "http://127.0.0.1:9/.well-known/oauth-authorization-server");
    }
}
