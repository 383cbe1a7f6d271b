//! What is remembered: so many bytes in all, and a quarter of them for one subject. Where that is not enough the oldest of
//! whoever holds most goes, so that nobody makes the gateway forget what others asked.

use super::{Key, Question};
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::Subject;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most questions that one id stands for: clients should use it once, and begin anew all the same. Of more, none is remembered.
pub(super) const MOST_OF_ONE_ID: usize = 8;

/// What an id takes beside its texts, and a question beside its own; about.
const ENTRY: usize = 256;
const QUESTION: usize = 128;

/// Questions, by what they are asked under.
pub(super) struct Memory {
    most: usize,
    taken: usize,
    /// In order, so that those of one session stand together.
    entries: BTreeMap<Arc<Key>, Entry>,
    by: HashMap<Arc<Subject>, Part>,
    /// How often something was remembered.
    count: u64,
}

/// What one id stands for.
struct Entry {
    who: Arc<Subject>,
    number: u64,
    bytes: usize,
    /// Where an id stood for several, nobody knows which of them something answers: all of them have to be allowed. Where it
    /// stood for too many, there are none.
    questions: Vec<Arc<Question>>,
}

/// One subject's part of it.
#[derive(Default)]
struct Part {
    bytes: usize,
    /// The oldest first.
    keys: BTreeMap<u64, Arc<Key>>,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: 0, entries: BTreeMap::new(), by: HashMap::new(), count: 0 }
    }

    pub(super) fn of(&self, key: &Key) -> Vec<Arc<Question>> {
        self.entries.get(key).map(|entry| entry.questions.clone()).unwrap_or_default()
    }

    pub(super) fn remember(&mut self, key: Key, who: &Subject, question: Arc<Question>) {
        let questions = match self.forget(&key) {
            None => vec![question],
            Some(all) if all.is_empty() || all.contains(&question) => all,
            Some(all) if all.len() == MOST_OF_ONE_ID => Vec::new(),
            Some(mut all) => {
                all.push(question);
                all
            }
        };
        self.insert(Arc::new(key), who, questions);
        while self.by.get(who).is_some_and(|part| part.bytes > self.most / 4) {
            self.forget_oldest(who);
        }
        while self.taken > self.most
            && let Some((who, _)) = self.by.iter().max_by_key(|(_, part)| part.bytes)
        {
            let who = Arc::clone(who);
            self.forget_oldest(&who);
        }
    }

    /// The session is over: its ids stand for nothing any more.
    pub(super) fn forget_session(&mut self, server: ServerId, session: &str) {
        let first = (server, session.to_owned(), String::new());
        let its_own = self.entries.range::<Key, _>(first..).map(|(key, _)| key);
        let its_own = its_own.take_while(|key| key.0 == server && key.1 == session);
        let its_own: Vec<_> = its_own.map(Arc::clone).collect();
        for key in its_own {
            self.forget(&key);
        }
    }

    fn insert(&mut self, key: Arc<Key>, who: &Subject, questions: Vec<Arc<Question>>) {
        let who =
            self.by.get_key_value(who).map_or_else(|| Arc::new(who.clone()), |(who, _)| Arc::clone(who));
        let bytes = bytes_of(&key, &who, &questions);
        let number = self.count;
        self.count += 1;
        self.taken += bytes;
        let part = self.by.entry(Arc::clone(&who)).or_default();
        part.bytes += bytes;
        part.keys.insert(number, Arc::clone(&key));
        self.entries.insert(key, Entry { who, number, bytes, questions });
    }

    /// What it stood for.
    fn forget(&mut self, key: &Key) -> Option<Vec<Arc<Question>>> {
        let Entry { who, number, bytes, questions } = self.entries.remove(key)?;
        self.taken -= bytes;
        if let Some(part) = self.by.get_mut(&who) {
            part.bytes -= bytes;
            part.keys.remove(&number);
            if part.keys.is_empty() {
                self.by.remove(&who);
            }
        }
        Some(questions)
    }

    fn forget_oldest(&mut self, who: &Subject) {
        let oldest = self.by.get(who).and_then(|part| part.keys.first_key_value());
        if let Some(key) = oldest.map(|(_, key)| Arc::clone(key)) {
            self.forget(&key);
        }
    }
}

fn bytes_of((_, session, id): &Key, who: &Subject, questions: &[Arc<Question>]) -> usize {
    let name = match who {
        Subject::External { subject, .. } => subject.len(),
        Subject::Agent(_) | Subject::User(_) => 0,
    };
    let questions = questions.iter().map(|question| QUESTION + question.length()).sum::<usize>();
    ENTRY + session.len() + id.len() + name + questions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::call::Aim;
    use bytes::Bytes;

    const KIB: usize = 1024;

    fn who(name: &str) -> Subject {
        Subject::Agent(name.parse().unwrap())
    }

    fn key(session: &str, id: usize) -> Key {
        (ServerId::from_bytes([1; 16]), session.to_owned(), id.to_string())
    }

    fn long() -> Arc<Question> {
        let message = Some(Bytes::from(vec![b'x'; 16 * KIB]));
        Arc::new(Question { aim: Aim::CallTool("t".repeat(16 * KIB)), message })
    }

    /// How many of these ids of the session are remembered.
    fn left(memory: &Memory, session: &str, ids: std::ops::Range<usize>) -> usize {
        ids.filter(|id| !memory.of(&key(session, *id)).is_empty()).count()
    }

    #[test]
    fn dos_05_one_caller_has_a_quarter_and_makes_nobody_be_forgotten() {
        let mut memory = Memory::new(1024 * KIB);
        memory.remember(key("theirs", 0), &who("cli_one"), long());
        for id in 0..1000 {
            memory.remember(key("many", id), &who("cli_two"), long());
            assert!(memory.taken <= 256 * KIB + 40 * KIB, "{id}");
        }
        assert_eq!(left(&memory, "theirs", 0..1), 1);
        assert_eq!((left(&memory, "many", 0..993), left(&memory, "many", 993..1000)), (0, 7), "the newest");
        for other in 0..20 {
            for id in 0..20 {
                memory.remember(key(&format!("s{other}"), id), &who(&format!("cli_{other}x")), long());
                assert!(memory.taken <= 1024 * KIB);
            }
        }
        assert_eq!(left(&memory, "theirs", 0..1), 1, "those who hold most make room");
    }

    #[test]
    fn dos_05_what_is_short_or_nothing_is_counted_too_and_what_is_over_is_given_back() {
        let mut memory = Memory::new(16 * KIB);
        for id in 0..100 {
            let question = || Arc::new(Question { aim: Aim::List, message: None });
            memory.remember(key("s", id), &who("cli_one"), question());
            memory.remember(key("s2", id), &who("cli_one"), question());
        }
        assert!(left(&memory, "s", 0..100) <= 8 && memory.entries.len() <= 16);
        assert_eq!(left(&memory, "s", 99..100), 1);
        memory.forget_session(ServerId::from_bytes([1; 16]), "s");
        assert_eq!(
            (left(&memory, "s", 0..100), left(&memory, "s2", 99..100)),
            (0, 1),
            "of that session alone"
        );
        memory.forget_session(ServerId::from_bytes([2; 16]), "s2");
        assert_eq!(left(&memory, "s2", 99..100), 1, "of that server alone");
        memory.forget_session(ServerId::from_bytes([1; 16]), "s2");
        assert!(memory.taken == 0 && memory.by.is_empty() && memory.entries.is_empty());
    }
}
