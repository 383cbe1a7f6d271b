//! One POST of an authenticated caller: parse, authorize, record, forward, respond.

use crate::Inner;
use crate::bounds::room::Unread;
use crate::bounds::slots::{Full, Slot};
use crate::decide::authorize::{Permits, policy_of};
use crate::decide::circumstances::arguments_of;
use crate::decide::permitted::{Allowed, Permitted};
use crate::decide::refusal::{Ask, Refusal};
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::known::door::Behind;
use crate::message::answer::{Answer, UpstreamFailure};
use crate::message::call::{Aim, Call, Kind, parse};
use crate::message::headers::{self, Era, SESSION_ID, parameters};
use crate::reach::target::Forwarded;
use crate::record::figures::ANSWERED;
use crate::record::ledger::Recorded;
use crate::record::spans::{ALLOWED, Span};
use crate::record::spool::What;
use crate::request::batch::is_batch;
use crate::request::deliver::Delivery;
use crate::upstream::forward::is_of_type;
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, header};
use opentelemetry::trace::SpanKind;
use tokio::time::Instant;

impl Inner {
    pub(crate) async fn post(
        &self,
        caller: &Caller,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        let body = self.body(caller, &parts.headers, body).await?;
        self.take(caller, &parts.headers, body).await
    }

    /// What came, whole: one message, or several where the revision has batches.
    pub(crate) async fn take(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, Refused> {
        let since = Instant::now();
        let anew = self.still(caller).await?;
        let caller = anew.as_ref().unwrap_or(caller);
        if is_batch(headers, &body) {
            // Apart, as few take this way, and it would make room for itself in every call.
            return Box::pin(self.post_batch(caller, headers, &body, since)).await;
        }
        let mut call = parse(&body, &caller.token, self.settings.limits.json_depth).map_err(|bad| {
            let mut refused = Refused::from(Refusal::Unreadable(bad.reason));
            refused.id = bad.id;
            refused
        })?;
        self.look_up(caller, &mut call);
        let span = self.span_of(headers, &call, caller.door.server.name.as_str());
        let served = span.around(self.post_call((caller, since), headers, (&call, body), &span)).await;
        span.served(served)
    }

    /// A message that could be read; `since` when it was complete.
    async fn post_call(
        &self,
        (caller, since): (&Caller, Instant),
        headers: &HeaderMap,
        (call, body): (&Call, Bytes),
        span: &Span<'_>,
    ) -> Result<Response<Body>, Refused> {
        let era =
            headers::check(headers, call).map_err(|bad| Refused::of(Refusal::Headers(bad), call, None))?;
        let refused = |refusal| Refused::of(refusal, call, Some(era));
        let deciding = span.part("decide", SpanKind::Internal);
        let session = self.session_of(caller, headers, call, era).map_err(refused)?;
        let arguments = arguments_of(call, &body);
        let by_name = policy_of(caller).map_err(refused)?.asks_for_arguments();
        parameters::check(headers, &body, by_name).map_err(|bad| refused(Refusal::Headers(bad)))?;
        let permits = self.permits(caller, call, era, &arguments).map_err(refused)?;
        let slot = self.slot(caller, call).map_err(|full| refused(Refusal::TooManyAtOnce(full)))?;
        let recorded = self.record(caller, &permits, What::of(call)).await.map_err(refused)?;
        span.allowed(&permits);
        deciding.ended(ALLOWED);
        recorded.decided_since(since);
        let allowed = Allowed { caller, call, era, session, headers, trace: None, body, is_alone: true };
        let carried = self.carry((permits, slot, recorded), allowed, span).await;
        carried.map_err(|refusal| refused(refusal).recorded())
    }

    /// Room for it; what is listened to for as long as the caller likes is no call that ends by itself.
    fn slot(&self, caller: &Caller, call: &Call) -> Result<Slot, Full> {
        if let Aim::Listen(_) = call.aim {
            self.slots.stream(&caller.principal.subject)
        } else {
            self.slots.call(caller.counted_as(), caller.address)
        }
    }

    /// What is allowed, has its room and is recorded: to the upstream and back.
    pub(crate) async fn carry(
        &self,
        (permits, slot, mut recorded): (Permits, Slot, Recorded),
        mut allowed: Allowed<'_>,
        span: &Span<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let asking = span.part("upstream", SpanKind::Client);
        allowed.trace = asking.headers();
        let answered = self.pass_on(Permitted::message(permits, &allowed), &allowed).await;
        asking.ended(answered.as_ref().map_or_else(Refusal::reason, |_| ANSWERED));
        recorded.upstream_answered();
        let delivered = match answered {
            Ok(answer) => {
                self.deliver(answer, Delivery::of(&allowed, slot, &mut recorded, &self.tasks)).await
            }
            Err(refusal) => Err(refusal),
        };
        self.conclude(recorded, delivered)
    }

    /// The body, whole and bounded; refused by its headers alone where that is possible (RPC-15, RPC-19, HTTP-18).
    pub(crate) async fn body(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Bytes, Refusal> {
        let limits = &self.settings.limits;
        if headers.get_all(header::CONTENT_TYPE).iter().count() > 1
            || !is_of_type(headers, "application/json")
        {
            return Err(Refusal::ContentType);
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Refusal::ContentEncoding);
        }
        let stated_length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let most = self.longest_body(caller);
        if stated_length.is_some_and(|length| length > most as u64) {
            return Err(Refusal::BodyTooLarge);
        }
        let share = self.room.of(&caller.principal.subject);
        let collected = tokio::time::timeout(limits.body_timeout, share.collect(body, most)).await;
        // Trailers are dropped there: nothing in them counts (BEAR-05).
        collected.map_err(|_| Refusal::BodyLate)?.map_err(|unread| match unread {
            Unread::Broken => Refusal::BodyBroken,
            Unread::NoRoom => Refusal::NoRoom,
            Unread::TooLarge => Refusal::BodyTooLarge,
        })
    }

    /// The longest body that is taken from a caller: what holds everywhere, or less where the server says so.
    pub(crate) fn longest_body(&self, caller: &Caller) -> usize {
        let of_server = caller.door.server.limits.body.map(|most| most.get() as usize);
        self.settings.limits.body_bytes.min(of_server.unwrap_or(usize::MAX))
    }

    /// The session that the message belongs to: known, and the caller's own. Ignored where there are none (RPC-20).
    pub(crate) fn session_of<'h>(
        &self,
        caller: &Caller,
        headers: &'h HeaderMap,
        call: &Call,
        era: Era,
    ) -> Result<Option<&'h str>, Refusal> {
        if era == Era::Stateless {
            return match call.kind {
                Kind::Request | Kind::Notification => Ok(None),
                Kind::Response => Err(Refusal::ResponseOutsideSession),
            };
        }
        if call.aim == Aim::Initialize {
            return Ok(None);
        }
        let session = headers::single(headers, &SESSION_ID).map_err(Refusal::Headers)?;
        match session {
            Some(id) if self.sessions.belongs_to(caller.door.server.id, id, &caller.principal) => {
                Ok(Some(id))
            }
            Some(_) => Err(Refusal::UnknownSession),
            None if call.kind == Kind::Response => Err(Refusal::ResponseOutsideSession),
            None => Ok(None),
        }
    }

    /// Which call made a task. What is not the caller's own is not there.
    pub(crate) fn look_up(&self, caller: &Caller, call: &mut Call) {
        if let Aim::Task(task) = &mut call.aim {
            task.made_by = self.tasks.of(caller.door.server.id, &task.id, &caller.principal);
        }
    }

    /// Takes an allowed call to its upstream; consumes what permits it.
    pub(crate) async fn pass_on(
        &self,
        permitted: Permitted<'_>,
        allowed: &Allowed<'_>,
    ) -> Result<Answer, Refusal> {
        // 2026-07-28 knows no notification of a client over HTTP (RPC-17): taken, with no effect.
        if allowed.era == Era::Stateless && allowed.call.kind == Kind::Notification {
            return Ok(Answer::Accepted);
        }
        match &allowed.caller.door.behind {
            Behind::Address(to) => {
                let forwarded = Forwarded {
                    method: Method::POST,
                    headers: allowed.headers,
                    era: allowed.era,
                    session: allowed.session,
                    id: allowed.call.id.as_deref(),
                    is_endless: matches!(allowed.call.aim, Aim::Listen(_)),
                    trace: allowed.trace.clone(),
                    timeout: self.patience(allowed.caller),
                    share: self.room.of(&allowed.caller.principal.subject),
                    body: allowed.body.clone(),
                };
                let answered = self.forward(permitted, to, forwarded).await;
                answered.map_err(|refusal| self.as_asked(refusal, allowed))
            }
            Behind::Program(name) => self.to_program(permitted, name, allowed).await,
            Behind::Nothing => Err(Refusal::Upstream(UpstreamFailure::NoAddress)),
        }
    }

    /// Who has to connect first is told so in the way of their revision.
    fn as_asked(&self, refusal: Refusal, allowed: &Allowed<'_>) -> Refusal {
        let Refusal::NotConnected { place, .. } = refusal else { return refusal };
        let ask = Ask::of(allowed.call, allowed.era, &allowed.body, || self.unique());
        Refusal::NotConnected { place, ask }
    }
}
