//! How many calls are under way: of one subject, which is bounded (STRM-04), and in all, which a shutdown waits for.
//! By subject, whatever the client: whoever can register clients has as many of them as they like.

use portcullis_domain::principal::{Principal, Subject};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Counts calls under way.
#[derive(Clone)]
pub(crate) struct Slots {
    most: usize,
    taken: Arc<Mutex<HashMap<Subject, usize>>>,
    total: watch::Sender<usize>,
}

/// One call under way; over when dropped.
pub(crate) struct Slot {
    who: Subject,
    slots: Slots,
}

impl Slots {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default(), total: watch::Sender::new(0) }
    }

    /// Room for one more call of `principal`, if there is.
    pub(crate) fn take(&self, principal: &Principal) -> Option<Slot> {
        let who = principal.subject.clone();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(who.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(taken);
        self.total.send_modify(|total| *total += 1);
        Some(Slot { who, slots: self.clone() })
    }

    /// How many calls are under way.
    pub(crate) fn total(&self) -> u64 {
        *self.total.borrow() as u64
    }

    /// Returns when no call is under way.
    pub(crate) async fn all_over(&self) {
        // The sender is ours, so the channel cannot close.
        let mut total = self.total.subscribe();
        let _closed = total.wait_for(|total| *total == 0).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.who);
            }
        }
        drop(taken);
        self.slots.total.send_modify(|total| *total -= 1);
    }
}
