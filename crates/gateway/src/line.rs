//! A line: one connection of a caller that speaks an older transport, over which messages go both ways.
//!
//! Only the carrying is different. Each message is taken exactly as a POST of the revisions with sessions is (`exchange`): read,
//! its caller looked at anew, decided, recorded, forwarded. What comes back, and what the session has to say of itself, is
//! what a caller of Streamable HTTP would read, filtered and watched alike; here it is put on the line, message by message.

mod http_sse;
mod versions;
mod websocket;

use crate::Inner;
use crate::answer::is_response_to;
use crate::authenticate::Caller;
use crate::authorize::authorize_connection;
use crate::batch::reply::{is_stream, whole};
use crate::call::{Aim, Call, Kind, ParseRefusal, parse};
use crate::door::{Behind, Door};
use crate::error::{Refusal, code, rpc_error};
use crate::events;
use crate::exchange::{Refused, policy_of};
use crate::headers::{Era, PROTOCOL_VERSION, SESSION_ID, needs_session};
use crate::ledger::{Recorded, What};
use crate::sessions::Owner;
use crate::stdio::MintSession;
use crate::stream::Slot;
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use portcullis_domain::registry::OtherTransport;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Requests of one line that wait for their answers.
const UNDER_WAY: usize = 64;

/// Messages that wait to be written to one line; whoever has more waits.
const UNWRITTEN: usize = 16;

/// A caller that takes nothing for so long has left, or does not keep up.
const SLOW: Duration = Duration::from_secs(30);

/// A session's stream that ended is opened again after this.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What a client of Streamable HTTP takes.
const ACCEPT: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Lines that take messages by an address of their own (HTTP+SSE).
pub(crate) struct Lines {
    open: Mutex<HashMap<String, Weak<Line>>>,
    mint: MintSession,
}

impl Lines {
    pub(crate) fn new(mint: MintSession) -> Self {
        Self { open: Mutex::default(), mint }
    }

    fn put(&self, line: &Arc<Line>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(line.id.clone(), Arc::downgrade(line));
    }

    /// The line of this id, if it leads to this door and belongs to this caller; whose it is otherwise is not told.
    fn of(&self, id: &str, caller: &Caller) -> Option<Arc<Line>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let line = open.get(id)?.upgrade()?;
        let is_theirs = line.opener.door.server.id == caller.door.server.id
            && Owner::of(&line.opener.principal) == Owner::of(&caller.principal);
        (is_theirs && !line.over.is_cancelled()).then_some(line)
    }

    fn forget(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// One line. Whatever belongs to it ends when `over` is cancelled.
struct Line {
    gateway: Arc<Inner>,
    /// Unguessable; opens nothing by itself.
    id: String,
    transport: OtherTransport,
    /// As of its opening; looked at anew whenever something is done in its name.
    opener: Caller,
    out: mpsc::Sender<Bytes>,
    under_way: Arc<Semaphore>,
    /// `Mcp-Session-Id`, once `initialize` was answered.
    session: OnceLock<String>,
    is_listening: AtomicBool,
    /// What client and server agreed on, where later revisions want it said in a header.
    version: OnceLock<HeaderValue>,
    over: CancellationToken,
}

/// A line just opened, before anything goes over it.
struct Opened {
    line: Arc<Line>,
    /// What is to be written.
    outgoing: mpsc::Receiver<Bytes>,
    slot: Slot,
    recorded: Recorded,
}

/// What became of a message.
enum Taken {
    /// Its answer, if it wants one, comes on the line.
    OnTheLine,
    /// A request that gets this answer at once.
    Refused(Refused),
    /// It wants no answer. This is what a POST of it would have been told.
    Told(Response<Body>),
}

impl Inner {
    /// Opens a line: whoever may be connected may.
    async fn open_line(
        self: &Arc<Self>,
        caller: &Caller,
        transport: OtherTransport,
    ) -> Result<Opened, Refused> {
        let caller = self.still(caller).await?;
        let rules = (policy_of(&caller)?, &self.pins_of(&caller)?);
        let permits = authorize_connection(rules, &caller.principal, &caller.circumstances());
        let permits = permits.map_err(Refusal::Denied)?;
        let slot = self.slots.take(&caller.principal).ok_or(Refusal::TooManyCalls)?;
        let what = match transport {
            OtherTransport::HttpSse => "http_sse",
            OtherTransport::Websocket => "websocket",
        };
        let recorded = self.record(&caller, &permits, What::verb(what)).await?;
        let (out, outgoing) = mpsc::channel(UNWRITTEN);
        let line = Arc::new(Line {
            gateway: Arc::clone(self),
            id: (self.lines.mint)(),
            transport,
            opener: caller,
            out,
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
            session: OnceLock::new(),
            is_listening: AtomicBool::new(false),
            version: OnceLock::new(),
            over: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&line).kept());
        Ok(Opened { line, outgoing, slot, recorded })
    }
}

impl Line {
    /// Takes what the caller says, `caller` being whoever says it now. An error is of a message that is no request.
    async fn take(self: &Arc<Self>, caller: Caller, body: Bytes) -> Result<Taken, Refused> {
        let depth = self.gateway.settings.limits.json_depth;
        match parse(&body, &caller.token, depth) {
            Ok(call) if call.kind == Kind::Request => Ok(self.take_request(caller, call, body)),
            // Before anything that comes later: `notifications/initialized` stands before the first request.
            Ok(call) => self.tell(&caller, &call, body).await.map(Taken::Told),
            Err(bad) if bad.reason == ParseRefusal::Batch => {
                let Ok(under_way) = Arc::clone(&self.under_way).try_acquire_owned() else {
                    return Err(Refusal::TooManyCalls.into());
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
            return refused(Refusal::TooManyCalls);
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
    async fn refuse(&self, caller: &Caller, body: &[u8], refusal: Refusal) {
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

    async fn ask_batch(&self, caller: &Caller, body: Bytes) {
        let answer = match self.gateway.take(caller, &self.headers(), body).await {
            Ok(answer) => answer,
            Err(refused) => self.gateway.refuse_caller(caller, &refused),
        };
        self.look_at(&answer);
        self.relay(answer).await;
    }

    /// What wants an answer, up to its last message.
    async fn ask(&self, caller: &Caller, call: &Call, body: Bytes) {
        let answer = match self.gateway.take(caller, &self.headers(), body).await {
            Ok(answer) => answer,
            Err(refused) => self.gateway.refuse_caller(caller, &refused),
        };
        self.look_at(&answer);
        if call.aim == Aim::Initialize
            && let Some(session) = answer.headers().get(&SESSION_ID).and_then(|id| id.to_str().ok())
        {
            // Two at once: the one that is not taken ends by itself at the upstream.
            let _first_counts = self.session.set(session.to_owned());
        }
        if is_stream(&answer) {
            self.relay_events(call, answer).await;
        } else {
            let message = whole(call, answer).await;
            self.learn(call, &message);
            self.say(message).await;
        }
    }

    /// Every message of a stream that answers `call`.
    async fn relay_events(&self, call: &Call, answer: Response<Body>) {
        let most = self.gateway.settings.limits.answer_bytes;
        let mut events = events::events(Box::pin(answer.into_body().into_data_stream()), most);
        let id = call.id.as_deref();
        let mut is_answered = false;
        while let Some(Ok(event)) = events.next().await {
            let Some(message) = said(&event) else { continue };
            is_answered |= id.is_some_and(|id| is_response_to(&message, id));
            self.learn(call, &message);
            self.say(message).await;
        }
        if !is_answered {
            self.say(rpc_error(code::UPSTREAM_FAILED, "the upstream broke off", id, None).into()).await;
        }
    }

    /// Whatever stands in a response of ours, in its order.
    async fn relay(&self, response: Response<Body>) {
        if !is_stream(&response) {
            // It was read whole before, and bounded.
            if let Ok(body) = response.into_body().collect().await {
                self.say(body.to_bytes()).await;
            }
            return;
        }
        let most = self.gateway.settings.limits.answer_bytes;
        let mut events = events::events(Box::pin(response.into_body().into_data_stream()), most);
        while let Some(Ok(event)) = events.next().await {
            if let Some(message) = said(&event) {
                self.say(message).await;
            }
        }
    }

    /// Puts a message on the line. Whoever takes nothing for too long loses it.
    async fn say(&self, message: Bytes) {
        if message.is_empty() {
            return;
        }
        match tokio::time::timeout(SLOW, self.out.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => self.over.cancel(),
        }
    }

    /// What the answer to `initialize` agreed on.
    fn learn(&self, call: &Call, message: &[u8]) {
        if call.aim == Aim::Initialize
            && let Some(version) = versions::agreed(message)
        {
            let _first_counts = self.version.set(version);
        }
    }

    /// A session that the upstream knows no more is the end: this transport has no word for it.
    fn look_at(&self, answer: &Response<Body>) {
        let Caller { principal, door, .. } = &self.opener;
        let belongs = |id| self.gateway.sessions.belongs_to(door.server.id, id, principal);
        if answer.status() == StatusCode::NOT_FOUND && self.session.get().is_some_and(|id| !belongs(id)) {
            self.over.cancel();
        }
    }

    /// What a client of Streamable HTTP would send with each message of this session.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, ACCEPT);
        let session = self.session.get().and_then(|id| HeaderValue::from_str(id).ok());
        headers.extend(session.map(|id| (SESSION_ID, id)));
        headers.extend(self.version.get().map(|version| (PROTOCOL_VERSION, version.clone())));
        headers
    }

    /// What the session has to say of itself: its GET stream, as often as it ends, until the server has none any more.
    async fn relay_session(&self) {
        while let Ok(caller) = self.gateway.still(&self.opener).await
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
    fn parts(&self, method: Method) -> Option<http::request::Parts> {
        let mut request = Request::builder().method(method).body(()).ok()?;
        *request.headers_mut() = self.headers();
        Some(request.into_parts().0)
    }

    /// Waits for the end, and cleans up. A line also ends when the server no longer takes its transport.
    async fn kept(self: Arc<Self>) {
        let mut changes = self.gateway.knowledge.changes();
        while self.is_offered() {
            tokio::select! {
                () = self.over.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
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
            (self.gateway.still(&self.opener).await, self.parts(Method::DELETE))
        {
            let span = self.gateway.span_of_verb(&parts.headers, "DELETE", caller.door.server.name.as_str());
            let ended = span.around(self.gateway.end_session(&caller, &parts, &span)).await;
            // Some servers do not let clients end sessions.
            let _whatever_came_of_it = span.served(ended);
        }
        if let Behind::Program(_) = self.opener.door.behind {
            let _ended_already = self.gateway.children.end(session);
        }
        self.gateway.sessions.end(self.opener.door.server.id, session);
    }
}

/// The message in an event; none in a comment, or in one that only says where a stream stands.
fn said(event: &[u8]) -> Option<Bytes> {
    let data = events::data(event);
    (!data.iter().all(u8::is_ascii_whitespace)).then(|| data.into())
}

/// What a refusal says on a line.
async fn words(answer: Response<Body>) -> Bytes {
    answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}
