//! A third party: a server of the fleet that people connect to one by one, and what it publishes about its sign-in, checked.

use super::NotConnected;
use crate::app::{App, Current};
use crate::config::environment;
use crate::fetch::Fetch;
use portcullis_domain::id::ServerId;
use portcullis_domain::registry::{Name, PerUser, Placement, Server, Upstream, UpstreamCredential};
use rmcp::transport::auth::AuthorizationMetadata;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

/// Longest address that we keep.
const LONGEST: usize = 2048;

/// A server that people connect to one by one.
#[derive(Clone)]
pub(crate) struct Party {
    pub(crate) id: ServerId,
    pub(crate) name: Name,
    pub(crate) title: String,
    /// Where it is: for this address its tokens are asked, and to no other they are sent.
    pub(crate) upstream: String,
    pub(crate) asks: PerUser,
}

impl Party {
    /// The server of this name, if people connect to it one by one.
    pub(crate) fn named(current: &Current, name: &str) -> Option<Self> {
        let server = current.snapshot.servers.iter().find(|server| server.name.as_str() == name)?;
        Self::of(server)
    }

    /// The server with this id, if people connect to it one by one.
    pub(crate) fn by_id(current: &Current, id: ServerId) -> Option<Self> {
        let server = current.snapshot.servers.iter().find(|server| server.id == id)?;
        Self::of(server)
    }

    pub(crate) fn of(server: &Server) -> Option<Self> {
        let Placement::Gateway { upstream: Upstream::Url(upstream), credential, .. } = &server.placement
        else {
            return None;
        };
        let UpstreamCredential::PerUser(asks) = credential else { return None };
        Some(Self {
            id: server.id,
            name: server.name.clone(),
            title: server.title.clone(),
            upstream: upstream.clone(),
            asks: (**asks).clone(),
        })
    }

    pub(crate) fn fetch(&self, app: &App) -> Fetch {
        Fetch::on_behalf_of(&app.fetcher, &self.upstream)
    }

    /// The client that the operator registered there, with its secret if it has one.
    pub(crate) fn registered_by_operator(&self) -> Result<Option<Client>, NotConnected> {
        let Some(client) = &self.asks.client else { return Ok(None) };
        let secret = match &client.secret {
            None => None,
            Some(place) => {
                let secret = environment::secret_at(place).map(Zeroizing::new);
                let unreadable = || NotConnected::Unusable(format!("the secret at {place} cannot be read"));
                Some(secret.ok_or_else(unreadable)?)
            }
        };
        Ok(Some(Client { id: client.id.clone(), secret }))
    }
}

/// As what we are known to an issuer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Option<Zeroizing<String>>,
}

/// Whom a third party names as its issuer, and where that does what. Every address in it was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Authority {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) registration_endpoint: Option<String>,
    pub(crate) revocation_endpoint: Option<String>,
    /// RFC 9207: an answer without `iss` is none of theirs.
    says_who_answers: bool,
    /// It reads metadata documents of clients.
    pub(crate) takes_documents: bool,
    /// It wants a secret in the form, not in the header.
    pub(crate) secret_in_form: bool,
}

impl Authority {
    /// What was published, if all of it can be used (UPS-09). `pinned` is the issuer that the operator expects.
    pub(crate) fn checked(
        metadata: &AuthorizationMetadata,
        pinned: Option<&str>,
        fetch: &Fetch,
    ) -> Result<Self, NotConnected> {
        let unusable = |what: &str, why: &dyn std::fmt::Display| {
            NotConnected::Unusable(format!("the {what} that it names cannot be used: {why}"))
        };
        let address = |what: &str, text: &str| {
            if text.len() > LONGEST {
                return Err(unusable(what, &"it is too long"));
            }
            fetch.check(text).map_err(|why| unusable(what, &why))?;
            Ok(text.to_owned())
        };
        let member = |name: &str| metadata.additional_fields.get(name);
        let is_on = |name: &str| member(name).and_then(Value::as_bool).unwrap_or_default();
        let issuer = metadata.issuer.as_deref();
        let issuer = issuer.ok_or_else(|| NotConnected::Unusable("its authority names no issuer".into()))?;
        if pinned.is_some_and(|pinned| pinned != issuer) {
            return Err(NotConnected::Unusable(format!(
                "it names {issuer} as its issuer, which is not the one that the fleet file expects"
            )));
        }
        // MCP "Authorization Code Protection": without a word about S256 a client must not go on.
        let methods = metadata.code_challenge_methods_supported.as_deref().unwrap_or_default();
        if !methods.iter().any(|method| method == "S256") {
            return Err(NotConnected::Unusable(
                "its issuer does not say that it knows PKCE with S256".into(),
            ));
        }
        let revocation = member("revocation_endpoint").and_then(Value::as_str);
        let authentications = member("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let takes = |method: &str| {
            authentications.is_some_and(|all| all.iter().any(|known| known.as_str() == Some(method)))
        };
        let optional = |what: &str, text: Option<&str>| text.map(|text| address(what, text)).transpose();
        Ok(Self {
            issuer: address("issuer", issuer)?,
            authorization_endpoint: address("authorization endpoint", &metadata.authorization_endpoint)?,
            token_endpoint: address("token endpoint", &metadata.token_endpoint)?,
            registration_endpoint: optional(
                "registration endpoint",
                metadata.registration_endpoint.as_deref(),
            )?,
            revocation_endpoint: optional("revocation endpoint", revocation)?,
            says_who_answers: is_on("authorization_response_iss_parameter_supported"),
            takes_documents: is_on("client_id_metadata_document_supported"),
            secret_in_form: takes("client_secret_post") && !takes("client_secret_basic"),
        })
    }

    /// In the words of the SDK: nothing but what was checked.
    pub(crate) fn metadata(&self) -> AuthorizationMetadata {
        let mut metadata = AuthorizationMetadata::default();
        metadata.issuer = Some(self.issuer.clone());
        metadata.authorization_endpoint.clone_from(&self.authorization_endpoint);
        metadata.token_endpoint.clone_from(&self.token_endpoint);
        metadata.registration_endpoint.clone_from(&self.registration_endpoint);
        metadata.code_challenge_methods_supported = Some(vec!["S256".to_owned()]);
        let fields = &mut metadata.additional_fields;
        let iss = "authorization_response_iss_parameter_supported";
        fields.insert(iss.to_owned(), self.says_who_answers.into());
        if self.secret_in_form {
            let methods = serde_json::json!(["client_secret_post"]);
            fields.insert("token_endpoint_auth_methods_supported".to_owned(), methods);
        }
        metadata
    }
}
