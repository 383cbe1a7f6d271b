//! Lists that upstreams sent lately. An upstream says the same to nearly everybody, but for the id of the request that it
//! answers: what is the same, byte by byte, as what was read before need not be read again. Nor need be looked for again
//! what somebody may see of it who looks from the same standpoint, by the same policy and the same pins.

use super::page::Page;
use super::{Reader, Undecodable};
use crate::known::snapshot::Known;
use crate::message::answer::is_response_to;
use bytes::Bytes;
use portcullis_domain::id::ServerId;
use portcullis_domain::policy::Standpoint;
use serde_json::value::RawValue;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What all of them together may take.
const ALL_BYTES: usize = 4 * 1024 * 1024;

/// A longer one is read each time.
const LONGEST: usize = 512 * 1024;

/// Most standpoints that are remembered of one list.
const VIEWS: usize = 8;

/// The lists of all servers.
#[derive(Default)]
pub(crate) struct Lists(Mutex<Generations>);

/// The young, and what they were when there were too many of them. What is asked for is young again.
#[derive(Default)]
struct Generations {
    young: HashMap<Key, Arc<Kept>>,
    young_bytes: usize,
    old: HashMap<Key, Arc<Kept>>,
}

/// Two lists of one server that have the same length take each other's place.
type Key = (ServerId, usize);

/// One list.
struct Kept {
    text: Bytes,
    id: Range<usize>,
    page: Page,
    views: Mutex<VecDeque<View>>,
}

/// What is to be seen from one standpoint.
struct View {
    by: Basis,
    shown: Arc<[bool]>,
}

/// Everything that the view of a list depends on, besides the list.
struct Basis {
    /// Policy and pins.
    known: Weak<Known>,
    drifts: u64,
    standpoint: Standpoint,
}

impl Lists {
    /// The one answer to the request `id`, with every list in it filtered.
    pub(crate) fn filtered(
        &self,
        answer: &Bytes,
        id: &RawValue,
        reader: &Reader<'_>,
        (known, server): (&Arc<Known>, ServerId),
    ) -> Result<Bytes, Undecodable> {
        let key = answer.len().checked_sub(id.get().len()).map(|length| (server, length));
        if let Some(kept) = key.and_then(|key| self.find(key)).filter(|kept| kept.is_same(answer, id.get())) {
            return Ok(kept.shown_to(reader, id.get(), known));
        }
        if !is_response_to(answer, id) {
            return Err(Undecodable::Garbled);
        }
        let text = std::str::from_utf8(answer).map_err(|_| Undecodable::Garbled)?;
        let page = Page::read(text)?;
        let place = page.id().filter(|place| text.get(place.start..place.end) == Some(id.get())).cloned();
        let (Some(key), Some(place), true) = (key, place, answer.len() <= LONGEST) else {
            let shown = page.shown(text, reader);
            return Ok(page.written(answer, &shown, None).into());
        };
        let kept = Arc::new(Kept {
            // A copy: the answer may be a small part of what was received.
            text: Bytes::copy_from_slice(answer),
            id: place,
            page,
            views: Mutex::default(),
        });
        let body = kept.shown_to(reader, id.get(), known);
        self.keep(key, kept);
        Ok(body)
    }

    fn find(&self, key: Key) -> Option<Arc<Kept>> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lists.old.remove(&key) {
            lists.keep(key, kept);
        }
        lists.young.get(&key).map(Arc::clone)
    }

    fn keep(&self, key: Key, kept: Arc<Kept>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(key, kept);
    }
}

impl Generations {
    fn keep(&mut self, key: Key, kept: Arc<Kept>) {
        if self.young_bytes + kept.bytes() > ALL_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += kept.bytes();
        if let Some(before) = self.young.insert(key, kept) {
            self.young_bytes -= before.bytes();
        }
    }
}

impl Kept {
    /// About what it takes.
    fn bytes(&self) -> usize {
        self.text.len() + self.page.bytes()
    }

    /// Whether `answer` says the same to the request `id`: then it differs in nothing but that id.
    fn is_same(&self, answer: &[u8], id: &str) -> bool {
        let (before, after) = (&self.text[..self.id.start], &self.text[self.id.end..]);
        let rest = answer.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        rest == Some(id.as_bytes())
    }

    fn shown_to(&self, reader: &Reader<'_>, id: &str, known: &Arc<Known>) -> Bytes {
        let by = Basis {
            known: Arc::downgrade(known),
            drifts: reader.look.drifts(),
            standpoint: reader.standpoint.clone(),
        };
        let shown = self.seen_from(&by).unwrap_or_else(|| self.look(reader, by));
        self.page.written(&self.text, &shown, Some(id)).into()
    }

    fn seen_from(&self, by: &Basis) -> Option<Arc<[bool]>> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.iter().find(|view| view.by.is(by)).map(|view| Arc::clone(&view.shown))
    }

    fn look(&self, reader: &Reader<'_>, by: Basis) -> Arc<[bool]> {
        // It was text when it was read.
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        let shown: Arc<[bool]> = self.page.shown(text, reader).into();
        // What has to be told is found each time, by everybody who looks.
        if reader.look.found_nothing() && !self.page.is_personal() {
            let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            views.truncate(VIEWS - 1);
            views.push_front(View { by, shown: Arc::clone(&shown) });
        }
        shown
    }
}

impl Basis {
    fn is(&self, other: &Self) -> bool {
        let Self { known, drifts, standpoint } = self;
        known.ptr_eq(&other.known) && *drifts == other.drifts && *standpoint == other.standpoint
    }
}
