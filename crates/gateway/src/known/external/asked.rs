//! Asking an issuer about each of its tokens (RFC 7662): each once for everybody who waits, and again after a short time, so
//! that what it revokes ends here too. What was said never counts past the token's end; no answer is no yes (INTR-07).

use super::Means;
use crate::bounds::rates::TooOften;
use crate::known::disbelief::Disbelief;
use crate::reach::fetch::Unheard;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use portcullis_domain::registry::{Proof, SecretPlace, TrustedIssuer};
use portcullis_guard::bounded::BoundedMap;
use portcullis_guard::external::sha256;
use portcullis_oauth::jwt::{ExternalClaims, MAX_TOKEN_BYTES, TokenRefusal};
use portcullis_oauth::time::Timestamp;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How many questions to one issuer may be under way; beyond, calls are refused for the moment.
const MOST_QUESTIONS: usize = 64;

/// How many of them may be about tokens of which nothing good is known: whoever makes up tokens, and an issuer that is slow
/// about those, take no place of callers that were let in before.
const MOST_OF_STRANGERS: usize = MOST_QUESTIONS / 2;

/// Waiting for a question that is under way ends this much after it must have been answered.
const GRACE: Duration = Duration::from_secs(1);

type Hash = [u8; 32];

pub(crate) struct Desk {
    issuer: String,
    address: String,
    client_id: String,
    secret: Option<SecretPlace>,
    means: Means,
    state: Mutex<State>,
    /// Counts questions that ended.
    answered: watch::Sender<u64>,
}

/// What was said. A token is known while `good` holds it, also when the answer no longer counts: only `Inactive` and `Lacking`
/// end that, and however many tokens are made up, or made for others, none of them pushes a good one out.
struct State {
    /// Of tokens with which somebody was let in.
    good: BoundedMap<Hash, Said>,
    /// Everything else.
    bad: BoundedMap<Hash, Said>,
    /// Whether the token that is asked about is known.
    under_way: HashMap<Hash, bool>,
}

/// An answer, and how long it counts.
#[derive(Clone)]
struct Said {
    what: Answer,
    since: Timestamp,
    until: Timestamp,
}

#[derive(Clone)]
enum Answer {
    Active(Arc<ExternalClaims>),
    Inactive,
    /// It says that the token is good, and not what has to be known of it.
    Lacking(TokenRefusal),
    None,
}

impl Desk {
    pub(super) fn new(trusted: &TrustedIssuer, means: Means) -> Arc<Self> {
        let (address, client_id, secret) = match &trusted.proof {
            Proof::Introspection { address, client_id, secret } => {
                (address.clone(), client_id.clone(), Some(secret.clone()))
            }
            Proof::Jwks { .. } => (String::new(), String::new(), None),
        };
        let (good, bad) = (BoundedMap::new(means.capacity), BoundedMap::new(means.capacity));
        Arc::new(Self {
            issuer: trusted.issuer.as_str().to_owned(),
            address,
            client_id,
            secret,
            means,
            state: Mutex::new(State { good, bad, under_way: HashMap::new() }),
            answered: watch::Sender::new(0),
        })
    }

    /// What `judge` makes of what was said of the token, and still counts. Only whoever is let in by it makes the token known: the
    /// issuer says of tokens for others, too, that they are active.
    pub(super) fn judged<T>(
        &self,
        token: &str,
        now: Timestamp,
        judge: impl FnOnce(&ExternalClaims) -> Result<T, TokenRefusal>,
    ) -> Result<T, Disbelief> {
        let hash = sha256(token);
        let said = self.state().said(&hash, now).cloned();
        match said.map(|said| said.what) {
            Some(Answer::Active(claims)) => {
                let judged = judge(&claims).map_err(Disbelief::Token)?;
                self.state().was_let_in(hash);
                Ok(judged)
            }
            Some(Answer::Inactive) => Err(Disbelief::NotActive),
            Some(Answer::Lacking(refusal)) => Err(Disbelief::Token(refusal)),
            Some(Answer::None) | None => Err(Disbelief::IssuerAway),
        }
    }

    /// Returns when there is nothing to wait for: the token was asked about, or cannot be now. `may_check` is asked before a
    /// question about a token of which nothing good is known.
    pub(super) async fn ready(
        self: &Arc<Self>,
        token: &str,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<(), Disbelief> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Disbelief::Token(TokenRefusal::Size));
        }
        let (now, hash) = ((self.means.clock)(), sha256(token));
        let mut answered = self.answered.subscribe();
        if !self.begin(token, hash, now, may_check)? {
            return Ok(());
        }
        let until_answered = async {
            // The sender is ours, so the channel cannot close.
            while self.state().under_way.contains_key(&hash) {
                let _always_open = answered.changed().await;
            }
        };
        let _late = tokio::time::timeout(self.means.times.patience + GRACE, until_answered).await;
        Ok(())
    }

    /// Asks where nothing is known; whether there is something to wait for.
    fn begin(
        self: &Arc<Self>,
        token: &str,
        hash: Hash,
        now: Timestamp,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<bool, Disbelief> {
        let mut state = self.state();
        if state.said(&hash, now).is_some() {
            return Ok(false);
        }
        if state.under_way.contains_key(&hash) {
            return Ok(true);
        }
        let is_known = state.good.get(&hash).is_some();
        if !is_known {
            may_check().map_err(Disbelief::Unchecked)?;
        }
        if !state.has_a_place(is_known) {
            return Err(Disbelief::IssuerAway);
        }
        state.under_way.insert(hash, is_known);
        let (desk, token) = (Arc::clone(self), token.to_owned());
        // Nobody's request: who waits for it may go away.
        tokio::spawn(async move {
            let said = desk.ask(&token, now).await;
            let mut state = desk.state();
            state.take(hash, said);
            drop(state);
            desk.answered.send_modify(|count| *count += 1);
        });
        Ok(true)
    }

    async fn ask(&self, token: &str, now: Timestamp) -> Said {
        let times = &self.means.times;
        let what = match self.answer(token).await {
            // It is asked at its own clock, so no leeway: nothing counts past its end.
            Ok(Answer::Active(claims)) if claims.exp.has_passed(now) => {
                Answer::Lacking(TokenRefusal::Expired)
            }
            Ok(what) => what,
            Err(error) => {
                let (issuer, error) = (self.issuer.as_str(), &error as &dyn std::error::Error);
                tracing::warn!(issuer, error, "an issuer could not be asked about a token");
                Answer::None
            }
        };
        let until = match &what {
            Answer::Active(claims) => (now + times.positive).min(claims.exp),
            Answer::Inactive | Answer::Lacking(_) => now + times.negative,
            Answer::None => now + times.pause_without_keys,
        };
        Said { what, since: now, until }
    }

    async fn answer(&self, token: &str) -> Result<Answer, Unheard> {
        let secret = self.secret.as_ref().and_then(|place| (self.means.secrets)(place));
        let secret = secret.ok_or(Unheard::Secret)?;
        // RFC 6749 s2.3.1: both are form-encoded first.
        let pair = STANDARD.encode(format!("{}:{}", form_encoded(&self.client_id), form_encoded(&secret)));
        let basic = HeaderValue::try_from(format!("Basic {pair}")).map_err(|_| Unheard::Secret)?;
        let form = format!("token={}&token_type_hint=access_token", form_encoded(token));
        let body =
            self.means.fetcher.post(&self.address, Some(basic), form, self.means.times.patience).await?;
        portcullis_oauth::strict_json::check(&body, 16).map_err(|_| Unheard::Garbled)?;
        let said: Map<String, Value> = serde_json::from_slice(&body).map_err(|_| Unheard::Garbled)?;
        match said.get("active") {
            Some(Value::Bool(false)) => Ok(Answer::Inactive),
            Some(Value::Bool(true)) => Ok(self.active(said)),
            _ => Err(Unheard::Garbled),
        }
    }

    fn active(&self, mut said: Map<String, Value>) -> Answer {
        // Some say so of what they leave out. In a JWT, which its issuer made itself, the same is no good sign.
        said.retain(|name, value| !(value.is_null() && ["token_type", "cnf"].contains(&name.as_str())));
        // AUD-14: another type is used in another way, with a proof that nobody asks for here. RFC 6749 s5.1: it has no case.
        let is_bearer =
            |stated: &Value| stated.as_str().is_some_and(|text| text.eq_ignore_ascii_case("bearer"));
        if !said.get("token_type").is_none_or(is_bearer) {
            return Answer::Lacking(TokenRefusal::Type);
        }
        // RFC 7662 s2.2: it may leave out who it is itself.
        said.entry("iss").or_insert_with(|| self.issuer.clone().into());
        match ExternalClaims::read(said) {
            Ok(claims) if claims.others.contains_key("cnf") => Answer::Lacking(TokenRefusal::Bound),
            Ok(claims) => Answer::Active(Arc::new(claims)),
            Err(refusal) => Answer::Lacking(refusal),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What counts now.
    fn said(&mut self, hash: &Hash, now: Timestamp) -> Option<&Said> {
        let good = self.good.get(hash).filter(|said| said.counts(now));
        good.or_else(|| self.bad.get(hash).filter(|said| said.counts(now)))
    }

    /// Whether one more question may be under way.
    fn has_a_place(&self, is_known: bool) -> bool {
        let strangers = self.under_way.values().filter(|is_known| !**is_known).count();
        self.under_way.len() < MOST_QUESTIONS && (is_known || strangers < MOST_OF_STRANGERS)
    }

    /// With an answer that counts.
    fn was_let_in(&mut self, hash: Hash) {
        let active = self.bad.get(&hash).filter(|said| matches!(said.what, Answer::Active(_))).cloned();
        if let Some(said) = active {
            self.bad.remove(&hash);
            self.good.insert(hash, said);
        }
    }

    /// A question was answered, or will not be.
    fn take(&mut self, hash: Hash, said: Said) {
        self.under_way.remove(&hash);
        match said.what {
            Answer::Active(_) if self.good.get(&hash).is_some() => {
                self.bad.remove(&hash);
                self.good.insert(hash, said);
            }
            Answer::Inactive | Answer::Lacking(_) => {
                self.good.remove(&hash);
                self.bad.insert(hash, said);
            }
            // Whom an active one is for is judged later. None is no word about the token: what was good no longer counts, or nobody
            // would have asked.
            Answer::Active(_) | Answer::None => self.bad.insert(hash, said),
        }
    }
}

impl Said {
    /// Not after its time, and not before it either: then the clock was set back, and its age is not known.
    fn counts(&self, now: Timestamp) -> bool {
        self.since <= now && !self.until.has_passed(now)
    }
}

/// `application/x-www-form-urlencoded`.
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
