//! A line: one connection of a caller that speaks an older transport, over which messages go both ways.
//!
//! Only the carrying is different. Each message is taken exactly as a POST of the revisions with sessions is (`exchange`): read,
//! its caller looked at anew, decided, recorded, forwarded. What comes back, and what the session has to say of itself, is
//! what a caller of Streamable HTTP would read, filtered and watched alike; here it is put on the line, message by message.

mod http_sse;
mod incoming;
mod outgoing;
mod session;
mod versions;
mod websocket;

use crate::Inner;
use crate::bounds::slots::Slot;
use crate::decide::authorize::{authorize_connection, policy_of};
use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::message::owner::Owner;
use crate::record::ledger::Recorded;
use crate::record::spool::What;
use crate::upstream::stdio::MintSession;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::BodyExt as _;
use portcullis_domain::registry::OtherTransport;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
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
        let caller = self.caller_now(caller).await?;
        let rules = (policy_of(&caller)?, &self.pins_of(&caller)?);
        let permits = authorize_connection(rules, &caller.principal, &caller.circumstances());
        let permits = permits.map_err(Refusal::Denied)?;
        let slot = self.slots.stream(&caller.principal.subject).map_err(Refusal::TooManyAtOnce)?;
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

/// What a refusal says on a line.
async fn words(answer: Response<Body>) -> Bytes {
    answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}
