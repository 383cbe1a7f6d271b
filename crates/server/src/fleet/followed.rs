//! How the fleet file that is followed stands, for whoever is called at night: `/readyz`, `/metrics` and the admin API say it, and
//! `doctor` asks for it.

use portcullis_oauth::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What is known of the file; `None`: none is followed.
#[derive(Debug, Default)]
pub struct Followed(Mutex<Option<Known>>);

#[derive(Clone, Debug)]
struct Known {
    path: PathBuf,
    trouble: Option<(Timestamp, String)>,
    remarks: Vec<String>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Standing {
    /// Which file.
    pub file: PathBuf,
    /// Whether it was applied as it stands. If not, the fleet is what it was before.
    pub applied: bool,
    /// Since when it is not, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub since: Option<Timestamp>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// What in it does not do what its author may expect.
    pub remarks: Vec<String>,
}

impl Followed {
    /// The fleet is what this file says.
    pub(super) fn applied(&self, path: PathBuf, remarks: Vec<String>) {
        *self.lock() = Some(Known { path, trouble: None, remarks });
    }

    /// It cannot be taken; the fleet stays as it was. Whether that is news: it was well before, or wrong for another reason.
    pub(super) fn wrong(&self, says: &str, now: Timestamp) -> bool {
        let mut known = self.lock();
        let Some(known) = known.as_mut() else { return true };
        let (since, is_news) = match &known.trouble {
            None => (now, true),
            Some((since, before)) => (*since, before != says),
        };
        known.trouble = Some((since, says.to_owned()));
        is_news
    }

    /// The file is again what was taken last.
    pub(super) fn back(&self) {
        if let Some(known) = self.lock().as_mut() {
            known.trouble = None;
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Option<Standing> {
        let known = self.lock().clone()?;
        let (since, says) = known.trouble.unzip();
        Some(Standing { file: known.path, applied: says.is_none(), since, says, remarks: known.remarks })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
