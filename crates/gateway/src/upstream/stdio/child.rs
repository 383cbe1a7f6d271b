//! One running program, and the tasks around it.

mod flight;

pub(super) use flight::Flight;

use super::desk::{Desk, End, Kind, Refused};
use super::framing::{self, Line};
use super::process::{self, Process, Streams};
use super::queue::{self, Bound};
use super::rests::Spoke;
use super::turn::{self, Turn, Wish};
use super::{Bounds, LastWord, StdioFailure, Unposted};
use crate::settings::{Program, Secrets};
use crate::upstream::contract::CallInfo;
use bytes::{Bytes, BytesMut};
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::Server;
use portcullis_oauth::client::ClientId;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What waits to be written; then writers wait.
const UNWRITTEN: usize = 16;

/// For whom a program runs, and on which server. Nobody else's message ever reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) server: ServerId,
    pub(super) subject: Subject,
    pub(super) client: ClientId,
}

impl Owner {
    pub(super) fn of(server: &Server, principal: &Principal) -> Self {
        Self { server: server.id, subject: principal.subject.clone(), client: principal.client_id.clone() }
    }
}

/// One running program.
pub(super) struct Child {
    pub(super) owner: Owner,
    pub(super) program: Program,
    pub(super) kind: Kind,
    desk: Desk,
    input: mpsc::Sender<Wish>,
    stop: CancellationToken,
    gone: CancellationToken,
    patience: Duration,
}

impl Child {
    /// Starts the program. `leave` is called when it serves no longer, `forget` when nothing of it runs any more.
    pub(super) fn start(
        kind: Kind,
        program: &Program,
        server: &Server,
        principal: &Principal,
        (bounds, secrets): (&Bounds, &Secrets),
    ) -> std::io::Result<(Arc<Self>, Upkeep)> {
        let (process, streams) = process::start(program, server, principal, secrets)?;
        let (input, unwritten) = mpsc::channel(UNWRITTEN);
        let bound = Bound { messages: bounds.queue_messages, bytes: bounds.queue_bytes };
        let child = Arc::new(Self {
            owner: Owner::of(server, principal),
            program: program.clone(),
            kind,
            desk: Desk::new(kind, bound),
            input,
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
            patience: bounds.patience,
        });
        let upkeep = Upkeep {
            child: Arc::clone(&child),
            process,
            streams,
            unwritten,
            server: server.name.to_string(),
            bounds: bounds.clone(),
        };
        Ok((child, upkeep))
    }

    /// Says something that is not answered. A program may be slow to read, so `last` is asked when nothing more is waited for
    /// (PC-45).
    pub(super) async fn tell(&self, line: Bytes, last: &mut impl LastWord) -> Result<(), Unposted> {
        self.desk.touch();
        let turn = match (tokio::time::timeout(self.patience, self.turn()).await, self.desk.ended()) {
            (Ok(Ok(turn)), None) => turn,
            (_, Some(end)) => return Err(StdioFailure::from(end).into()),
            (Ok(Err(ended)), None) => return Err(ended.into()),
            (Err(_), None) => return Err(StdioFailure::TimedOut.into()),
        };
        let permit = last.word().await.map_err(Unposted::Refused)?;
        let said = turn.say(line, permit);
        match self.desk.ended() {
            None => Ok(said?),
            Some(end) => Err(StdioFailure::from(end).into()),
        }
    }

    /// Returns when what is said next is written next.
    async fn turn(&self) -> Result<Turn, StdioFailure> {
        let (wish, granted) = turn::wish();
        self.input.send(wish).await.map_err(|_| StdioFailure::Ended)?;
        granted.await.map_err(|_| StdioFailure::Ended)
    }

    /// Asks something. What comes is in the flight.
    pub(super) async fn ask(
        self: &Arc<Self>,
        line: Bytes,
        call: &CallInfo,
        last: &mut impl LastWord,
    ) -> Result<Flight, AskRefused> {
        let slip = flight::slip(call).ok_or(StdioFailure::NotAMessage)?;
        let id = slip.id.clone();
        let (ticket, queue) = self.desk.admit(slip).map_err(|refused| match refused {
            Refused::Abandoned => AskRefused::Abandoned,
            Refused::DuplicateId => StdioFailure::DuplicateId.into(),
            Refused::DuplicateToken => StdioFailure::DuplicateToken.into(),
            Refused::Ended(end) => AskRefused::Gone(end.into()),
        })?;
        let mut flight = Flight::new(self, ticket, queue, id, call);
        let told = self.tell(line, last).await;
        if let Err(Unposted::Failed(StdioFailure::TimedOut)) = told {
            flight.count_silence();
        }
        told?;
        flight.is_said();
        Ok(flight)
    }

    /// The stream of what belongs to no request.
    pub(super) fn listen(&self) -> Option<queue::Receiver> {
        self.desk.listen()
    }

    pub(super) fn idle_since(&self) -> Option<tokio::time::Instant> {
        self.desk.idle_since()
    }

    pub(super) fn spoke(&self) -> Spoke {
        self.desk.spoke()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.desk.ended().is_some()
    }

    /// Lets the program end; see [`Self::gone`].
    pub(super) fn stop(&self) {
        self.desk.end(End::Stopped);
        self.stop.cancel();
    }

    /// Returns when nothing of the program runs any more.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

/// Why a question is not asked.
pub(super) enum AskRefused {
    /// An answer to a question with this id may still come.
    Abandoned,
    /// The program ended before anything was said to it.
    Gone(StdioFailure),
    /// Finally.
    Failed(Unposted),
}

impl<F: Into<Unposted>> From<F> for AskRefused {
    fn from(why: F) -> Self {
        Self::Failed(why.into())
    }
}

impl From<End> for StdioFailure {
    fn from(end: End) -> Self {
        match end {
            End::Exited | End::Idle | End::Stopped => Self::Ended,
            End::Garbled => Self::Garbled,
            End::Hung => Self::TimedOut,
        }
    }
}

/// Everything around a running program, until nothing of it runs.
pub(super) struct Upkeep {
    child: Arc<Child>,
    process: Process,
    streams: Streams,
    unwritten: mpsc::Receiver<Wish>,
    server: String,
    bounds: Bounds,
}

impl Upkeep {
    /// Runs until the program is gone. `leave` is called when it serves no longer.
    pub(super) async fn run(self, leave: impl FnOnce(End)) {
        let Self { child, process, streams, unwritten, server, bounds } = self;
        let diagnostics = tokio::spawn(process::log(streams.diagnostics, server.clone()));
        let mut reading = pin!(read(&child, streams.output, bounds.line_bytes));
        let why = tokio::select! {
            why = &mut reading => why,
            // What it said before it closed its input still counts.
            why = write(streams.input, unwritten) => {
                tokio::time::timeout(bounds.grace, reading).await.unwrap_or(why)
            }
            () = idle(&child, bounds.idle) => End::Idle,
            () = child.stop.cancelled() => End::Stopped,
        };
        child.desk.end(why);
        let why = child.desk.ended().unwrap_or(why);
        tracing::info!(server.name = %server, why = ?why, "a program ends");
        leave(why);
        process.end(bounds.grace).await;
        diagnostics.abort();
        child.gone.cancel();
    }
}

async fn read(child: &Child, mut output: BufReader<ChildStdout>, most: usize) -> End {
    loop {
        let line = match framing::read_line(&mut output, most).await {
            Line::End => return End::Exited,
            Line::TooLong => return End::Garbled,
            Line::Text(line) => Bytes::from(line),
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Ok(reply) = child.desk.route(line) else {
            return End::Garbled;
        };
        if let Some(reply) = reply {
            let _ = child.input.try_send(Wish::Say(reply));
        }
        if child.desk.hangs() {
            return End::Hung;
        }
    }
}

/// Closes the program's input when it returns or is dropped.
async fn write(mut input: ChildStdin, mut unwritten: mpsc::Receiver<Wish>) -> End {
    while let Some(wish) = unwritten.recv().await {
        let Some(line) = wish.granted().await else { continue };
        let mut ended = BytesMut::with_capacity(line.len() + 1);
        ended.extend_from_slice(&line);
        ended.extend_from_slice(b"\n");
        if input.write_all(&ended).await.is_err() || input.flush().await.is_err() {
            return End::Exited;
        }
    }
    End::Stopped
}

async fn idle(child: &Child, most: Duration) {
    loop {
        let now = tokio::time::Instant::now();
        let until = child.desk.idle_since().unwrap_or(now) + most;
        if until <= now {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}
