//! How much there may be: of memory, of calls in a minute and at once, of figures about strangers. Counts
//! whoever is handed in.

pub(crate) mod rates;
pub(crate) mod room;
pub(crate) mod slots;
pub(crate) mod strangers;
