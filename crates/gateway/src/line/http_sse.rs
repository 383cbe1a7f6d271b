//! HTTP+SSE, the transport of 2024-11-05: a GET stream that begins with an address, and POSTs to that address. Each POST
//! carries a token of its own; it must be one of the principal that opened the stream.

use super::{Line, Opened, Taken, words};
use crate::Inner;
use crate::bounds::room::keeping;
use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::message::events;
use crate::request::deliver::empty;
use crate::stream::Hearing;
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use portcullis_domain::registry::OtherTransport;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The name that clients know it by.
const PARAMETER: &str = "session_id=";

impl Inner {
    /// What is sent to `/sse` below a server's address.
    pub(crate) async fn http_sse(
        self: &Arc<Self>,
        caller: &Caller,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        if parts.method == Method::POST {
            self.take_post(caller, parts, body).await
        } else {
            self.open_sse(caller, parts.uri.path()).await
        }
    }

    async fn open_sse(self: &Arc<Self>, caller: &Caller, path: &str) -> Result<Response<Body>, Refused> {
        let Opened { line, outgoing, slot, mut recorded } =
            self.open_line(caller, OtherTransport::HttpSse).await?;
        self.lines.put(&line);
        // Of our own origin, and absolute: clients resolve it, or only put it behind a host.
        let address = format!("event: endpoint\ndata: {path}?{PARAMETER}{}\n\n", line.id);
        let first = stream::once(std::future::ready(Ok(Bytes::from(address))));
        let events = first.chain(messages(&line, outgoing)).boxed();
        let account = recorded.opens(&self.settings.clock);
        let response = self.endless(&line.opener, events, (Hearing::of_ours(), slot, account));
        Ok(self.conclude(recorded, Ok(response))?)
    }

    async fn take_post(&self, caller: &Caller, parts: &Parts, body: Body) -> Result<Response<Body>, Refused> {
        let id = parts.uri.query().and_then(|query| query.strip_prefix(PARAMETER));
        let line = id.and_then(|id| self.lines.of(id, caller)).ok_or(Refusal::UnknownSession)?;
        let body = self.body(caller, &parts.headers, body).await?;
        // The body may have taken its time: whose it is now is looked at when it is taken.
        match line.take(caller.clone(), body).await? {
            Taken::OnTheLine => Ok(empty(StatusCode::ACCEPTED)),
            // Clients take an error here for the end of the whole connection: what can be said on the line is said there.
            Taken::Refused(refused) => {
                line.say(words(self.refuse_caller(caller, &refused)).await).await;
                Ok(empty(StatusCode::ACCEPTED))
            }
            Taken::Told(response) => Ok(response),
        }
    }
}

/// Everything that is put on the line, as events; ends with it, and when dropped, as when the caller leaves, is its end.
fn messages(
    line: &Line,
    outgoing: mpsc::Receiver<Bytes>,
) -> impl stream::Stream<Item = Result<Bytes, events::BrokenOff>> + Send + use<> {
    let over = line.over.clone();
    let state = (outgoing, over.clone(), over.drop_guard());
    stream::unfold(state, |(mut outgoing, over, guard)| async move {
        let message = tokio::select! {
            () = over.cancelled() => None,
            message = outgoing.recv() => message,
        }?;
        let event = events::message(&message);
        // With the room of what it is made from.
        Some((Ok(keeping(message, event)), (outgoing, over, guard)))
    })
}
