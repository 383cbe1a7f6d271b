//! Who waits for what from one program: answers by id, notifications by what they are about, the rest by session.

use super::message::{About, Key, Message, NotJsonRpc};
use super::queue::{self, Bound, Frame};
use super::rests::Spoke;
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Why a program serves no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ended by itself, or closed one of its streams.
    Exited,
    /// It wrote something that is no message.
    Garbled,
    /// It lets too many requests lie.
    Hung,
    /// Nobody needed it for a while.
    Idle,
    /// It was told to.
    Stopped,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A request with this id was given up, and its answer may still come.
    Abandoned,
    /// A request with this id waits for its answer.
    DuplicateId,
    /// A request with this progress token waits for its answer.
    DuplicateToken,
    /// The program serves no longer.
    Ended(End),
}

/// One request as the desk needs to know it.
pub(super) struct Slip {
    pub(super) id: Key,
    pub(super) token: Option<Key>,
    /// What to tell the program when nobody waits any more; some requests cannot be cancelled.
    pub(super) cancel: Option<Bytes>,
}

/// Tells two requests apart that had the same id, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

pub(super) struct Desk {
    state: Mutex<State>,
    bound: Bound,
}

struct State {
    waiting: HashMap<Key, Waiting>,
    /// Progress tokens of waiting requests.
    tokens: HashMap<Key, Key>,
    /// Given up: an answer that still comes is for nobody.
    abandoned: HashSet<Key>,
    mailbox: Option<Mailbox>,
    tickets: u64,
    /// Requests in a row that were given up without the program saying anything at all.
    silences: u32,
    last_used: Instant,
    spoke: Spoke,
    ended: Option<End>,
}

struct Waiting {
    ticket: Ticket,
    token: Option<Key>,
    cancel: Option<Bytes>,
    queue: queue::Sender,
}

/// Messages for the client that belong to no request of its own.
#[derive(Default)]
struct Mailbox {
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    listener: Option<queue::Sender>,
}

/// More given-up requests than this, and the program hangs.
const MOST_ABANDONED: usize = 1024;

impl Desk {
    /// For a program that serves a session, or for one that has no use for messages out of the blue.
    pub(super) fn new(kind: Kind, bound: Bound) -> Self {
        let state = State {
            waiting: HashMap::new(),
            tokens: HashMap::new(),
            abandoned: HashSet::new(),
            mailbox: match kind {
                Kind::Session => Some(Mailbox::default()),
                Kind::Stateless => None,
            },
            tickets: 0,
            silences: 0,
            last_used: Instant::now(),
            spoke: Spoke::Never,
            ended: None,
        };
        Self { state: Mutex::new(state), bound }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request in, before it is sent.
    pub(super) fn admit(&self, slip: Slip) -> Result<(Ticket, queue::Receiver), Refused> {
        let mut state = self.state();
        state.may_admit(&slip)?;
        state.tickets += 1;
        state.last_used = Instant::now();
        let ticket = Ticket(state.tickets);
        let (sender, receiver) = queue::queue(self.bound);
        if let Some(token) = &slip.token {
            state.tokens.insert(token.clone(), slip.id.clone());
        }
        let waiting = Waiting { ticket, token: slip.token, cancel: slip.cancel, queue: sender };
        state.waiting.insert(slip.id, waiting);
        Ok((ticket, receiver))
    }

    /// Takes what the program said to whom it is for. What comes back must be said to the program.
    pub(super) fn route(&self, line: Bytes) -> Result<Option<Bytes>, NotJsonRpc> {
        let message = Message::read(&line)?;
        let mut state = self.state();
        state.silences = 0;
        state.spoke = Spoke::Once;
        Ok(match message {
            Message::Answer { to: Some(id), good } => state.answer(&id, line, good),
            Message::Answer { to: None, .. } => state.answer_to_nobody(),
            Message::Notification { about: Some(about) } => state.notice(about, line, self.bound),
            Message::Notification { about: None } | Message::Request => {
                state.post(line, self.bound);
                None
            }
        })
    }

    /// Whether the program said anything yet.
    pub(super) fn spoke(&self) -> Spoke {
        self.state().spoke
    }

    /// Nobody waits for this request any more. What comes back may be said to the program.
    pub(super) fn abandon(&self, id: &Key, ticket: Ticket) -> Option<Bytes> {
        let mut state = self.state();
        state.last_used = Instant::now();
        let current = state.waiting.get(id).is_some_and(|waiting| waiting.ticket == ticket);
        if current { state.give_up(id) } else { None }
    }

    /// This request was not sent after all.
    pub(super) fn withdraw(&self, id: &Key, ticket: Ticket) {
        let mut state = self.state();
        if state.waiting.get(id).is_some_and(|waiting| waiting.ticket == ticket) {
            state.take(id);
        }
    }

    /// A request ran out of time. Whether the program said anything since the last one did.
    pub(super) fn count_silence(&self) -> u32 {
        let mut state = self.state();
        state.silences += 1;
        state.silences
    }

    /// The stream of everything that belongs to no request; it takes the place of the stream before.
    pub(super) fn listen(&self) -> Option<queue::Receiver> {
        let mut state = self.state();
        state.last_used = Instant::now();
        if state.ended.is_some() {
            return None;
        }
        let mailbox = state.mailbox.as_mut()?;
        let (mut sender, receiver) = queue::queue(self.bound);
        mailbox.kept_bytes = 0;
        for kept in mailbox.kept.drain(..) {
            // What is kept fits, because it was kept within the same bound.
            let _ = sender.push(Frame::Notice(kept));
        }
        mailbox.listener = Some(sender);
        Some(receiver)
    }

    /// The program serves no longer: every stream ends.
    pub(super) fn end(&self, why: End) {
        let mut state = self.state();
        state.ended.get_or_insert(why);
        state.waiting.clear();
        state.tokens.clear();
        state.abandoned.clear();
        state.mailbox = None;
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.state().ended
    }

    /// Something was said to the program.
    pub(super) fn touch(&self) {
        self.state().last_used = Instant::now();
    }

    pub(super) fn hangs(&self) -> bool {
        self.state().abandoned.len() > MOST_ABANDONED
    }

    /// Since when nobody has needed the program; `None` while somebody does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        let listened = state
            .mailbox
            .as_ref()
            .and_then(|mailbox| mailbox.listener.as_ref())
            .is_some_and(|listener| !listener.is_closed());
        (state.waiting.is_empty() && !listened).then_some(state.last_used)
    }
}

/// Whether there is somebody to whom messages out of the blue can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Session,
    Stateless,
}

impl State {
    fn may_admit(&self, slip: &Slip) -> Result<(), Refused> {
        if let Some(end) = self.ended {
            return Err(Refused::Ended(end));
        }
        if self.waiting.contains_key(&slip.id) {
            return Err(Refused::DuplicateId);
        }
        if slip.token.as_ref().is_some_and(|token| self.tokens.contains_key(token)) {
            return Err(Refused::DuplicateToken);
        }
        if self.abandoned.contains(&slip.id) {
            return Err(Refused::Abandoned);
        }
        Ok(())
    }

    fn take(&mut self, id: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(id)?;
        if let Some(token) = &waiting.token {
            self.tokens.remove(token);
        }
        self.last_used = Instant::now();
        Some(waiting)
    }

    fn give_up(&mut self, id: &Key) -> Option<Bytes> {
        let waiting = self.take(id)?;
        self.abandoned.insert(id.clone());
        waiting.cancel
    }

    fn answer(&mut self, id: &Key, body: Bytes, good: bool) -> Option<Bytes> {
        match self.take(id) {
            Some(mut waiting) => {
                // A caller that left, or whose queue is full, gets none: its stream ends without an answer.
                let _ = waiting.queue.push(Frame::Answer { body, good });
            }
            None => {
                if !self.abandoned.remove(id) {
                    tracing::debug!("a program answered what nobody asked");
                }
            }
        }
        None
    }

    /// The program could not read a message. With one request waiting it is clear which.
    fn answer_to_nobody(&mut self) -> Option<Bytes> {
        let mut ids = self.waiting.keys();
        if let (Some(id), None) = (ids.next().cloned(), ids.next()) {
            // Its queue closes without an answer.
            self.take(&id);
        }
        None
    }

    fn notice(&mut self, about: About, line: Bytes, bound: Bound) -> Option<Bytes> {
        match about {
            About::Progress(token) => match self.tokens.get(&token).cloned() {
                Some(id) => self.tell(&id, line),
                None => None,
            },
            About::Subscription(id) => self.tell(&id, line),
            About::Stopped(id) if self.waiting.contains_key(&id) => {
                let told = self.tell(&id, line);
                self.take(&id);
                told
            }
            // In a session, the program gives up a request of its own.
            About::Stopped(_) => {
                self.post(line, bound);
                None
            }
        }
    }

    fn tell(&mut self, id: &Key, line: Bytes) -> Option<Bytes> {
        let waiting = self.waiting.get_mut(id)?;
        match waiting.queue.push(Frame::Notice(line)) {
            Ok(()) => None,
            // Gone or too slow: this stream ends, and no other suffers.
            Err(queue::Refused) => self.give_up(id),
        }
    }

    fn post(&mut self, line: Bytes, bound: Bound) {
        let Some(mailbox) = &mut self.mailbox else {
            tracing::debug!("a program spoke out of the blue in a revision without sessions");
            return;
        };
        if let Some(listener) = &mut mailbox.listener {
            if listener.push(Frame::Notice(line.clone())) == Ok(()) {
                return;
            }
            mailbox.listener = None;
        }
        if mailbox.kept.len() < bound.messages && mailbox.kept_bytes + line.len() <= bound.bytes {
            mailbox.kept_bytes += line.len();
            mailbox.kept.push_back(line);
        } else {
            tracing::debug!("a session's mailbox is full; a message is dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { messages: 4, bytes: 10_000 };

    fn slip(id: &str) -> Slip {
        Slip {
            id: Key::Text(id.to_owned()),
            token: Some(Key::Text(format!("token of {id}"))),
            cancel: Some(Bytes::from(format!("cancel {id}"))),
        }
    }

    fn line(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn progress(id: &str) -> Bytes {
        line(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"token of {id}"}}}}"#
        ))
    }

    fn answer(id: &str) -> Bytes {
        line(&format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{}}}}"#))
    }

    #[tokio::test]
    async fn stdio_answers_and_progress_find_their_request() {
        let desk = Desk::new(Kind::Stateless, BOUND);
        let (_, mut a) = desk.admit(slip("a")).unwrap();
        let (_, mut b) = desk.admit(slip("b")).unwrap();
        for message in [progress("b"), answer("a"), answer("b"), answer("stranger")] {
            assert_eq!(desk.route(message), Ok(None));
        }
        assert_eq!(a.next().await, Some(Frame::Answer { body: answer("a"), good: true }));
        assert_eq!(a.next().await, None);
        assert_eq!(b.next().await, Some(Frame::Notice(progress("b"))));
        assert_eq!(b.next().await, Some(Frame::Answer { body: answer("b"), good: true }));
        assert!(desk.idle_since().is_some());
    }

    #[test]
    fn stdio_ids_and_tokens_in_flight_are_not_taken_twice() {
        let desk = Desk::new(Kind::Stateless, BOUND);
        let _a = desk.admit(slip("a")).unwrap();
        assert_eq!(desk.admit(slip("a")).err(), Some(Refused::DuplicateId));
        let same_token = Slip { id: Key::Number(1), ..slip("a") };
        assert_eq!(desk.admit(same_token).err(), Some(Refused::DuplicateToken));
        desk.route(answer("a")).unwrap();
        assert!(desk.admit(slip("a")).is_ok());
    }

    #[test]
    fn stdio_what_was_not_sent_owes_no_answer() {
        let desk = Desk::new(Kind::Stateless, BOUND);
        let (first, _receiver) = desk.admit(slip("a")).unwrap();
        desk.withdraw(&slip("a").id, first);
        assert!(desk.idle_since().is_some());
        let _second = desk.admit(slip("a")).unwrap();
        desk.withdraw(&slip("a").id, first);
        assert_eq!(desk.admit(slip("a")).err(), Some(Refused::DuplicateId), "the ticket was the first one's");
    }

    #[tokio::test]
    async fn stdio_a_late_answer_reaches_nobody_else() {
        let desk = Desk::new(Kind::Stateless, BOUND);
        let (first, receiver) = desk.admit(slip("a")).unwrap();
        drop(receiver);
        let id = slip("a").id;
        assert_eq!(desk.abandon(&id, first), Some(line("cancel a")));
        assert_eq!(desk.admit(slip("a")).err(), Some(Refused::Abandoned));
        desk.route(answer("a")).unwrap();
        let (_, mut second) = desk.admit(slip("a")).unwrap();
        // The first one's ticket is worth nothing now.
        assert_eq!(desk.abandon(&id, first), None);
        desk.route(answer("a")).unwrap();
        assert!(matches!(second.next().await, Some(Frame::Answer { .. })));
    }

    #[tokio::test]
    async fn stdio_a_slow_reader_loses_its_stream_and_nobody_elses() {
        let desk = Desk::new(Kind::Stateless, BOUND);
        let (_, mut slow) = desk.admit(slip("slow")).unwrap();
        let (_, mut quick) = desk.admit(slip("quick")).unwrap();
        for _ in 0..4 {
            assert_eq!(desk.route(progress("slow")), Ok(None));
        }
        assert_eq!(desk.route(progress("slow")), Ok(Some(line("cancel slow"))));
        assert_eq!(desk.route(progress("slow")), Ok(None));
        desk.route(answer("quick")).unwrap();
        assert!(matches!(quick.next().await, Some(Frame::Answer { .. })));
        for _ in 0..4 {
            assert!(matches!(slow.next().await, Some(Frame::Notice(_))));
        }
        assert_eq!(slow.next().await, None);
    }

    #[tokio::test]
    async fn stdio_a_session_keeps_a_few_messages_for_its_stream() {
        let out_of_the_blue = line(r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#);
        let stateless = Desk::new(Kind::Stateless, BOUND);
        assert_eq!(stateless.route(out_of_the_blue.clone()), Ok(None));
        assert!(stateless.listen().is_none());

        let desk = Desk::new(Kind::Session, BOUND);
        for _ in 0..9 {
            desk.route(out_of_the_blue.clone()).unwrap();
        }
        let mut stream = desk.listen().unwrap();
        assert!(desk.idle_since().is_none());
        for _ in 0..4 {
            assert_eq!(stream.next().await, Some(Frame::Notice(out_of_the_blue.clone())));
        }
        let mut newer = desk.listen().unwrap();
        assert_eq!(stream.next().await, None);
        desk.route(out_of_the_blue.clone()).unwrap();
        assert_eq!(newer.next().await, Some(Frame::Notice(out_of_the_blue)));
        desk.end(End::Stopped);
        assert_eq!(newer.next().await, None);
        assert!(desk.listen().is_none());
    }

    #[tokio::test]
    async fn stdio_an_ended_program_ends_what_waits() {
        let desk = Desk::new(Kind::Session, BOUND);
        let (_, mut waiting) = desk.admit(slip("a")).unwrap();
        assert_eq!(desk.route(line("garbage")), Err(NotJsonRpc));
        desk.end(End::Garbled);
        desk.end(End::Stopped);
        assert_eq!(waiting.next().await, None);
        assert_eq!(desk.admit(slip("b")).err(), Some(Refused::Ended(End::Garbled)));
    }
}
