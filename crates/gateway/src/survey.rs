//! Our own look at what a server's tools say of themselves (PC-33): all pages, as a caller that may do nothing.
//!
//! The upstream is asked as any client would ask it, over HTTP or as a program of the probe's own, and gets an assertion
//! without scopes. Nothing that it answers goes anywhere but into the comparison.

use crate::decide::authorize::policy_of;
use crate::decide::permitted::{Allowed, Permitted};
use crate::decide::pins::{Look, Survey};
use crate::decide::refusal::Refusal;
use crate::filter::list::{self, Reader};
use crate::known::caller::{Caller, PROBE};
use crate::known::door::Behind;
use crate::known::snapshot::Known;
use crate::message::answer::Answer;
use crate::message::call::parse;
use crate::message::events::{self, BrokenOff};
use crate::message::headers::{Era, METHOD, PROTOCOL_VERSION};
use crate::reach::target::Forwarded;
use crate::{Gateway, Inner};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue, Method, header};
use portcullis_domain::id::{ServerId, SessionId, TokenId};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// All that is asked takes no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nor does ending a session that was begun for it.
const FAREWELL: Duration = Duration::from_secs(5);

/// The most pages that are read.
const MOST_PAGES: usize = 100;

/// Messages before the answer that are read.
const MOST_EVENTS: usize = 1000;

/// Why a server could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurveyFailure {
    /// It did not come to an end.
    #[error("its list of tools has no end")]
    Endless,
    /// It answered something that is no list.
    #[error("it answers something that is no list of tools")]
    Garbled,
    /// It took too long.
    #[error("it did not answer in time")]
    Late,
    /// It does not let us look.
    #[error("it refuses to list its tools")]
    Refused,
    /// It is not behind this gateway, or nothing is known yet.
    #[error("it is not behind this gateway")]
    Unknown,
    /// It cannot be reached; the word of the gateway's records.
    #[error("it cannot be asked: {0}")]
    Upstream(&'static str),
}

/// Lets a message of ours go upstream. Made here only.
pub(crate) struct Probe(());

/// A conversation with an upstream.
struct Talk<'a> {
    gateway: &'a Inner,
    caller: &'a Caller,
    era: Era,
    version: String,
    session: Option<String>,
    number: u64,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    result: Option<Outcome>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    tools: Option<Value>,
}

impl Gateway {
    /// Looks at the tools of a server. What changed is held here before this returns.
    pub async fn survey(&self, server: ServerId) -> Result<Survey, SurveyFailure> {
        self.inner.survey(server).await
    }
}

impl Inner {
    async fn survey(&self, server: ServerId) -> Result<Survey, SurveyFailure> {
        let now = (self.settings.clock)();
        let known = self.knowledge.known().filter(|_| self.knowledge.is_fresh(now));
        let known = known.ok_or(SurveyFailure::Unknown)?;
        let caller = self.probe(&known, server).ok_or(SurveyFailure::Unknown)?;
        // Most servers begin with a handshake; those of 2026-07-28 alone know none.
        let until = Instant::now() + PATIENCE;
        match self.look_as(&caller, Era::Sessions, until).await {
            Err(SurveyFailure::Refused | SurveyFailure::Garbled) => {
                self.look_as(&caller, Era::Stateless, until).await
            }
            looked => looked,
        }
    }

    fn probe(&self, known: &Arc<Known>, server: ServerId) -> Option<Caller> {
        let now = (self.settings.clock)();
        let client: ClientId = PROBE.parse().ok()?;
        let principal = Principal {
            subject: Subject::Agent(client.clone()),
            client_id: client,
            session: SessionId::from_bytes([0; 16]),
            token: TokenId::from_bytes([0; 16]),
            scopes: ScopeSet::default(),
            roles: Vec::new(),
            issued_at: now,
            expires_at: now + PATIENCE,
        };
        let door = Arc::clone(known.door_of(server)?);
        Some(Caller {
            principal: Arc::new(principal),
            token: PROBE.into(),
            door,
            known: Arc::clone(known),
            now,
            news: 0,
            address: None,
        })
    }

    async fn look_as(&self, caller: &Caller, era: Era, until: Instant) -> Result<Survey, SurveyFailure> {
        let version = if era == Era::Stateless { "2026-07-28" } else { "2025-11-25" }.to_owned();
        let mut talk = Talk { gateway: self, caller, era, version, session: None, number: 0 };
        let looked = tokio::time::timeout_at(until, talk.look()).await;
        // However late it is: an upstream keeps what nobody ends.
        let _in_time_or_not = tokio::time::timeout(FAREWELL, talk.end()).await;
        looked.map_err(|_| SurveyFailure::Late)?
    }
}

impl Talk<'_> {
    async fn look(&mut self) -> Result<Survey, SurveyFailure> {
        if self.era == Era::Sessions {
            self.begin().await?;
        }
        let pins = self.gateway.pins_of(self.caller).map_err(|_| SurveyFailure::Unknown)?;
        let look = Look::new(pins);
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut params = json!({});
            if let Some(cursor) = &cursor {
                params["cursor"] = json!(cursor);
            }
            let answer = self.ask("tools/list", params).await?;
            let outcome = outcome(&answer)?;
            if !outcome.tools.is_some_and(|tools| tools.is_array()) {
                return Err(SurveyFailure::Garbled);
            }
            self.compare(&answer, &look)?;
            match outcome.next_cursor {
                None => return Ok(self.gateway.pins.surveyed(look)),
                next if next == cursor => return Err(SurveyFailure::Endless),
                next => cursor = next,
            }
        }
        Err(SurveyFailure::Endless)
    }

    /// Through the same filter as everybody's lists; what it lets through is nobody's.
    fn compare(&self, answer: &[u8], look: &Look<'_>) -> Result<(), SurveyFailure> {
        let policy = policy_of(self.caller).map_err(|_| SurveyFailure::Unknown)?;
        let principal = &self.caller.principal;
        let standpoint = policy.standpoint(principal, &self.caller.circumstances());
        let reader = Reader { policy, principal, tasks: &self.gateway.tasks, standpoint, look };
        list::filtered(answer, &reader).map(drop).map_err(|_| SurveyFailure::Garbled)
    }

    async fn begin(&mut self) -> Result<(), SurveyFailure> {
        let params = json!({
            "protocolVersion": self.version,
            "capabilities": {},
            "clientInfo": { "name": PROBE, "version": env!("CARGO_PKG_VERSION") },
        });
        let answer = self.ask("initialize", params).await?;
        let version = outcome(&answer)?.protocol_version.ok_or(SurveyFailure::Garbled)?;
        self.version = version;
        let told = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        match self.send(told.to_string().into()).await? {
            Answer::Accepted | Answer::Events { .. } | Answer::Json { .. } => Ok(()),
            Answer::Refused { .. } => Err(SurveyFailure::Refused),
        }
    }

    /// The whole answer to a request.
    async fn ask(&mut self, method: &str, mut params: Value) -> Result<Bytes, SurveyFailure> {
        self.number += 1;
        if self.era == Era::Stateless {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.version,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let request = json!({ "jsonrpc": "2.0", "id": self.number, "method": method, "params": params });
        let answer = self.send(request.to_string().into()).await?;
        // Before more is read: what began is ended, even if nothing more comes.
        if let (Answer::Events { session, .. } | Answer::Json { session, .. }, "initialize") =
            (&answer, method)
        {
            self.session.clone_from(session);
        }
        let answer = match answer {
            Answer::Accepted => return Err(SurveyFailure::Garbled),
            Answer::Refused { .. } => return Err(SurveyFailure::Refused),
            Answer::Json { body, .. } => body,
            Answer::Events { events, .. } => self.answer_among(events).await?,
        };
        if self.is_answer(&answer) { Ok(answer) } else { Err(SurveyFailure::Garbled) }
    }

    async fn answer_among(
        &self,
        mut events: BoxStream<'static, Result<Bytes, BrokenOff>>,
    ) -> Result<Bytes, SurveyFailure> {
        for _ in 0..MOST_EVENTS {
            let event = events.next().await.ok_or(SurveyFailure::Garbled)?;
            let event = event.map_err(|_| SurveyFailure::Garbled)?;
            let said = events::data(&event);
            if self.is_answer(&said) {
                return Ok(said);
            }
        }
        Err(SurveyFailure::Endless)
    }

    fn is_answer(&self, message: &[u8]) -> bool {
        serde_json::value::to_raw_value(&self.number)
            .is_ok_and(|id| crate::message::answer::is_response_to(message, &id))
    }

    async fn send(&self, body: Bytes) -> Result<Answer, SurveyFailure> {
        let depth = self.gateway.settings.limits.json_depth;
        let call = parse(&body, "\n", depth).map_err(|_| SurveyFailure::Garbled)?;
        let headers = self.headers(&call.method);
        let allowed = Allowed {
            caller: self.caller,
            call: &call,
            era: self.era,
            session: self.session.as_deref(),
            headers: &headers,
            trace: None,
            body,
            is_alone: true,
        };
        let permitted = Permitted::survey(&Probe(()), self.caller);
        self.gateway.pass_on(permitted, &allowed).await.map_err(failure)
    }

    fn headers(&self, method: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let accepted = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, accepted);
        if method != "initialize"
            && let Ok(version) = HeaderValue::from_str(&self.version)
        {
            headers.insert(PROTOCOL_VERSION, version);
        }
        if self.era == Era::Stateless
            && let Ok(method) = HeaderValue::from_str(method)
        {
            headers.insert(METHOD, method);
        }
        headers
    }

    /// What began is ended, whatever came of it; how that goes does not matter.
    async fn end(&self) {
        let Some(session) = &self.session else { return };
        match &self.caller.door.behind {
            Behind::Program(_) => {
                let _it_may_have_ended = self.gateway.children.end(session);
            }
            Behind::Address(to) => {
                let forwarded = Forwarded {
                    method: Method::DELETE,
                    headers: &self.headers("DELETE"),
                    era: self.era,
                    session: Some(session),
                    trace: None,
                    timeout: self.gateway.settings.limits.upstream_timeout,
                    share: self.gateway.room.of(&self.caller.principal.subject),
                    id: None,
                    is_endless: false,
                    body: Bytes::new(),
                };
                let permitted = Permitted::survey(&Probe(()), self.caller);
                let _it_may_not_know_how = self.gateway.forward(permitted, to, forwarded).await;
            }
            Behind::Nothing => {}
        }
    }
}

fn outcome(answer: &[u8]) -> Result<Outcome, SurveyFailure> {
    let message: Message = serde_json::from_slice(answer).map_err(|_| SurveyFailure::Garbled)?;
    message.result.ok_or(SurveyFailure::Refused)
}

fn failure(refusal: Refusal) -> SurveyFailure {
    SurveyFailure::Upstream(refusal.reason())
}
