//! GET and DELETE of the revisions with sessions: a stream for what the server has to say, and the end of a session.

use crate::Inner;
use crate::decide::authorize::{Permits, authorize_connection, policy_of};
use crate::decide::permitted::Permitted;
use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::known::door::Behind;
use crate::message::answer::{Answer, UpstreamFailure};
use crate::message::headers::{self, Era, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use crate::reach::target::Forwarded;
use crate::record::ledger::Recorded;
use crate::record::spans::Span;
use crate::record::spool::What;
use crate::request::deliver::empty;
use crate::upstream::program;
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use portcullis_domain::id::ServerId;

/// What is served where there are no sessions.
const POST_ONLY: &str = "POST, OPTIONS";

impl Inner {
    /// GET: opens the stream of a session.
    pub(crate) async fn listen(
        &self,
        caller: &Caller,
        parts: &Parts,
        span: &Span<'_>,
    ) -> Result<Response<Body>, Refused> {
        self.open_stream(caller, parts, span).await.map_err(|refused| refused.by_verb("GET"))
    }

    /// DELETE: ends a session.
    pub(crate) async fn end_session(
        &self,
        caller: &Caller,
        parts: &Parts,
        span: &Span<'_>,
    ) -> Result<Response<Body>, Refused> {
        self.delete(caller, parts, span).await.map_err(|refused| refused.by_verb("DELETE"))
    }

    async fn open_stream(
        &self,
        caller: &Caller,
        parts: &Parts,
        span: &Span<'_>,
    ) -> Result<Response<Body>, Refused> {
        // Who was asked about the token may have taken their time.
        let caller = &self.caller_now(caller).await?;
        let (session, permits) = self.in_session(caller, parts)?;
        span.allowed(&permits);
        let slot = self.slots.stream(&caller.principal.subject).map_err(Refusal::TooManyAtOnce)?;
        let mut recorded = self.record(caller, &permits, What::verb("GET")).await?;
        let answered = match &caller.door.behind {
            Behind::Program(_) => self.of_program(caller, session),
            Behind::Address(_) | Behind::Nothing => {
                self.bodiless(permits, caller, parts, (session, span.headers())).await
            }
        };
        let delivered = match answered {
            Ok(Answer::Events { events, .. }) => {
                let replayed = session.filter(|_| parts.headers.contains_key(LAST_EVENT_ID));
                Ok(self.session_stream((caller, replayed), events, slot, &mut recorded))
            }
            Ok(Answer::Refused { status, .. }) => Ok(self.session_refused(caller, session, status)),
            Ok(Answer::Accepted | Answer::Json { .. }) => Err(Refusal::Upstream(UpstreamFailure::Garbled)),
            Err(refusal) => Err(refusal),
        };
        self.concluded(recorded, delivered)
    }

    async fn delete(
        &self,
        caller: &Caller,
        parts: &Parts,
        span: &Span<'_>,
    ) -> Result<Response<Body>, Refused> {
        let caller = &self.caller_now(caller).await?;
        let (session, permits) = self.in_session(caller, parts)?;
        span.allowed(&permits);
        let id = session.ok_or(Refusal::SessionNeeded)?;
        let recorded = self.record(caller, &permits, What::verb("DELETE")).await?;
        let answered = match &caller.door.behind {
            Behind::Program(_) => self.children.end(id).map(|()| Answer::Accepted).map_err(program::refusal),
            Behind::Address(_) | Behind::Nothing => {
                self.bodiless(permits, caller, parts, (session, span.headers())).await
            }
        };
        let delivered = match answered {
            Ok(Answer::Refused { status, .. }) => Ok(self.session_refused(caller, session, status)),
            Ok(Answer::Accepted | Answer::Json { .. } | Answer::Events { .. }) => {
                self.forget_session(caller.door.server.id, id);
                Ok(empty(StatusCode::NO_CONTENT))
            }
            Err(refusal) => Err(refusal),
        };
        self.concluded(recorded, delivered)
    }

    fn in_session<'p>(
        &self,
        caller: &Caller,
        parts: &'p Parts,
    ) -> Result<(Option<&'p str>, Permits), Refused> {
        let era = headers::check_bodiless(&parts.headers).map_err(Refusal::Headers)?;
        if era == Era::Stateless {
            return Err(Refusal::MethodNotAllowed(POST_ONLY).into());
        }
        let session = headers::single(&parts.headers, &SESSION_ID).map_err(Refusal::Headers)?;
        match session {
            // What is told again is somebody's: without a session nobody knows whose.
            None if parts.headers.contains_key(LAST_EVENT_ID) => return Err(Refusal::SessionNeeded.into()),
            None if !parts.headers.contains_key(PROTOCOL_VERSION) => {
                return Err(Refusal::MethodNotAllowed(POST_ONLY).into());
            }
            Some(id) if !self.sessions.belongs_to(caller.door.server.id, id, &caller.principal) => {
                return Err(Refusal::UnknownSession.into());
            }
            Some(_) | None => {}
        }
        let permits = authorize_connection(
            (policy_of(caller)?, &self.pins_of(caller)?),
            &caller.principal,
            &caller.circumstances(),
        )
        .map_err(Refusal::Denied)?;
        Ok((session, permits))
    }

    fn of_program(&self, caller: &Caller, session: Option<&str>) -> Result<Answer, Refusal> {
        // A program serves sessions only; there is no stream beside them.
        let id = session.ok_or(Refusal::MethodNotAllowed(POST_ONLY))?;
        let events = self.children.listen(id).map_err(program::refusal)?;
        Ok(Answer::Events { events: self.with_room(caller, events), session: None })
    }

    async fn bodiless(
        &self,
        permits: Permits,
        caller: &Caller,
        parts: &Parts,
        (session, trace): (Option<&str>, Option<HeaderMap>),
    ) -> Result<Answer, Refusal> {
        let Behind::Address(to) = &caller.door.behind else {
            return Err(Refusal::Upstream(UpstreamFailure::NoAddress));
        };
        let forwarded = Forwarded {
            method: if parts.method == Method::DELETE { Method::DELETE } else { Method::GET },
            headers: &parts.headers,
            era: Era::Sessions,
            session,
            id: None,
            is_endless: true,
            trace,
            timeout: self.patience(caller),
            share: self.room.of(&caller.principal.subject),
            body: Bytes::new(),
        };
        self.forward(Permitted::connection(permits, caller), to, forwarded).await
    }

    /// A session is over, and what was asked in it.
    pub(crate) fn forget_session(&self, server: ServerId, session: &str) {
        self.sessions.end(server, session);
        self.asked.forget(server, session);
    }

    fn session_refused(&self, caller: &Caller, session: Option<&str>, status: StatusCode) -> Response<Body> {
        if let (StatusCode::NOT_FOUND, Some(session)) = (status, session) {
            self.forget_session(caller.door.server.id, session);
        }
        empty(status)
    }

    fn concluded(
        &self,
        recorded: Recorded,
        delivered: Result<Response<Body>, Refusal>,
    ) -> Result<Response<Body>, Refused> {
        self.conclude(recorded, delivered).map_err(|refusal| Refused::from(refusal).recorded())
    }
}
