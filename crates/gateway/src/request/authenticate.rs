//! From the headers of a request to its principal. The body is not looked at; an unauthenticated one is never read.

use crate::bounds::rates::Rates;
use crate::decide::refusal::Refusal;
use crate::known::caller::Caller;
use crate::known::disbelief::Disbelief;
use crate::known::door::Door;
use crate::known::snapshot::Known;
use crate::known::state::Knowledge;
use http::request::Parts;
use http::{HeaderValue, header};
use portcullis_guard::bearer::bearer_token;
use portcullis_oauth::jwt::TokenRefusal;
use portcullis_oauth::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// Who calls.
pub(crate) async fn authenticate(
    (knowledge, rates): (&Knowledge, &Rates),
    (known, door): (Arc<Known>, Arc<Door>),
    parts: &Parts,
    (now, address): (Timestamp, Option<IpAddr>),
) -> Result<Caller, Refusal> {
    rates.request(address, now).map_err(Refusal::TooOften)?;
    let token = presented(parts)?;
    let news = knowledge.news();
    // Only where it takes somebody else's time: of a token of which nothing good is known.
    let mut is_asked = false;
    let may_ask = || rates.may_ask(address, now).inspect(|()| is_asked = true);
    knowledge.ready((&known, &door), token, now, may_ask).await.map_err(Refusal::Disbelieved)?;
    let may_check = || rates.may_check(address, now);
    let believed = knowledge.believe_if((&known, &door), token, now, may_check);
    match believed {
        Err(Disbelief::NotActive | Disbelief::Token(TokenRefusal::Signature)) => rates.was_bad(address, now),
        Err(Disbelief::IssuerAway) if is_asked => rates.was_unanswered(address, now),
        Ok(_)
        | Err(Disbelief::IssuerAway | Disbelief::Revoked | Disbelief::Token(_) | Disbelief::Unchecked(_)) => {
        }
    }
    let principal = believed.map_err(Refusal::Disbelieved)?;
    if is_repeated(token, parts) {
        return Err(Refusal::TokenInHeader);
    }
    Ok(Caller { principal, token: token.into(), door, known, now, news, address })
}

/// The one token in the one place (RFC 6750 s2: one method per request; OAuth 2.1 s5.1: never the query).
fn presented(parts: &Parts) -> Result<&str, Refusal> {
    let values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let token = bearer_token(values.map(HeaderValue::as_bytes)).map_err(Refusal::Presented)?;
    let query = parts.uri.query().unwrap_or_default();
    let names_a_token = query.to_ascii_lowercase().contains("access_token");
    if names_a_token || token.is_some_and(|token| query.contains(token)) {
        return Err(Refusal::TokenInUrl);
    }
    token.ok_or(Refusal::NoToken)
}

/// Whether another header holds the token. Some go upstream as they come, and the upstream must never hold what opens this
/// door.
fn is_repeated(token: &str, parts: &Parts) -> bool {
    let holds_it =
        |value: &HeaderValue| value.as_bytes().windows(token.len()).any(|part| part == token.as_bytes());
    let mut others = parts.headers.iter().filter(|(name, _)| **name != header::AUTHORIZATION);
    others.any(|(_, value)| holds_it(value))
}
