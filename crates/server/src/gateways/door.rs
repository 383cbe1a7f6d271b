//! Which gateway asks: a JWT signed by its identity key, made for this very address, a minute long (after RFC 7523 s3).

use super::refusal::Refusal;
use super::wire::{IDENTITY_LIFE, IDENTITY_TYPE, IdentityClaims, identity_kid};
use crate::app::App;
use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header;
use http::request::Parts;
use portcullis_domain::id::GatewayId;
use portcullis_domain::snapshot::Share;
use portcullis_guard::bearer::bearer_token;
use portcullis_oauth::jwk::{JwkSet, KeySet};
use portcullis_oauth::jwt::{self, Opened};
use portcullis_oauth::time::Timestamp;
use portcullis_store::StoredGateway;
use std::sync::Arc;
use std::time::Duration;

/// A gateway that has shown who it is. Only the door makes one.
pub(crate) struct Gateway {
    pub(super) known: StoredGateway,
}

impl Gateway {
    /// What it serves.
    pub(super) fn share(&self) -> Share {
        self.known.servers.clone().into()
    }
}

impl FromRequestParts<Arc<App>> for Gateway {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let token = bearer_token(values.map(HeaderValue::as_bytes));
        let token =
            token.ok().flatten().ok_or(Refusal::Unidentified("one identity JWT, as a bearer token"))?;
        let names = jwt::unverified_names(token).ok_or(Refusal::Unidentified("this is no JWT"))?;
        let id: GatewayId =
            names.issuer.parse().map_err(|_| Refusal::Unidentified("this is no gateway's"))?;
        let known = app.store.read().await?.reader().gateway(id).await?.ok_or(Refusal::Unknown)?;
        let keys = known.keys.as_ref().ok_or(Refusal::Unidentified("this gateway has no identity yet"))?;
        // Its identity key only: what signs assertions, or access tokens, opens nothing here.
        let keys = KeySet::new(&JwkSet { keys: vec![keys.identity.clone()] });
        let keys = keys.map_err(|_| Refusal::Unidentified("this gateway has no identity yet"))?;
        let opened: Opened<IdentityClaims> = jwt::open(token, IDENTITY_TYPE, &keys)
            .map_err(|_| Refusal::Unidentified("this is not signed by the gateway that it names"))?;
        let address = format!("{}{}", app.config.issuer.origin(), parts.uri.path());
        let expected = Expected { id, address, now: app.clock.now(), leeway: app.config.tokens.leeway };
        expected.check(&opened).map_err(Refusal::Unidentified)?;
        Ok(Self { known })
    }
}

struct Expected {
    id: GatewayId,
    address: String,
    now: Timestamp,
    leeway: Duration,
}

impl Expected {
    fn check(&self, opened: &Opened<IdentityClaims>) -> Result<(), &'static str> {
        let IdentityClaims { iss, aud, iat, exp, jti: _ } = &opened.claims;
        if *iss != self.id || opened.kid != identity_kid(self.id) {
            return Err("this is not signed by the gateway that it names");
        }
        if *aud != self.address {
            return Err("made for another address");
        }
        if *iat > self.now + self.leeway {
            return Err("made in the future: the clocks are apart");
        }
        if (*exp + self.leeway).has_passed(self.now) {
            return Err("expired, or the clocks are apart");
        }
        if *exp > *iat + IDENTITY_LIFE {
            return Err("it lives longer than a minute");
        }
        Ok(())
    }
}
