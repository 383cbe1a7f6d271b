//! Dynamic registration (RFC 7591): open to strangers where it is on, and worth nothing by itself. What such clients may
//! reach is policy (PC-1A); what they may be is decided here.

use crate::app::App;
use crate::extract::{BodyRefusal, Now, Peer, read_body};
use crate::fault::Fault;
use crate::issuer::error::{Refusal, RegistrationRefusal};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, header};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::client_id;
use portcullis_domain::secret::{ClientSecret, Hashed, Plain};
use portcullis_oauth::client::{AuthMethod, ClientId, RegistrationRequest, RegistrationResponse};
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::strict_json;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ClientKind, Inserted, NewClient};
use std::sync::Arc;

mod metadata;

pub(crate) use metadata::is_treacherous;

use metadata::Metadata;

/// `POST /oauth/register`
pub(crate) async fn register(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Peer(from): Peer,
    request: Request,
) -> Result<Response, Refusal> {
    if !app.config.registration.dynamic {
        return Err(Refusal::RegistrationOff);
    }
    app.throttle.registration(from, now).map_err(Refusal::Throttled)?;
    let metadata = Metadata::check(read(request).await?)?;
    let registered = insert(&app, &metadata, now).await?;
    let response =
        (StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(answer(metadata, registered, now)));
    Ok(response.into_response())
}

async fn read(request: Request) -> Result<RegistrationRequest, Refusal> {
    let body = match read_body(request, "application/json").await {
        Ok(body) => body,
        Err(refusal @ BodyRefusal::TooLarge) => return Err(Refusal::Body(refusal)),
        Err(BodyRefusal::Broken | BodyRefusal::Form(_) | BodyRefusal::Type) => {
            return Err(RegistrationRefusal::Body.into());
        }
    };
    strict_json::check(&body, 16).map_err(|_| RegistrationRefusal::Body)?;
    // serde would read an array as the members in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(RegistrationRefusal::Body.into());
    }
    Ok(serde_json::from_slice(&body).map_err(|_| RegistrationRefusal::Body)?)
}

/// The client that a registration got.
struct Registered {
    client_id: ClientId,
    secret: Option<Plain<ClientSecret>>,
}

struct Input {
    client: NewClient,
    secret: Option<Hashed<ClientSecret>>,
}

async fn insert(app: &App, metadata: &Metadata, now: Timestamp) -> Result<Registered, Fault> {
    let mut rng = app.entropy.rng();
    let new_id = client_id(now, &mut rng);
    let new_id: ClientId = new_id.parse().map_err(|_| Fault::Shape("a new client id"))?;
    let secret = match metadata.auth_method {
        AuthMethod::None => None,
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => Some(Plain::generate(&mut rng)),
    };
    let input =
        Input { client: metadata.to_client(new_id.clone(), now), secret: secret.as_ref().map(Plain::hashed) };
    let written = app.store.write(now, input, |input, tx| {
        Box::pin(async move {
            let inserted = tx.insert_client(&input.client).await?;
            if let (Inserted::New, Some(secret)) = (&inserted, &input.secret) {
                tx.insert_secret(&input.client.client_id, secret, None).await?;
            }
            let (id, again) = match inserted {
                Inserted::New => (input.client.client_id.clone(), false),
                Inserted::Same(id) => (id, true),
            };
            let mut event = Event::new(Kind::ClientRegistered, Outcome::Allowed, Actor::Stranger);
            event.client = Some(id.clone());
            let event = event.with("again", again);
            tx.record(&event, id).await
        })
    });
    Ok(Registered { client_id: written.await?, secret })
}

/// AS-DCR-01: everything that was registered, defaults included.
fn answer(metadata: Metadata, registered: Registered, now: Timestamp) -> RegistrationResponse {
    let secret = registered.secret.map(|secret| secret.reveal().to_owned());
    RegistrationResponse {
        client_id: registered.client_id,
        client_id_issued_at: now.seconds(),
        client_secret_expires_at: secret.as_ref().map(|_| 0),
        client_secret: secret,
        redirect_uris: metadata.redirect_uris,
        token_endpoint_auth_method: metadata.auth_method,
        grant_types: metadata.grant_types,
        response_types: vec!["code"],
        client_name: metadata.name,
        client_uri: metadata.client_uri,
        scope: metadata.scope,
        application_type: metadata.application_type,
    }
}

impl Metadata {
    fn to_client(&self, client_id: ClientId, now: Timestamp) -> NewClient {
        NewClient {
            client_id,
            kind: ClientKind::SelfRegistered,
            name: self.name.clone(),
            client_uri: self.client_uri.clone(),
            redirect_uris: self.redirect_uris.clone(),
            auth_method: self.auth_method,
            grant_types: self.grant_types.clone(),
            created_at: now,
            fingerprint: self.fingerprint(),
        }
    }

    /// Public clients that registered the same are one client: nobody could tell them apart anyway, and programs that
    /// register at every start do not fill the store. The port of a loopback redirect is free, so it does not count.
    fn fingerprint(&self) -> Option<String> {
        match self.auth_method {
            AuthMethod::None => {}
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => return None,
        }
        let mut uris: Vec<String> = self.redirect_uris.iter().map(without_port).collect();
        uris.sort();
        let mut grants = self.grant_types.clone();
        grants.sort();
        let all = serde_json::to_string(&(&self.name, &self.client_uri, uris, grants)).ok()?;
        let hash = Hashed::<ClientSecret>::of(&all);
        Some(URL_SAFE_NO_PAD.encode(hash.as_bytes()))
    }
}

/// As it is written, not as a URL is read: what is one client here must be one for [`RedirectUri::admits`] too, or a
/// stranger could register another's name first, with an address that only reads the same.
fn without_port(uri: &RedirectUri) -> String {
    let text = uri.as_str();
    let Some(rest) = text.strip_prefix("http://").filter(|_| uri.is_loopback()) else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let is_port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = authority.rsplit_once(':').filter(is_port).map_or(authority, |(host, _)| host);
    format!("http://{host}{tail}")
}
