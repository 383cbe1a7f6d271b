//! The session behind a line: what it says of itself, and its end.

use super::{ACCEPT, LISTEN_AGAIN, Line};
use crate::known::caller::Caller;
use crate::known::door::{Behind, Door};
use crate::message::headers::{PROTOCOL_VERSION, SESSION_ID};
use crate::request::batch::reply::is_stream;
use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use std::sync::Arc;

impl Line {
    /// What a client of Streamable HTTP would send with each message of this session.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, ACCEPT);
        let session = self.session.get().and_then(|id| HeaderValue::from_str(id).ok());
        headers.extend(session.map(|id| (SESSION_ID, id)));
        headers.extend(self.version.get().map(|version| (PROTOCOL_VERSION, version.clone())));
        headers
    }

    /// A session that the upstream knows no more is the end: this transport has no word for it.
    pub(super) fn look_at(&self, answer: &Response<Body>) {
        let Caller { principal, door, .. } = &self.opener;
        let belongs = |id| self.gateway.sessions.belongs_to(door.server.id, id, principal);
        if answer.status() == StatusCode::NOT_FOUND && self.session.get().is_some_and(|id| !belongs(id)) {
            self.over.cancel();
        }
    }

    /// What the session has to say of itself: its GET stream, as often as it ends, until the server has none any more.
    pub(super) async fn relay_session(&self) {
        while let Ok(caller) = self.gateway.caller_now(&self.opener).await
            && let Some(parts) = self.parts(Method::GET)
        {
            let span = self.gateway.span_of_verb(&parts.headers, "GET", caller.door.server.name.as_str());
            let listening = span.around(self.gateway.listen(&caller, &parts, &span)).await;
            match span.served(listening) {
                Ok(stream) if is_stream(&stream) => self.relay(stream).await,
                Ok(none) => return self.look_at(&none),
                Err(refused) => {
                    self.gateway.record_refusal(&caller, &refused);
                    return;
                }
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    /// A request of Streamable HTTP that has no message.
    fn parts(&self, method: Method) -> Option<Parts> {
        let mut request = Request::builder().method(method).body(()).ok()?;
        *request.headers_mut() = self.headers();
        Some(request.into_parts().0)
    }

    /// Waits for the end, and cleans up. A line also ends when the server no longer takes its transport.
    pub(super) async fn kept(self: Arc<Self>) {
        let mut news = self.gateway.knowledge.changes();
        while self.is_offered() {
            tokio::select! {
                () = self.over.cancelled() => break,
                told = news.changed() => if told.is_err() { break },
            }
        }
        self.over.cancel();
        self.gateway.lines.forget(&self.id);
        if let Some(session) = self.session.get() {
            self.hang_up(session).await;
        }
    }

    fn is_offered(&self) -> bool {
        let door: &Door = &self.opener.door;
        let known = self.gateway.knowledge.known();
        let policy = known.as_ref().and_then(|known| known.policy_of(door));
        policy.is_some_and(|policy| policy.server().other_transports.contains(&self.transport))
    }

    /// Ends the session behind a line that ended. Without a caller that may, nothing goes to the upstream; a program ends anyway.
    async fn hang_up(&self, session: &str) {
        if let (Ok(caller), Some(parts)) =
            (self.gateway.caller_now(&self.opener).await, self.parts(Method::DELETE))
        {
            let span = self.gateway.span_of_verb(&parts.headers, "DELETE", caller.door.server.name.as_str());
            let ended = span.around(self.gateway.end_session(&caller, &parts, &span)).await;
            // Some servers do not let clients end sessions.
            let _whatever_came_of_it = span.served(ended);
        }
        if let Behind::Program(_) = self.opener.door.behind {
            let _ended_already = self.gateway.children.end(session);
        }
        self.gateway.forget_session(self.opener.door.server.id, session);
    }
}
