//! Upstreams that are programs, spoken to over stdio.
//!
//! A program serves exactly one session, or one principal on one server in the revision without sessions; it is told at
//! its start whom (`process`). Messages reach it byte for byte, but for line terminators (`framing`). What it says finds
//! its way by request id, progress token, subscription or session (`desk`), through queues that never grow (`queue`).

mod child;
mod desk;
mod framing;
mod message;
mod pool;
mod process;
mod queue;
mod rests;
mod turn;

#[cfg(test)]
mod tests;

use crate::decide::refusal::Refusal;
use crate::settings::{Limits, Secrets};
use crate::upstream::contract::{StdioAnswer, StdioRequest};
use bytes::Bytes;
use child::{AskRefused, Child, Flight, Owner};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use pool::{Pool, Wanted};
use queue::Frame;
use std::sync::Arc;
use std::time::Duration;

/// Makes an unguessable session id of visible ASCII.
pub(crate) type MintSession = Arc<dyn Fn() -> String + Send + Sync>;

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Programs in all.
    pub(crate) total: usize,
    /// Programs of one server.
    pub(crate) per_server: usize,
    /// Programs for one subject, whatever server and client.
    pub(crate) per_subject: usize,
    /// How long a program that nobody needs stays.
    pub(crate) idle: Duration,
    /// How long a request waits for the next thing that comes.
    pub(crate) patience: Duration,
    /// How long a program that is to end is waited for; then it is asked, then killed.
    pub(crate) grace: Duration,
    /// The longest message of a program.
    pub(crate) line_bytes: usize,
    /// Messages that wait for one reader.
    pub(crate) queue_messages: usize,
    /// Bytes that wait for one reader.
    pub(crate) queue_bytes: usize,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            total: limits.children,
            per_server: limits.children.div_ceil(2),
            per_subject: limits.children.div_ceil(16),
            idle: limits.child_idle,
            patience: limits.upstream_timeout,
            grace: Duration::from_secs(1),
            line_bytes: limits.answer_bytes,
            queue_messages: 256,
            queue_bytes: 4 * 1024 * 1024,
        }
    }
}

/// Why a message got no answer from a program. Nothing of the program's own words is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StdioFailure {
    /// The machine's configuration names a program that does not start.
    #[error("the program cannot be started")]
    CannotStart,
    /// The caller's: the id waits for its answer.
    #[error("a request with this id is in flight")]
    DuplicateId,
    /// The caller's: the token belongs to a request that waits.
    #[error("a request with this progress token is in flight")]
    DuplicateToken,
    /// It ended before it answered.
    #[error("the program ended")]
    Ended,
    /// It wrote something that is no JSON-RPC, and was ended.
    #[error("the program wrote something that is no message")]
    Garbled,
    /// The caller's: no JSON text, or its id or token is neither string nor number.
    #[error("not a message that a program can be sent")]
    NotAMessage,
    /// The program could not read the request.
    #[error("the program did not understand the request")]
    NotUnderstood,
    /// It failed several times in a row.
    #[error("the program failed, and is not started again yet")]
    Resting {
        /// For so long.
        seconds: u64,
    },
    /// The caller's: neither an `initialize` nor of a session.
    #[error("a session is needed")]
    SessionRequired,
    /// It did not answer in time.
    #[error("the program did not answer in time")]
    TimedOut,
    /// As many run as may.
    #[error("too many programs run")]
    TooManyPrograms,
    /// The caller's: it did not read what came.
    #[error("the answer was not read in time")]
    TooSlow,
    /// The caller's: the session ended, or never was.
    #[error("no such session")]
    UnknownSession,
}

/// Why a message got no answer.
#[derive(Debug)]
pub(crate) enum Unposted {
    Failed(StdioFailure),
    /// When it could have been written, it was not permitted any more.
    Refused(Refusal),
}

impl From<StdioFailure> for Unposted {
    fn from(failure: StdioFailure) -> Self {
        Self::Failed(failure)
    }
}

/// Asked at the last moment whether a message may be written: starting a program, and its reading, are waited for.
pub(crate) trait LastWord: Send {
    /// Used up by what is written.
    type Permit<'p>: Send
    where
        Self: 'p;

    fn word(&mut self) -> impl Future<Output = Result<Self::Permit<'_>, Refusal>> + Send;
}

/// Every program that runs for this gateway. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Children {
    pool: Arc<Pool>,
    mint: MintSession,
}

impl Children {
    /// None run yet.
    pub(crate) fn new(bounds: Bounds, mint: MintSession, secrets: Secrets) -> Self {
        Self { pool: Pool::new(bounds, secrets), mint }
    }

    /// How many programs run, those that are ending too.
    pub(crate) fn count(&self) -> u64 {
        self.pool.count() as u64
    }

    /// Takes one message of a caller to the program that serves it.
    pub(crate) async fn post(
        &self,
        request: StdioRequest,
        last: &mut impl LastWord,
    ) -> Result<StdioAnswer, Unposted> {
        let line = framing::one_line(&request.body).map_err(|_| StdioFailure::NotAMessage)?;
        let asks = request.call.id.is_some() && !request.call.is_response;
        match (request.stateless, &request.session) {
            (true, _) if asks => self.ask_stateless(line, &request, last).await,
            (true, _) => self.tell_stateless(line, &request, last).await,
            (false, Some(session)) if !request.call.is_initialize => {
                let child = self.of_session(session, &request)?;
                if asks {
                    let flight = child.ask(line, &request.call, last).await.map_err(in_session)?;
                    Ok(answer(flight, &request).await?)
                } else {
                    child.tell(line, last).await?;
                    Ok(StdioAnswer::Accepted)
                }
            }
            (false, None) if request.call.is_initialize && asks => {
                self.initialize(line, &request, last).await
            }
            (false, _) => Err(StdioFailure::SessionRequired.into()),
        }
    }

    /// Everything that belongs to no request of the session: whole SSE events. It takes the place of the stream before.
    pub(crate) fn listen(&self, session: &str) -> Result<BoxStream<'static, Bytes>, StdioFailure> {
        let child = self.pool.session(session).ok_or(StdioFailure::UnknownSession)?;
        let messages = child.listen().ok_or(StdioFailure::UnknownSession)?;
        let events = stream::unfold(messages, |mut messages| async move {
            let (Frame::Notice(body) | Frame::Answer { body, .. }) = messages.next().await?;
            Some((framing::event(&body), messages))
        });
        Ok(events.boxed())
    }

    /// Ends a session and its program.
    pub(crate) fn end(&self, session: &str) -> Result<(), StdioFailure> {
        let child = self.pool.session(session).ok_or(StdioFailure::UnknownSession)?;
        child.stop();
        Ok(())
    }

    /// Ends every program; returns when none runs, or at the deadline, when what is left dies with this process.
    pub(crate) async fn shutdown(&self, deadline: Duration) {
        if tokio::time::timeout(deadline, self.pool.close()).await.is_err() {
            tracing::warn!("programs still run at the end of the time that they were given");
        }
    }

    async fn ask_stateless(
        &self,
        line: Bytes,
        request: &StdioRequest,
        last: &mut impl LastWord,
    ) -> Result<StdioAnswer, Unposted> {
        let mut ended = StdioFailure::Ended;
        // A program may end, or turn out to owe an old answer, between being found and being asked.
        for _ in 0..3 {
            let child = self.pool.shared(&wanted(request)).await?;
            match child.ask(line.clone(), &request.call, last).await {
                Ok(flight) => return Ok(answer(flight, request).await?),
                Err(AskRefused::Abandoned) => self.pool.retire(&child),
                Err(AskRefused::Gone(failure)) => ended = failure,
                Err(AskRefused::Failed(why)) => return Err(why),
            }
        }
        Err(ended.into())
    }

    async fn tell_stateless(
        &self,
        line: Bytes,
        request: &StdioRequest,
        last: &mut impl LastWord,
    ) -> Result<StdioAnswer, Unposted> {
        // There are no requests of the program's in this revision, so nothing can be a response to one; and what a
        // notification could be about is over when no program runs.
        if !request.call.is_response
            && let Some(child) = self.pool.running(&wanted(request))
        {
            child.tell(line, last).await?;
        }
        Ok(StdioAnswer::Accepted)
    }

    async fn initialize(
        &self,
        line: Bytes,
        request: &StdioRequest,
        last: &mut impl LastWord,
    ) -> Result<StdioAnswer, Unposted> {
        let session = (self.mint)();
        let child = self.pool.begin(&wanted(request), &session).await?;
        let flight = match child.ask(line, &request.call, last).await {
            Ok(flight) => flight,
            Err(refused) => {
                child.stop();
                return Err(in_session(refused));
            }
        };
        let session = Some(session);
        Ok(match first(flight, request).await? {
            First::Answer { body, good: true } => StdioAnswer::Json { body, session },
            First::Answer { body, good: false } => {
                child.stop();
                StdioAnswer::Json { body, session: None }
            }
            First::Stream(stream) => StdioAnswer::Events { stream, session },
        })
    }

    fn of_session(&self, session: &str, request: &StdioRequest) -> Result<Arc<Child>, StdioFailure> {
        let child = self.pool.session(session).ok_or(StdioFailure::UnknownSession)?;
        // The caller was checked already; a program that serves another must not be reachable by any mistake.
        if child.owner == Owner::of(&request.server, &request.principal) {
            Ok(child)
        } else {
            Err(StdioFailure::UnknownSession)
        }
    }
}

/// A message as a program is sent it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn as_line(message: &[u8]) -> Option<String> {
    let line = framing::one_line(&Bytes::copy_from_slice(message)).ok()?;
    String::from_utf8(line.to_vec()).ok()
}

/// Reads what a program writes as lines of at most `most` bytes, and what each of them is.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_lines(mut output: &[u8], most: usize, each: impl Fn(&[u8])) {
    use futures_util::FutureExt as _;
    // From memory nothing is ever waited for.
    while let Some(line) = framing::read_line(&mut output, most).now_or_never() {
        match line {
            framing::Line::End => return,
            framing::Line::TooLong => {}
            framing::Line::Text(line) => {
                each(&line);
                let _read = message::Message::read(&line);
            }
        }
    }
}

fn wanted(request: &StdioRequest) -> Wanted<'_> {
    Wanted { server: &request.server, principal: &request.principal, program: &request.program }
}

fn in_session(refused: AskRefused) -> Unposted {
    match refused {
        // The ids of a session are used once (2025-11-25, basic).
        AskRefused::Abandoned => StdioFailure::DuplicateId.into(),
        AskRefused::Gone(failure) => failure.into(),
        AskRefused::Failed(why) => why,
    }
}

async fn answer(flight: Flight, request: &StdioRequest) -> Result<StdioAnswer, StdioFailure> {
    Ok(match first(flight, request).await? {
        First::Answer { body, .. } => StdioAnswer::Json { body, session: None },
        First::Stream(stream) => StdioAnswer::Events { stream, session: None },
    })
}

/// What comes first decides how the caller is answered.
enum First {
    Answer { body: Bytes, good: bool },
    Stream(BoxStream<'static, Bytes>),
}

async fn first(mut flight: Flight, request: &StdioRequest) -> Result<First, StdioFailure> {
    let notice = match flight.next().await? {
        Frame::Answer { body, good } => return Ok(First::Answer { body, good }),
        Frame::Notice(notice) => notice,
    };
    let id = request.call.id.as_ref().map_or("null", |id| id.get()).to_owned();
    let first = stream::once(std::future::ready(framing::event(&notice)));
    let rest = stream::unfold(Some(flight), move |flight| {
        let id = id.clone();
        async move {
            let mut flight = flight?;
            Some(match flight.next().await {
                Ok(Frame::Notice(notice)) => (framing::event(&notice), Some(flight)),
                Ok(Frame::Answer { body, .. }) => (framing::event(&body), None),
                Err(failure) => (framing::event(&broken_off(&id, failure)), None),
            })
        }
    });
    Ok(First::Stream(first.chain(rest).boxed()))
}

/// The answer to a request whose stream has begun, when no better one comes.
fn broken_off(id: &str, failure: StdioFailure) -> Bytes {
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"{failure}"}}}}"#))
}
