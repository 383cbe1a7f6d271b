//! Refusals of unidentified callers: counted per reason and server, never recorded one by one (PC-51).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counters; reasons are fixed words and servers are registered ones, so there are few.
#[derive(Default)]
pub(crate) struct Strangers {
    counts: Mutex<BTreeMap<(&'static str, String), u64>>,
}

impl Strangers {
    pub(crate) fn count(&self, reason: &'static str, server: Option<&str>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (reason, server.unwrap_or_default().to_owned());
        *counts.entry(key).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<(&'static str, String), u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
