//! Values that travel through a browser and must come back as they left: sealed, so that nobody reads or changes them,
//! and so that a stranger who begins a flow costs us no row (DOS-02).

use crate::app::App;
use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_oauth::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A page may be open for so long before its form is sent (UI-15).
const LIFE: Duration = Duration::from_mins(10);

/// What a form of ours carries. `CONTEXT` keeps the value of one form from being sent to another.
pub(crate) trait Flow: Serialize + DeserializeOwned {
    /// Which form.
    const CONTEXT: &'static str;
}

#[derive(Serialize, Deserialize)]
struct Dated<T> {
    at: Timestamp,
    flow: T,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Returned<T> {
    /// As it left, in time.
    Fresh(T),
    /// As it left, too late.
    Stale(T),
}

impl<T> Returned<T> {
    /// The value, if it is in time.
    pub(crate) fn fresh(self) -> Option<T> {
        match self {
            Self::Fresh(flow) => Some(flow),
            Self::Stale(_) => None,
        }
    }
}

/// Seals `flow` for a hidden field.
pub(crate) fn seal<T: Flow>(app: &App, flow: &T, now: Timestamp) -> Result<String, Fault> {
    let plain = serde_json::to_vec(&Dated { at: now, flow }).map_err(|_| Fault::Shape("a sealed form"))?;
    let keys = app.keys.load();
    let sealed = keys.browser_seal.seal(T::CONTEXT, &plain, &mut app.entropy.rng())?;
    Ok(URL_SAFE_NO_PAD.encode(sealed))
}

/// Opens what [`seal`] made; `None` for anything else.
pub(crate) fn open<T: Flow>(app: &App, text: &str, now: Timestamp) -> Option<Returned<T>> {
    let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    let plain = app.keys.load().browser_seal.open(T::CONTEXT, &sealed).ok()?;
    let dated: Dated<T> = serde_json::from_slice(&plain).ok()?;
    // A page from the future was made before the clock was set back: as good as too old.
    if (dated.at + LIFE).has_passed(now) || dated.at > now + LIFE {
        Some(Returned::Stale(dated.flow))
    } else {
        Some(Returned::Fresh(dated.flow))
    }
}
