//! The door for access tokens: whoever comes over TCP shows one of ours, made for the server `portcullis`.
//!
//! Everything is asked anew at each request: keys, revocations, the account, its roles, and what the policy leaves of the
//! token's scopes. The token stands in the `Authorization` header and nowhere else; cookies are not looked at.

use super::error::{Refusal, RefusedAs};
use super::operator::{Admitted, Identity, RightName, Who};
use crate::app::{App, Current};
use crate::config::Tokens;
use crate::fault::Fault;
use crate::issuer::introspect::is_believed;
use crate::issuer::today::{roles_of, servers_of};
use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::builtin;
use portcullis_domain::condition::Circumstances;
use portcullis_domain::principal::{Principal, Subject};
use portcullis_gateway::ClientAddress;
use portcullis_guard::bearer::{BearerRefusal, bearer_token};
use portcullis_guard::challenge::{Challenge, Challenges};
use portcullis_guard::metadata::protected_resource;
use portcullis_guard::verifier::Verifier;
use portcullis_oauth::jwt::Expected;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use portcullis_store::StoredUser;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Good signatures that are remembered. Operators are few.
const SIGNATURES: usize = 1024;

/// The most of an address that a record keeps.
const PATH_IN_RECORD: usize = 256;

/// What the door remembers between requests.
pub(super) struct Door {
    app: Arc<App>,
    verifier: Mutex<Option<Arc<Verifier>>>,
}

/// Asks once more who it is when the body has come: it may take its time, and what was believed before it came may have
/// ended since (PC-45).
#[derive(Clone)]
pub(super) struct AskedAgain {
    door: Arc<Door>,
    head: Arc<Parts>,
    before: Arc<Identity>,
}

/// Lets in whoever shows a token that counts; everybody else is challenged before anything of the request is looked at.
pub(super) async fn by_token(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let identity = match door.identify(&parts).await {
        Ok(identity) => Arc::new(identity),
        Err(refusal) => return refusal.into_response(),
    };
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let head = Arc::new(parts.clone());
    let before = Arc::clone(&identity);
    parts.extensions.insert(AskedAgain { door: Arc::clone(&door), head, before });
    parts.extensions.insert(Admitted(Arc::clone(&identity)));
    let response = next.run(Request::from_parts(parts, body)).await;
    match response.extensions().get::<RefusedAs>() {
        Some(RefusedAs(why)) if response.status() == StatusCode::FORBIDDEN => {
            match door.record(&identity, (&method, &path), why).await {
                Ok(()) => response,
                Err(fault) => Refusal::Fault(fault).into_response(),
            }
        }
        Some(_) | None => response,
    }
}

impl AskedAgain {
    /// Refuses if the token counts no longer, or for less than when the request began.
    pub(super) async fn check(&self) -> Result<(), Refusal> {
        let now = self.door.identify(&self.head).await?;
        let mut lost = self.before.everywhere.difference(&now.everywhere);
        let mut lost_here = self.before.on_own_servers.difference(&now.on_own_servers);
        if let Some(right) = lost.next().or_else(|| lost_here.next()) {
            return Err(Refusal::NoRight(*right));
        }
        let is_same = self.before.own_servers.is_subset(&now.own_servers);
        if is_same { Ok(()) } else { Err(Refusal::OwnServersOnly) }
    }
}

impl Door {
    pub(super) fn of(app: &Arc<App>) -> Arc<Self> {
        Arc::new(Self { app: Arc::clone(app), verifier: Mutex::default() })
    }

    async fn identify(&self, parts: &Parts) -> Result<Identity, Refusal> {
        let current = self.app.current.load_full();
        let server = current.policy.server(builtin::SERVER).ok_or(Fault::Shape("the server portcullis"))?;
        let uri = &server.server().canonical_uri;
        let challenges = Challenges::new(uri, server.advertised_scopes());
        let token = presented(parts, &challenges)?;
        let now = self.app.clock.now();
        let expected = Expected {
            issuer: &self.app.config.issuer,
            audience: uri.as_str(),
            now,
            leeway: self.app.config.tokens.leeway,
            max_life: Tokens::MAX_ACCESS,
        };
        let verified = self.verifier()?.verify(token, &expected);
        let principal = verified.map_err(|_| Refusal::NoToken(challenges.invalid_token()))?;
        let mut handle = self.app.store.read().await?;
        if !is_believed((&principal, builtin::SERVER_ID), handle.reader(), now).await? {
            return Err(Refusal::NoToken(challenges.invalid_token()));
        }
        let person = match &principal.subject {
            Subject::Agent(_) | Subject::External { .. } => None,
            Subject::User(user) => handle.reader().user(*user).await?,
        };
        drop(handle);
        let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
        let circumstances = Circumstances { now, address, arguments: None };
        let may = |roles: Vec<String>| {
            let today = Principal { roles, ..principal.clone() };
            server.names_of(server.effective(&today, &circumstances))
        };
        let mut identity = match &person {
            None => Identity::reaching_everything(rights(&may(Vec::new()))),
            Some(person) => of_person(person, &current, may),
        };
        identity.who =
            Who::Token { principal: Box::new(principal), name: person.map(|person| person.username) };
        identity.challenges = Some(challenges);
        Ok(identity)
    }

    /// The one for today's keys.
    fn verifier(&self) -> Result<Arc<Verifier>, Fault> {
        let keys = self.app.keys.load();
        let mut kept = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verifier) = kept.as_ref().filter(|verifier| verifier.is_for(&keys.public)) {
            return Ok(Arc::clone(verifier));
        }
        let new = Verifier::new(&keys.public, SIGNATURES).map_err(|_| Fault::Shape("the public keys"))?;
        let new = Arc::new(new);
        *kept = Some(Arc::clone(&new));
        Ok(new)
    }

    /// ADM-10: somebody known asked for what is not theirs.
    async fn record(
        &self,
        identity: &Identity,
        (method, path): (&Method, &str),
        why: &str,
    ) -> Result<(), Fault> {
        let path: String = path.chars().take(PATH_IN_RECORD).collect();
        let event = identity.event(Kind::AdminRefused, Outcome::Refused(why.to_owned()));
        let event: Event = event.with("method", method).with("path", path);
        let now: Timestamp = self.app.clock.now();
        let written = self.app.store.write(now, event, |event, tx| Box::pin(tx.record(event, ())));
        Ok(written.await?)
    }
}

/// What a person may do, by the roles of today; `may` says which scopes are left to whoever has these.
fn of_person(person: &StoredUser, current: &Current, may: impl Fn(Vec<String>) -> ScopeSet) -> Identity {
    let (own, others): (Vec<_>, Vec<_>) =
        roles_of(person, current).into_iter().partition(|role| role == builtin::SERVER_OWNER);
    let mut identity = Identity::reaching_everything(rights(&may(others)));
    if person.admin && holds(&may(vec![builtin::OWNER.to_owned()]), builtin::ADMIN_WRITE) {
        identity.everywhere.insert(RightName::Owns);
    }
    if !own.is_empty() {
        identity.on_own_servers = rights(&may(own));
        identity.own_servers = servers_of(&person.username, current).cloned().collect();
    }
    identity
}

/// The one token in the one place (RFC 6750 s2; OAuth 2.1 s5.1: never the query).
fn presented<'p>(parts: &'p Parts, challenges: &Challenges) -> Result<&'p str, Refusal> {
    let query = parts.uri.query().unwrap_or_default();
    if query.to_ascii_lowercase().contains("access_token") {
        return Err(misplaced(challenges, "the token belongs in the Authorization header"));
    }
    let values = parts.headers.get_all(header::AUTHORIZATION).iter();
    match bearer_token(values.map(HeaderValue::as_bytes)) {
        Ok(Some(token)) if query.contains(token) => {
            Err(misplaced(challenges, "the token belongs in the Authorization header"))
        }
        Ok(Some(token)) => Ok(token),
        Ok(None) | Err(BearerRefusal::OtherScheme) => Err(Refusal::NoToken(challenges.missing())),
        Err(BearerRefusal::Malformed) => Err(misplaced(challenges, "this is no bearer token")),
        Err(BearerRefusal::Several) => Err(misplaced(challenges, "more than one Authorization header")),
    }
}

fn misplaced(challenges: &Challenges, says: &'static str) -> Refusal {
    Refusal::Misplaced(challenges.invalid_request(says), says)
}

fn rights(scopes: &ScopeSet) -> BTreeSet<RightName> {
    [RightName::Audits, RightName::Reads, RightName::Writes]
        .into_iter()
        .filter(|right| right.scope().is_some_and(|scope| holds(scopes, scope)))
        .collect()
}

fn holds(scopes: &ScopeSet, scope: &str) -> bool {
    scopes.iter().any(|held| held.as_str() == scope)
}

impl RightName {
    /// The scope that gives it; nothing but being an administrator gives `Owns`.
    pub(super) fn scope(self) -> Option<&'static str> {
        match self {
            Self::Audits => Some(builtin::AUDIT_READ),
            Self::Owns => None,
            Self::Reads => Some(builtin::ADMIN_READ),
            Self::Writes => Some(builtin::ADMIN_WRITE),
        }
    }
}

/// What to answer somebody whose token does not suffice for this (RFC 6750 s3.1). Another scope does not make an owner.
pub(super) fn insufficient(challenges: &Challenges, right: RightName) -> Option<Challenge> {
    let needs: ScopeSet = right.scope()?.parse().ok()?;
    Some(challenges.insufficient_scope(&needs, right.wanted()))
}

/// The metadata of the admin API (RFC 9728 s2), the same for everybody.
pub(super) async fn metadata(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let current = app.current.load();
    let server =
        current.policy.server(builtin::SERVER).ok_or(Fault::Shape("the server portcullis"))?.server();
    let scopes: ScopeSet = server.scopes.keys().collect();
    let issuers = vec![app.config.issuer.to_string()];
    let document = protected_resource(&server.canonical_uri, issuers, &scopes, Some(server.title.clone()));
    Ok(([(header::CACHE_CONTROL, "public, max-age=300")], Json(document)).into_response())
}

/// Whether somebody has any access to the admin API by what the fleet says today.
pub(super) fn administers(person: &StoredUser, current: &Current) -> bool {
    let reserved = |role: &str| role == builtin::OWNER || role == builtin::SERVER_OWNER;
    let given = |name: &str| {
        let mut roles = current.snapshot.roles.iter().filter(|role| role.name.as_str() == name);
        roles.any(|role| !builtin::admin_access(&role.access).is_empty())
    };
    roles_of(person, current).iter().any(|role| reserved(role) || given(role))
}
