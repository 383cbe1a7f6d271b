//! A gateway comes for its identity: with the one-time secret, and the public halves of two keys that it made itself.

use super::refusal::Refusal;
use super::wire::{Enrol, Enrolled, assertion_kid, identity_kid};
use crate::app::App;
use crate::extract::Peer;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::secret::{Enrolment, Hashed};
use portcullis_oauth::jwk::{JwkSet, KeySet, PublicJwk};
use portcullis_oauth::strict_json;
use portcullis_store::{Enrolling, GatewayKeys, Recorded, StoredGateway, Tx};
use std::sync::Arc;

/// Two keys and a secret.
const MAX_BODY: usize = 16 * 1024;
const MAX_DEPTH: usize = 4;

/// `POST /api/v1/gateways/enrol`. What was answered once is answered again, to the same keys, while the secret is good.
pub(super) async fn enrol(
    State(app): State<Arc<App>>,
    Peer(from): Peer,
    body: Body,
) -> Result<Json<Enrolled>, Refusal> {
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::Malformed("too long, or cut off"))?;
    let malformed = Refusal::Malformed("gateway, secret, identity and assertion, as JSON");
    if strict_json::check(&body, MAX_DEPTH).is_err() {
        return Err(malformed);
    }
    let Ok(Enrol { gateway: id, secret, identity, assertion }) = serde_json::from_slice(&body) else {
        return Err(malformed);
    };
    // Hashed before anything is known (CLI-04).
    let secret = Hashed::<Enrolment>::of(&secret);
    let gateways = app.store.read().await?.reader().gateways().await?;
    let known = gateways.iter().find(|gateway| gateway.id == id);
    let Some(known) = known.filter(|gateway| gateway.enrolment.matches(&secret)) else {
        let wait = app.throttle.wrong_secret(&id.to_string(), from, app.clock.now());
        return Err(wait.map_or_else(Refusal::Throttled, |()| Refusal::UnknownEnrolment));
    };
    let keys = GatewayKeys { identity, assertion };
    if !may_be_keys(&app, &keys, known, &gateways) {
        return Err(Refusal::Keys);
    }
    let name = known.name.to_string();
    let written = app.store.write(app.clock.now(), (id, secret, keys, name), |input, tx| {
        Box::pin(async move {
            let (id, secret, keys, name) = input;
            let enrolling = tx.enrol_gateway(*id, secret, keys).await?;
            record(tx, enrolling, name).await
        })
    });
    match written.await? {
        Enrolling::Done | Enrolling::Again => {
            app.catch_up().await;
            Ok(Json(Enrolled { gateway: id, issuer: app.config.issuer.clone() }))
        }
        Enrolling::Spent => Err(Refusal::Spent),
        Enrolling::Expired => Err(Refusal::Expired),
        Enrolling::Unknown => Err(Refusal::UnknownEnrolment),
    }
}

/// Whoever knew the secret is worth a record, whatever came of it.
async fn record(
    tx: &mut Tx,
    enrolling: Enrolling,
    name: &str,
) -> Result<Recorded<Enrolling>, portcullis_store::Error> {
    let outcome = match enrolling {
        Enrolling::Done | Enrolling::Again => Outcome::Allowed,
        Enrolling::Spent => Outcome::Refused("enrolment_spent".to_owned()),
        Enrolling::Expired => Outcome::Refused("enrolment_expired".to_owned()),
        Enrolling::Unknown => Outcome::Refused("unknown_enrolment".to_owned()),
    };
    let event = Event::new(Kind::GatewayEnrolled, outcome, Actor::System).with("gateway", name);
    tx.record(&event.with("again", enrolling == Enrolling::Again), enrolling).await
}

/// Two different keys, under the ids that are this gateway's, and neither of them anybody else's: what signs assertions signs
/// nothing else.
fn may_be_keys(app: &App, keys: &GatewayKeys, gateway: &StoredGateway, all: &[StoredGateway]) -> bool {
    let GatewayKeys { identity, assertion } = keys;
    let named = identity.kid == identity_kid(gateway.id) && assertion.kid == assertion_kid(gateway.id);
    let usable = KeySet::new(&JwkSet { keys: vec![identity.clone(), assertion.clone()] }).is_ok();
    let ours = app.keys.load();
    let others = all.iter().filter(|other| other.id != gateway.id).filter_map(|other| other.keys.as_ref());
    let others = others.flat_map(|keys| [&keys.identity, &keys.assertion]);
    let of_this = [&identity.x, &assertion.x];
    // All keys under the gateway's own ids are its own: it comes again with them.
    let published = ours.public.keys.iter().chain(&ours.assertion_public.keys);
    let is_strange = |key: &&PublicJwk| key.kid != assertion.kid;
    let mut taken = published.filter(is_strange).chain(others);
    named && usable && identity.x != assertion.x && !taken.any(|key| of_this.contains(&&key.x))
}
