//! A token of the upstream's own issuer as the credential (RFC 6749 s4.4): got once for everybody who waits, used until shortly
//! before its end, and got anew when the upstream does not take it any more.
//!
//! The secret goes to the configured token endpoint, or to one on the configured issuer's own origin, and nowhere else: https or
//! loopback, no redirects. Whatever is slow, dead or lying there costs callers a bounded wait.

mod endpoint;

use super::{is_token, shown};
use crate::reach::fetch::Unheard;
use crate::reach::means::Means;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use endpoint::{Endpoint, Proof};
use http::HeaderValue;
use portcullis_domain::registry::ClientCredentials;
use portcullis_oauth::time::Timestamp;
use serde::Deserialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use url::form_urlencoded;

/// What counts where the issuer does not say how long a token lives (RFC 6749 s5.1 recommends that it does).
const UNSTATED_LIFE: u64 = 300;

/// No token is kept longer, whatever is said of it.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// The longest token that is taken.
const LONGEST_TOKEN: usize = 16 * 1024;

/// A token that is this young is not got anew because the upstream refuses it: the next would be refused as well.
const YOUNG: Duration = Duration::from_secs(10);

/// After a failure nobody is asked for so long; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Waiting for an answer that is under way ends this much after it must have come.
const GRACE: Duration = Duration::from_secs(1);

/// Us, as a client of the upstream's issuer.
pub(crate) struct Machine {
    client: ClientCredentials,
    /// For the log.
    server: String,
    means: Means,
    state: Mutex<State>,
    /// Counts attempts that ended.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    endpoint: Option<Endpoint>,
    is_under_way: bool,
    failures: Option<Failures>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    since: Timestamp,
    renew_at: Timestamp,
    ends: Timestamp,
}

#[derive(Clone, Copy)]
struct Failures {
    pause: Duration,
    until: Timestamp,
}

/// Why there is no token. Nothing that was said or sent is in it.
#[derive(Debug, thiserror::Error)]
enum NoToken {
    #[error(transparent)]
    Asked(#[from] Unheard),
    #[error("its metadata is of another issuer")]
    OtherIssuer,
    #[error("its metadata names no token endpoint on its own origin")]
    NoEndpoint,
    #[error("it takes no client secret, neither in the header nor in the form")]
    NoProof,
    #[error("it answered no bearer token")]
    NoBearer,
}

/// What a token endpoint answers (RFC 6749 s5.1).
#[derive(Deserialize)]
struct Answered {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Machine {
    pub(super) fn new(client: ClientCredentials, server: &str, means: Means) -> Arc<Self> {
        let (server, settled) = (server.to_owned(), watch::Sender::new(0));
        Arc::new(Self { client, server, means, state: Mutex::default(), settled })
    }

    /// A token that counts; `None` when there is none and none can be got now.
    pub(crate) async fn current(self: &Arc<Self>) -> Option<HeaderValue> {
        let now = (self.means.clock)();
        let mut settled = self.settled.subscribe();
        {
            let mut state = self.state();
            let kept = state.token.clone().filter(|token| token.counts(now));
            if kept.as_ref().is_none_or(|token| token.renew_at.has_passed(now)) {
                self.begin(&mut state, now);
            }
            match kept {
                Some(token) => return Some(token.header),
                None if !state.is_under_way => return None,
                None => {}
            }
        }
        let until_settled = async {
            // The sender is ours, so the channel cannot close.
            while self.state().is_under_way {
                let _always_open = settled.changed().await;
            }
        };
        let _late = tokio::time::timeout(self.patience() * 2 + GRACE, until_settled).await;
        let now = (self.means.clock)();
        self.state().token.clone().filter(|token| token.counts(now)).map(|token| token.header)
    }

    /// What is got instead of a token that the upstream refused.
    pub(crate) async fn another_than(self: &Arc<Self>, refused: &HeaderValue) -> Option<HeaderValue> {
        let now = (self.means.clock)();
        {
            let mut state = self.state();
            if let Some(token) = &state.token
                && token.header == *refused
            {
                if now.since(token.since) < YOUNG {
                    return None;
                }
                state.token = None;
            }
        }
        self.current().await.filter(|header| header != refused)
    }

    /// Gets a token, unless somebody does or it is too early after a failure.
    fn begin(self: &Arc<Self>, state: &mut State, now: Timestamp) {
        let pauses = state.failures.is_some_and(|failures| failures.last(now));
        if state.is_under_way || pauses {
            return;
        }
        state.is_under_way = true;
        let machine = Arc::clone(self);
        // Nobody's request: who waits for it may go away.
        tokio::spawn(async move {
            let got = machine.get(now).await;
            machine.state().settle(got.map_err(|error| machine.say(&error)), now);
            machine.settled.send_modify(|count| *count += 1);
        });
    }

    fn say(&self, error: &NoToken) {
        let (server, error) = (self.server.as_str(), error as &dyn std::error::Error);
        tracing::warn!(server.name = server, error, "no token for the upstream");
    }

    async fn get(&self, now: Timestamp) -> Result<Token, NoToken> {
        let endpoint = self.endpoint(now).await?;
        let secret = (self.means.secrets)(&self.client.secret).ok_or(Unheard::Secret)?;
        let authorization = match endpoint.proof {
            Proof::Form => None,
            Proof::Header => Some(basic(&self.client.client_id, &secret).ok_or(Unheard::Secret)?),
        };
        let form = self.form(endpoint.proof, &secret);
        let fetcher = &self.means.fetcher;
        let answered = fetcher.post(&endpoint.address, authorization, form, self.patience()).await?;
        Token::read(&answered, now)
    }

    fn form(&self, proof: Proof, secret: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.client.scopes.is_empty() {
            form.append_pair("scope", &self.client.scopes.to_string());
        }
        if let Some(resource) = &self.client.resource {
            form.append_pair("resource", resource);
        }
        match proof {
            Proof::Form => {
                form.append_pair("client_id", &self.client.client_id).append_pair("client_secret", secret);
            }
            Proof::Header => {}
        }
        form.finish()
    }

    fn patience(&self) -> Duration {
        self.means.limits.issuers.patience
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn settle(&mut self, got: Result<Token, ()>, now: Timestamp) {
        self.is_under_way = false;
        if let Ok(token) = got {
            (self.token, self.failures) = (Some(token), None);
            return;
        }
        let doubled = |failures: Failures| (failures.pause * 2).min(LONGEST_PAUSE);
        let pause = self.failures.map_or(FIRST_PAUSE, doubled);
        self.failures = Some(Failures { pause, until: now + pause });
        // It may have moved.
        self.endpoint = None;
    }
}

impl Failures {
    /// Not when the clock was set back: then how long it is since is not known.
    fn last(self, now: Timestamp) -> bool {
        !self.until.has_passed(now) && self.until.since(now) <= LONGEST_PAUSE
    }
}

impl Token {
    fn read(answered: &[u8], now: Timestamp) -> Result<Self, NoToken> {
        portcullis_oauth::strict_json::check(answered, 16).map_err(|_| Unheard::Garbled)?;
        let answered: Answered = serde_json::from_slice(answered).map_err(|_| NoToken::NoBearer)?;
        let is_good = answered.token_type.eq_ignore_ascii_case("bearer")
            && answered.access_token.len() <= LONGEST_TOKEN
            && is_token(&answered.access_token);
        let header = shown(&answered.access_token).filter(|_| is_good).ok_or(NoToken::NoBearer)?;
        let life = answered.expires_in.unwrap_or(UNSTATED_LIFE).clamp(1, LONGEST_LIFE);
        // It has to arrive, and clocks differ.
        let counts = life - (life / 10).min(5);
        Ok(Self {
            header,
            since: now,
            renew_at: now + Duration::from_secs(counts - (counts / 4).min(60)),
            ends: now + Duration::from_secs(counts),
        })
    }

    /// Not before it was got either: then the clock was set back, and its age is not known.
    fn counts(&self, now: Timestamp) -> bool {
        self.since <= now && !self.ends.has_passed(now)
    }
}

/// RFC 6749 s2.3.1: both are form-encoded first.
fn basic(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret)));
    HeaderValue::try_from(format!("Basic {pair}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn read(answered: &str) -> Result<(u64, u64), NoToken> {
        let token = Token::read(answered.as_bytes(), NOW)?;
        Ok((token.renew_at.since(NOW).as_secs(), token.ends.since(NOW).as_secs()))
    }

    #[test]
    fn pc_05_a_token_counts_until_shortly_before_its_end() {
        let with =
            |rest: &str| read(&format!(r#"{{"access_token":"a.b-c","token_type":"bearer"{rest}}}"#)).unwrap();
        assert_eq!(with(r#","expires_in":3600"#), (3535, 3595));
        assert_eq!(with(r#","expires_in":20"#), (14, 18));
        assert_eq!(with(r#","expires_in":0"#), (1, 1));
        assert_eq!(with(""), (235, 295));
        assert_eq!(with(r#","expires_in":99999999999"#), (86335, 86395));
        assert_eq!(with(r#","scope":"whatever","refresh_token":"x""#), (235, 295));
    }

    #[test]
    fn ups_09_what_is_no_bearer_token_is_not_sent_on() {
        for bad in [
            "",
            "[]",
            "null",
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"a","token_type":"DPoP"}"#,
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"a b","token_type":"Bearer"}"#,
            r#"{"access_token":"a\r\nx-user: root","token_type":"Bearer"}"#,
            r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":-1}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":"3600"}"#,
            r#"{"access_token":["a"],"token_type":"Bearer"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let long = format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "a".repeat(LONGEST_TOKEN + 1));
        assert!(read(&long).is_err());
    }
}
