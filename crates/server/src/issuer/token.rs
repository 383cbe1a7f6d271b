//! The token endpoint: who asks, by which grant; the grants have files of their own.

mod client_credentials;
mod code;
mod refresh;

use crate::app::{App, Current};
use crate::config::Tokens;
use crate::extract::{Address, ClientRequest, Peer};
use crate::fault::Fault;
use crate::issuer::client_auth::{Caller, authenticate};
use crate::issuer::error::{GrantRefusal, Refusal};
use crate::issuer::mint::{Issued, TokenAnswer, answer};
use crate::issuer::today::ended;
use crate::telemetry;
use crate::throttle::Source;
use axum::extract::State;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::condition::Circumstances;
use portcullis_domain::id::{FamilyId, SessionId, TokenId};
use portcullis_domain::policy::{Asker, ServerPolicy};
use portcullis_oauth::client::GrantType;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::token::TokenRequest;
use portcullis_store::{Error, Recorded, Tx};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Names the clash of a token with a change of the registry, as a constraint.
const MOVED: &str = "registry_of_the_token";

/// So often in a row the registry may change under a request.
const ATTEMPTS: usize = 4;

/// `POST /oauth/token`
pub(crate) async fn token(
    State(app): State<Arc<App>>,
    Peer(from): Peer,
    Address(address): Address,
    request: ClientRequest,
) -> Result<TokenAnswer, Refusal> {
    let grant = grant_word(&request);
    let answered = attempts(&app, (from, address), &request).await;
    let outcome = answered.as_ref().map_or_else(Refusal::word, |_| "issued".to_owned());
    telemetry::reason(&outcome);
    app.figures.token(grant, outcome);
    answered
}

/// For the figures: a word of ours, whatever was sent.
fn grant_word(request: &ClientRequest) -> &'static str {
    match request.form.get("grant_type") {
        Some("authorization_code") => "authorization_code",
        Some("client_credentials") => "client_credentials",
        Some("refresh_token") => "refresh_token",
        Some(_) | None => "other",
    }
}

async fn attempts(
    app: &App,
    from: (Source, Option<IpAddr>),
    request: &ClientRequest,
) -> Result<TokenAnswer, Refusal> {
    for _ in 1..ATTEMPTS {
        match attempt(app, from, request).await {
            Err(Refusal::Fault(Fault::Store(Error::Conflict(MOVED)))) => app.catch_up().await,
            outcome => return outcome,
        }
    }
    attempt(app, from, request).await
}

async fn attempt(
    app: &App,
    (from, address): (Source, Option<IpAddr>),
    request: &ClientRequest,
) -> Result<TokenAnswer, Refusal> {
    // After the body has come: a slow sender must not be judged by a clock from before its rival's rotation.
    let now = app.clock.now();
    let caller = authenticate(app, request, from, now).await?;
    let asking = Arc::new(Asking::new(app, caller, (now, address)));
    if let Some(ended) = ended(asking.caller.id(), &asking.current, now) {
        return Err(asking.refuse(app, ended.into()).await);
    }
    match TokenRequest::read(&request.form) {
        Ok(request) => grant(app, &asking, request).await,
        Err(refusal) => Err(asking.refuse(app, refusal.into()).await),
    }
}

async fn grant(app: &App, asking: &Arc<Asking>, request: TokenRequest) -> Result<TokenAnswer, Refusal> {
    if !asking.caller.client.grant_types.contains(&kind_of(&request)) {
        return Err(asking.refuse(app, Refusal::GrantNotAllowed).await);
    }
    let issued = match request {
        TokenRequest::AuthorizationCode { code, verifier, redirect_uri, resource } => {
            let redemption = code::Presentation::new(code, verifier, redirect_uri, resource);
            code::redeem(app, asking, redemption).await?
        }
        TokenRequest::ClientCredentials { resource, scope, session_id } => {
            let wish = client_credentials::Wish { resource, scope, session_id };
            client_credentials::issue(app, asking, wish).await?
        }
        TokenRequest::RefreshToken { token, resource, scope } => {
            let wish = refresh::Wish { resource, scope };
            refresh::renew(app, asking, &token, wish).await?
        }
    };
    Ok(answer(app, issued, asking.now)?)
}

const fn kind_of(request: &TokenRequest) -> GrantType {
    match request {
        TokenRequest::AuthorizationCode { .. } => GrantType::AuthorizationCode,
        TokenRequest::ClientCredentials { .. } => GrantType::ClientCredentials,
        TokenRequest::RefreshToken { .. } => GrantType::RefreshToken,
    }
}

/// A client that asks for a token now, and what the answer may need. Ids are made before the write, which may run twice.
struct Asking {
    caller: Caller,
    now: Timestamp,
    /// Where the request comes from.
    address: Option<IpAddr>,
    current: Arc<Current>,
    lives: Tokens,
    new_session: SessionId,
    new_family: FamilyId,
    new_token: TokenId,
}

/// Why a write issues nothing: a refusal, which is recorded, or a failure, which undoes everything.
enum Stop {
    Failed(Error),
    Refused(GrantRefusal),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        // Something ended between our look and our write, on another node.
        match error {
            Error::Conflict("client_alive") => Self::Refused(GrantRefusal::ClientDisabled),
            Error::Conflict("grant_alive") => Self::Refused(GrantRefusal::ConsentWithdrawn),
            Error::Conflict("server_alive") => Self::Refused(GrantRefusal::Target),
            Error::Conflict("user_alive") => Self::Refused(GrantRefusal::UserDisabled),
            Error::Conflict(_) | Error::Corrupt { .. } | Error::Unavailable(_) => Self::Failed(error),
        }
    }
}

impl From<GrantRefusal> for Stop {
    fn from(refusal: GrantRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Asking {
    fn new(app: &App, caller: Caller, (now, address): (Timestamp, Option<IpAddr>)) -> Self {
        let mut rng = app.entropy.rng();
        Self {
            caller,
            now,
            address,
            current: app.current.load_full(),
            lives: app.config.tokens,
            new_session: SessionId::generate(now, &mut rng),
            new_family: FamilyId::generate(now, &mut rng),
            new_token: TokenId::generate(now, &mut rng),
        }
    }

    /// Nothing is issued by a registry that has changed since: whoever left a role would get a token that names it, made
    /// after those that their leaving revoked. Asked inside of the write, before anything else; it stays so until COMMIT.
    async fn is_up_to_date(&self, tx: &mut Tx) -> Result<(), Error> {
        let is_todays = tx.holds_registry(self.current.snapshot.number).await?;
        if is_todays { Ok(()) } else { Err(Error::Conflict(MOVED)) }
    }

    /// The record of this request, with what is known of it so far.
    fn event(&self) -> Event {
        let client = self.caller.id().clone();
        // Every way out of a write sets the outcome; what is forgotten reads as refused.
        let undecided = Outcome::Refused("undecided".to_owned());
        let mut event = Event::new(Kind::TokenDecided, undecided, Actor::Client(client.clone()));
        event.client = Some(client);
        event
    }

    /// Ends a write: with a token, with a recorded refusal, or not at all.
    async fn record(
        &self,
        tx: &mut Tx,
        mut event: Event,
        decided: Result<Issued, Stop>,
    ) -> Result<Recorded<Result<Issued, GrantRefusal>>, Error> {
        match decided {
            Ok(issued) => {
                event.outcome = Outcome::Allowed;
                event.session = Some(issued.session.id);
                event.server = Some(issued.session.server);
                event.granted = Some(issued.scopes.clone());
                let event = event.with("token.id", issued.token);
                tx.touch_client(self.caller.id()).await?;
                tx.record(&event, Ok(issued)).await
            }
            Err(Stop::Refused(refusal)) => {
                event.outcome = Outcome::Refused(refusal.to_string());
                if let GrantRefusal::Forbidden(by) = &refusal {
                    event.detail.insert("condition".to_owned(), by.clone());
                }
                tx.record(&event, Err(refusal)).await
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Records a refusal that touched nothing, if the caller is identified; strangers are only counted.
    async fn refuse(self: &Arc<Self>, app: &App, refusal: Refusal) -> Refusal {
        if !self.caller.is_identified() {
            return refusal;
        }
        let mut event = self.event();
        event.outcome = Outcome::Refused(refusal.to_string());
        let written = app.store.write(self.now, event, |event, tx| Box::pin(tx.record(event, ())));
        match written.await {
            Ok(()) => refusal,
            // PC-51: what cannot be recorded is not answered as if it had been.
            Err(error) => Fault::from(error).into(),
        }
    }

    /// What may be issued now (PC-24). The session keeps the rest: it may be issued at another time, or elsewhere.
    fn in_force(
        &self,
        asker: Asker<'_>,
        scopes: &ScopeSet,
        server: &ServerPolicy,
    ) -> Result<ScopeSet, GrantRefusal> {
        let circumstances = Circumstances { now: self.now, address: self.address, arguments: None };
        let in_force = server.in_force(asker, scopes, &circumstances);
        in_force.map_err(|forbidden| GrantRefusal::Forbidden(forbidden.by))
    }

    /// When a token for this server ends that is made now, in a session that ends then.
    fn expiry(&self, server: &ServerPolicy, session_ends: Timestamp) -> Timestamp {
        let seconds = server.server().access_seconds;
        let life = seconds.map_or(self.lives.access, Duration::from_secs);
        (self.now + life).min(session_ends)
    }

    /// No token that exists now lives past this moment, leeway included.
    fn all_dead_by(&self) -> Timestamp {
        all_dead_by(self.now)
    }
}

/// No access token made until `now` lives past this moment, whatever the leeway.
pub(crate) fn all_dead_by(now: Timestamp) -> Timestamp {
    now + Tokens::MAX_ACCESS + Duration::from_mins(1)
}
