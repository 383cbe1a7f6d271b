//! What is said to a third party, in the words of the MCP SDK. Each conversation begins with what is known of the other side,
//! and everything goes through [`Fetch`].

use super::party::{Authority, Client, Party};
use super::sealed::{Begun, Bond, Held};
use super::{CALLBACK, NotConnected};
use crate::app::App;
use crate::fault::Fault;
use crate::fetch::Fetch;
use http::{Method, Request, Response, StatusCode};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::scope::Scope;
use portcullis_oauth::time::Timestamp;
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, CredentialStore, OAuthClientConfig, OAuthHttpClient,
    OAuthHttpClientError, OAuthHttpClientFuture, OAuthHttpRequest, StateStore, StoredAuthorizationState,
    StoredCredentials,
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;
use zeroize::Zeroizing;

/// More scopes than a person reads are not asked for.
const MOST_SCOPES: usize = 100;

/// What was found out about a third party.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) upstream: String,
    pub(crate) resource: String,
    pub(crate) authority: Authority,
    pub(crate) scopes: Vec<String>,
}

/// Why tokens were not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRenewed {
    /// They do not know the connection any more (field 1.4: that is final).
    Gone(Gone),
    /// They cannot be asked now.
    Later,
}

/// What they do not know any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Us.
    Client,
    /// What the person agreed to.
    Grant,
}

impl Gone {
    /// A stable word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Client => "invalid_client",
            Self::Grant => "invalid_grant",
        }
    }
}

/// The way back to us.
pub(crate) fn redirect(issuer: &Issuer) -> String {
    issuer.join(CALLBACK)
}

/// Who issues tokens for a server, and what would be asked for.
pub(crate) async fn discover(app: &App, party: &Party) -> Result<Found, NotConnected> {
    let fetch = party.fetch(app);
    let carrier = Arc::new(Carrier::new(fetch.clone(), None));
    let manager = AuthorizationManager::new_with_oauth_http_client(party.upstream.as_str(), carrier);
    let mut manager = manager.await.map_err(unusable)?;
    let resolved = manager.resolve_metadata().await.map_err(unusable)?;
    if !resolved.source.is_discovered() {
        let says = "it publishes neither protected-resource metadata nor an authorization server";
        return Err(NotConnected::Unusable(says.to_owned()));
    }
    let pinned = party.asks.issuer.as_ref().map(portcullis_oauth::issuer::ExternalIssuer::as_str);
    let authority = Authority::checked(&resolved.metadata, pinned, &fetch)?;
    manager.set_metadata(resolved.metadata);
    let scopes = match &party.asks.scopes {
        Some(scopes) => scopes.iter().map(ToString::to_string).collect(),
        None => manager.select_initial_scopes(&[]).await,
    };
    if scopes.len() > MOST_SCOPES || !scopes.iter().all(|scope| scope.parse::<Scope>().is_ok()) {
        return Err(NotConnected::Unusable("the scopes that it names are no scopes, or too many".into()));
    }
    // The SDK tells the resource that it found in an authorization request only; this one goes nowhere.
    let nobody = OAuthClientConfig::new("nobody", redirect(&app.config.issuer));
    manager.configure_client(nobody).map_err(unusable)?;
    let sample = manager.get_authorization_url(&[]).await.map_err(unusable)?;
    let sample = Url::parse(&sample).map_err(|_| Fault::Shape("an authorization request"))?;
    let resource = sample.query_pairs().find(|(name, _)| name == "resource");
    let resource = resource.map(|(_, value)| value.into_owned());
    let resource = resource.ok_or(Fault::Shape("an authorization request"))?;
    Ok(Found { upstream: party.upstream.clone(), resource, authority, scopes })
}

/// Makes us known to an issuer that lets clients register themselves.
pub(crate) async fn register(app: &App, party: &Party, found: &Found) -> Result<Client, NotConnected> {
    let bond = bond(found);
    let (mut manager, _) = conversation(party.fetch(app), &bond).await?;
    configure(&mut manager, &bond, &app.config.issuer)?;
    let scopes: Vec<&str> = found.scopes.iter().map(String::as_str).collect();
    let name = format!("Portcullis at {}", app.config.issuer.origin());
    let registered = manager.register_client(&name, &redirect(&app.config.issuer), &scopes).await;
    let config = registered.map_err(unusable)?;
    Ok(Client { id: config.client_id, secret: config.client_secret.map(Zeroizing::new) })
}

/// Where the browser goes, and what must be known when it comes back.
pub(crate) async fn ask(
    app: &App,
    party: &Party,
    (found, client): (&Found, Client),
) -> Result<(String, Begun), NotConnected> {
    let bond = Bond { client, ..bond(found) };
    let (mut manager, _) = conversation(party.fetch(app), &bond).await?;
    configure(&mut manager, &bond, &app.config.issuer)?;
    let states = Kept::default();
    manager.set_state_store(states.clone());
    let scopes: Vec<&str> = found.scopes.iter().map(String::as_str).collect();
    let address = manager.get_authorization_url(&scopes).await.map_err(unusable)?;
    let state = states.take().ok_or(Fault::Shape("an authorization request"))?;
    let address = with_resource(&address, &bond.resource).ok_or(Fault::Shape("an authorization request"))?;
    Ok((address, Begun { bond, state }))
}

/// Tokens for a code. `iss` is checked by what the issuer said of itself (RFC 9207).
pub(crate) async fn exchange(
    app: &App,
    fetch: Fetch,
    begun: Begun,
    (code, iss): (&str, Option<&str>),
) -> Result<Held, (NotConnected, Option<Gone>)> {
    let Begun { bond, state } = begun;
    let plain = |failure: NotConnected| (failure, None::<Gone>);
    let (mut manager, carrier) = conversation(fetch, &bond).await.map_err(plain)?;
    configure(&mut manager, &bond, &app.config.issuer).map_err(plain)?;
    let csrf = state.csrf_token.clone();
    let (states, tokens) = (Kept::default(), Kept::default());
    states.put(state);
    manager.set_state_store(states);
    manager.set_credential_store(Vault(tokens.clone()));
    let exchanged = manager.exchange_code_for_token_with_issuer(code, &csrf, iss).await;
    let gone = carrier.gone();
    let refused = |error: AuthError| (NotConnected::Refused(fixed(&error).to_owned()), gone);
    exchanged.map_err(refused)?;
    let credentials: StoredCredentials = tokens.take().ok_or_else(|| plain(Fault::Shape("tokens").into()))?;
    held(bond, &credentials, app.clock.now()).map_err(plain)
}

/// The next tokens of a connection.
pub(crate) async fn renew(app: &App, fetch: Fetch, before: &Held) -> Result<Held, NotRenewed> {
    let later = |_: NotConnected| NotRenewed::Later;
    let (mut manager, carrier) = conversation(fetch, &before.bond).await.map_err(later)?;
    configure(&mut manager, &before.bond, &app.config.issuer).map_err(later)?;
    let tokens = Kept::default();
    tokens.put(credentials(before).map_err(|fault| later(fault.into()))?);
    manager.set_credential_store(Vault(tokens.clone()));
    match manager.refresh_token().await {
        Ok(_kept) => {
            let credentials = tokens.take().ok_or(NotRenewed::Later)?;
            held(before.bond.clone(), &credentials, app.clock.now()).map_err(later)
        }
        Err(AuthError::TokenRefreshRejected(_) | AuthError::AuthorizationRequired) => {
            Err(NotRenewed::Gone(Gone::Grant))
        }
        Err(error) => {
            tracing::warn!(why = fixed(&error), "tokens of a connection could not be renewed");
            Err(carrier.gone().map_or(NotRenewed::Later, NotRenewed::Gone))
        }
    }
}

fn bond(found: &Found) -> Bond {
    Bond {
        upstream: found.upstream.clone(),
        resource: found.resource.clone(),
        authority: found.authority.clone(),
        client: Client { id: String::new(), secret: None },
    }
}

async fn conversation(
    fetch: Fetch,
    bond: &Bond,
) -> Result<(AuthorizationManager, Arc<Carrier>), NotConnected> {
    let carrier = Arc::new(Carrier::new(fetch, Some(bond.resource.clone())));
    let client = Arc::clone(&carrier) as Arc<dyn OAuthHttpClient>;
    let manager = AuthorizationManager::new_with_oauth_http_client(bond.resource.as_str(), client);
    let mut manager = manager.await.map_err(unusable)?;
    manager.set_metadata(bond.authority.metadata());
    Ok((manager, carrier))
}

fn configure(manager: &mut AuthorizationManager, bond: &Bond, issuer: &Issuer) -> Result<(), NotConnected> {
    // A way back to loopback is what programs of people have.
    let kind = if issuer.is_https() { "web" } else { "native" };
    let mut config = OAuthClientConfig::new(&bond.client.id, redirect(issuer)).with_application_type(kind);
    if let Some(secret) = &bond.client.secret {
        config = config.with_client_secret(secret.as_str());
    }
    manager.configure_client(config).map_err(unusable)
}

/// The form in which the SDK keeps tokens (and that of a token answer).
#[derive(Serialize, Deserialize)]
struct Answer {
    access_token: Zeroizing<String>,
    token_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Zeroizing<String>>,
}

fn held(bond: Bond, credentials: &StoredCredentials, now: Timestamp) -> Result<Held, NotConnected> {
    let shape = |_| Fault::Shape("tokens");
    let text = Zeroizing::new(serde_json::to_vec(&credentials.token_response).map_err(shape)?);
    let answer: Answer = serde_json::from_slice(&text).map_err(shape)?;
    // Another kind would need a proof with each call that we do not make.
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(NotConnected::Refused("its token is not of the type Bearer".to_owned()));
    }
    let legal = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !legal(&answer.access_token) || !answer.refresh_token.as_ref().is_none_or(|token| legal(token)) {
        return Err(NotConnected::Refused("its token is none that HTTP could carry".to_owned()));
    }
    let lives = answer.expires_in.map(|seconds| seconds.min(u64::from(u32::MAX)));
    Ok(Held {
        bond,
        access: answer.access_token,
        refresh: answer.refresh_token,
        scopes: credentials.granted_scopes.clone(),
        ends: lives.map(|seconds| now + Duration::from_secs(seconds)),
    })
}

fn credentials(held: &Held) -> Result<StoredCredentials, Fault> {
    let answer = Answer {
        access_token: held.access.clone(),
        token_type: "bearer".to_owned(),
        expires_in: None,
        refresh_token: held.refresh.clone(),
    };
    let shape = |_| Fault::Shape("tokens");
    let text = Zeroizing::new(serde_json::to_vec(&answer).map_err(shape)?);
    let response = serde_json::from_slice(&text).map_err(shape)?;
    let client = held.bond.client.id.clone();
    Ok(StoredCredentials::new(client, Some(response), held.scopes.clone(), None))
}

/// Nothing of what the other side said: it may repeat what we sent.
fn fixed(error: &AuthError) -> &'static str {
    if matches!(
        error,
        AuthError::AuthorizationServerMismatch { .. } | AuthError::AuthorizationServerMissingIssuer { .. }
    ) {
        "another issuer answers than was asked"
    } else if matches!(error, AuthError::TokenExchangeFailed(_)) {
        "the code was not taken, or the answer cannot be read"
    } else if matches!(error, AuthError::TokenRefreshFailed(_)) {
        "the refresh was not answered, or the answer cannot be read"
    } else {
        "the sign-in cannot be completed"
    }
}

/// For operators, who need to know what to mend; addresses and reasons of the other side's documents.
fn unusable(error: AuthError) -> NotConnected {
    // The rest of it is what the other side answered.
    let mut says = if matches!(error, AuthError::RegistrationFailed(_)) {
        "it does not let us register ourselves: register a client there, and write it into the fleet file \
         (per_user.client_id)"
            .to_owned()
    } else {
        error.to_string()
    };
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        says = format!("{says}: {source}");
        next = source.source();
    }
    let says = says.chars().filter(|c| !c.is_control()).take(500).collect();
    NotConnected::Unusable(says)
}

/// The same address with the resource as its server writes it: the SDK prints a parsed one, and strict issuers know the
/// difference of a slash (field 1.1).
fn with_resource(address: &str, resource: &str) -> Option<String> {
    let mut url = Url::parse(address).ok()?;
    let query = replaced(url.query()?, resource);
    url.set_query(Some(&query));
    Some(url.into())
}

fn replaced(form: &str, resource: &str) -> String {
    let pairs = url::form_urlencoded::parse(form.as_bytes());
    let pairs =
        pairs.map(|(name, value)| if name == "resource" { (name, resource.into()) } else { (name, value) });
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Carries the SDK's requests, and remembers whether the other side said that it does not know us.
struct Carrier {
    fetch: Fetch,
    resource: Option<String>,
    gone: Mutex<Option<Gone>>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Carrier {
    fn new(fetch: Fetch, resource: Option<String>) -> Self {
        Self { fetch, resource, gone: Mutex::default() }
    }

    fn gone(&self) -> Option<Gone> {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepared(&self, mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
        let is_form = request
            .headers()
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|stated| stated.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if let (Some(resource), true, Ok(form)) =
            (&self.resource, is_form, std::str::from_utf8(request.body()))
        {
            *request.body_mut() = replaced(form, resource).into_bytes();
        }
        request
    }

    fn note(&self, method: &Method, response: &Response<Vec<u8>>) {
        let is_refused = matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        if *method != Method::POST || !is_refused {
            return;
        }
        let Ok(refusal) = serde_json::from_slice::<Refusal>(response.body()) else { return };
        let gone = match refusal.error.as_str() {
            "invalid_client" | "unauthorized_client" => Gone::Client,
            "invalid_grant" => Gone::Grant,
            _ => return,
        };
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = Some(gone);
    }
}

impl OAuthHttpClient for Carrier {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let request = self.prepared(request.request);
            let method = request.method().clone();
            let response = self.fetch.send(request).await.map_err(OAuthHttpClientError::from)?;
            self.note(&method, &response);
            Ok::<_, OAuthHttpClientError>(response)
        })
    }
}

/// One value, handed over between us and the SDK.
struct Kept<T>(Arc<Mutex<Option<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Kept<T> {
    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait::async_trait]
impl StateStore for Kept<StoredAuthorizationState> {
    async fn save(&self, _: &str, state: StoredAuthorizationState) -> Result<(), AuthError> {
        self.put(state);
        Ok(())
    }

    async fn load(&self, _: &str) -> Result<Option<StoredAuthorizationState>, AuthError> {
        Ok(self.take())
    }

    async fn delete(&self, _: &str) -> Result<(), AuthError> {
        Ok(())
    }
}

struct Vault(Kept<StoredCredentials>);

#[async_trait::async_trait]
impl CredentialStore for Vault {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        self.0.put(credentials);
        Ok(())
    }

    async fn clear(&self) -> Result<(), AuthError> {
        let _forgotten = self.0.take();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_named_as_its_server_names_it() {
        let address = "https://as.test/authorize?response_type=code&resource=https%3A%2F%2Fh.test%2F&state=x";
        let exact = with_resource(address, "https://h.test").unwrap();
        assert_eq!(
            exact,
            "https://as.test/authorize?response_type=code&resource=https%3A%2F%2Fh.test&state=x"
        );
    }
}
