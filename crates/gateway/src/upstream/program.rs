//! To an upstream that is a program: what `stdio` needs to know, and what its failures mean to the caller.

use crate::Inner;
use crate::bounds::room::NoRoom;
use crate::decide::permitted::{Allowed, Current, Permitted};
use crate::decide::refusal::Refusal;
use crate::known::caller::Caller;
use crate::message::answer::{Answer, UpstreamFailure, status_of_error};
use crate::message::call::{Aim, Kind};
use crate::message::events::BrokenOff;
use crate::message::headers::Era;
use crate::upstream::contract::{CallInfo, StdioAnswer, StdioRequest};
use crate::upstream::stdio::{LastWord, StdioFailure, Unposted};
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use portcullis_domain::principal::Principal;
use std::sync::Arc;
use std::time::Duration;

impl Inner {
    /// Takes an allowed call to a program of the machine's own table; consumes what permits it.
    pub(crate) async fn to_program(
        &self,
        mut permitted: Permitted<'_>,
        name: &str,
        allowed: &Allowed<'_>,
    ) -> Result<Answer, Refusal> {
        let program =
            self.settings.programs.get(name).ok_or(Refusal::Upstream(UpstreamFailure::NoProgram))?;
        let call = allowed.call;
        let caller = permitted.now(self).await?.caller;
        let request = StdioRequest {
            server: Arc::clone(&caller.door.server),
            program: program.clone(),
            principal: Principal::clone(&caller.principal),
            session: allowed.session.map(str::to_owned),
            stateless: allowed.era == Era::Stateless,
            call: CallInfo {
                method: call.method.clone(),
                id: call.id.clone(),
                progress_token: call.progress_token.clone(),
                is_initialize: call.aim == Aim::Initialize,
                is_response: call.kind == Kind::Response,
            },
            body: allowed.body.clone(),
        };
        let mut last = Anew { permitted, gateway: self };
        let posted = self.children.post(request, &mut last);
        let posted = tokio::time::timeout(self.patience(allowed.caller), posted).await;
        let answer = posted.unwrap_or(Err(StdioFailure::TimedOut.into())).map_err(|why| match why {
            Unposted::Failed(failure) => refusal(failure),
            Unposted::Refused(refusal) => refusal,
        })?;
        Ok(match answer {
            StdioAnswer::Accepted => Answer::Accepted,
            StdioAnswer::Events { stream, session } => {
                Answer::Events { events: self.with_room(allowed.caller, stream), session }
            }
            StdioAnswer::Json { body, session } => {
                let body = self.held(allowed.caller, body)?;
                let status = status_of_error(&body, call.id.as_deref());
                match status.filter(|_| allowed.era == Era::Stateless) {
                    Some(status) => Answer::Refused { status, body: Some(body) },
                    None => Answer::Json { body, session },
                }
            }
        })
    }

    /// From the end of a call to the first byte of the answer.
    pub(crate) fn patience(&self, caller: &Caller) -> Duration {
        let of_server = caller.door.server.limits.upstream_timeout;
        of_server.map_or(self.settings.limits.upstream_timeout, |seconds| {
            Duration::from_secs(seconds.get().into())
        })
    }

    /// What was made here needs room as what it was made from.
    pub(crate) fn held(&self, caller: &Caller, made: impl Into<Bytes>) -> Result<Bytes, Refusal> {
        let held = self.room.of(&caller.principal.subject).hold(made.into());
        held.map_err(|NoRoom| Refusal::Upstream(UpstreamFailure::NoRoom))
    }

    /// What a program says, with the room that it needs.
    pub(crate) fn with_room(
        &self,
        caller: &Caller,
        events: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Result<Bytes, BrokenOff>> {
        let share = self.room.of(&caller.principal.subject);
        events.map(move |event| share.hold(event).map_err(|NoRoom| BrokenOff)).boxed()
    }
}

/// Decides again when the program takes the message.
struct Anew<'a> {
    permitted: Permitted<'a>,
    gateway: &'a Inner,
}

impl LastWord for Anew<'_> {
    type Permit<'p>
        = Current<'p>
    where
        Self: 'p;

    async fn word(&mut self) -> Result<Current<'_>, Refusal> {
        self.permitted.now(self.gateway).await
    }
}

/// What a failure of a program, or of a message for it, is to the caller.
pub(crate) fn refusal(failure: StdioFailure) -> Refusal {
    match failure {
        StdioFailure::DuplicateId | StdioFailure::DuplicateToken => Refusal::DuplicateInFlight,
        StdioFailure::NotAMessage => Refusal::Unreadable(crate::message::call::ParseRefusal::Malformed),
        StdioFailure::SessionRequired => Refusal::SessionNeeded,
        StdioFailure::UnknownSession => Refusal::UnknownSession,
        StdioFailure::TooManyPrograms => Refusal::Upstream(UpstreamFailure::TooManyPrograms),
        StdioFailure::TimedOut | StdioFailure::TooSlow => Refusal::Upstream(UpstreamFailure::Late),
        StdioFailure::Garbled | StdioFailure::NotUnderstood => Refusal::Upstream(UpstreamFailure::Garbled),
        StdioFailure::CannotStart => Refusal::Upstream(UpstreamFailure::Unreachable),
        StdioFailure::Ended => Refusal::Upstream(UpstreamFailure::BrokeOff),
        StdioFailure::Resting { seconds } => Refusal::Upstream(UpstreamFailure::Resting { seconds }),
    }
}
