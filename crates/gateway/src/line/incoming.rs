//! What the caller says on a line.

use super::{Line, Taken, words};
use crate::bounds::slots::Full;
use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::message::call::{Aim, Call, Kind, ParseRefusal, parse};
use crate::message::headers::{Era, needs_session};
use axum::body::Body;
use bytes::Bytes;
use http::Response;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Line {
    /// Takes what the caller says, `caller` being whoever says it now. An error is of a message that is no request.
    pub(super) async fn take(self: &Arc<Self>, caller: Caller, body: Bytes) -> Result<Taken, Refused> {
        let depth = self.gateway.settings.limits.json_depth;
        match parse(&body, &caller.token, depth) {
            Ok(call) if call.kind == Kind::Request => Ok(self.take_request(caller, call, body)),
            // Before anything that comes later: `notifications/initialized` stands before the first request.
            Ok(call) => self.tell(&caller, &call, body).await.map(Taken::Told),
            Err(bad) if bad.reason == ParseRefusal::Batch => {
                let Ok(under_way) = Arc::clone(&self.under_way).try_acquire_owned() else {
                    return Err(Refusal::TooManyAtOnce(Full::Line).into());
                };
                self.until_over(async move |line: Arc<Self>| {
                    line.ask_batch(&caller, body).await;
                    drop(under_way);
                });
                Ok(Taken::OnTheLine)
            }
            Err(_) => self.gateway.take(&caller, &self.headers(), body).await.map(Taken::Told),
        }
    }

    fn take_request(self: &Arc<Self>, caller: Caller, call: Call, body: Bytes) -> Taken {
        let refused = |refusal| Taken::Refused(Refused::of(refusal, &call, Some(Era::Sessions)));
        if let Err(refusal) = self.may_ask(&call) {
            return refused(refusal);
        }
        let Ok(under_way) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return refused(Refusal::TooManyAtOnce(Full::Line));
        };
        self.until_over(async move |line: Arc<Self>| {
            line.ask(&caller, &call, body).await;
            drop(under_way);
        });
        Taken::OnTheLine
    }

    /// Does something beside everything else, for as long as there is the line.
    fn until_over<Work>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> Work)
    where
        Work: Future<Output = ()> + Send + 'static,
    {
        let over = self.over.clone();
        let work = work(Arc::clone(self));
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = work => {}
            }
        });
    }

    fn may_ask(&self, call: &Call) -> Result<(), Refusal> {
        if let Some(version) = &call.version {
            return Err(Refusal::Headers(needs_session(version)));
        }
        if call.aim == Aim::Initialize && self.session.get().is_some() {
            return Err(Refusal::SecondSession);
        }
        Ok(())
    }

    /// Refuses what was not even looked at; a notification in silence.
    pub(super) async fn refuse(&self, caller: &Caller, body: &[u8], refusal: Refusal) {
        let call = parse(body, &caller.token, self.gateway.settings.limits.json_depth).ok();
        match call.filter(|call| call.kind == Kind::Request) {
            Some(call) => {
                let refused = Refused::of(refusal, &call, Some(Era::Sessions));
                self.say(words(self.gateway.refuse_caller(caller, &refused)).await).await;
            }
            None => drop(self.gateway.refuse_caller(caller, &refusal.into())),
        }
    }

    /// A notification, or an answer of the client to a request of the server.
    async fn tell(
        self: &Arc<Self>,
        caller: &Caller,
        call: &Call,
        body: Bytes,
    ) -> Result<Response<Body>, Refused> {
        let told = self.gateway.take(caller, &self.headers(), body).await?;
        self.look_at(&told);
        if call.method == "notifications/initialized"
            && told.status().is_success()
            && self.session.get().is_some()
            && !self.is_listening.swap(true, Ordering::Relaxed)
        {
            self.until_over(async |line: Arc<Self>| line.relay_session().await);
        }
        Ok(told)
    }
}
