//! What is known: the snapshot with its doors, revocations, who calls, and which sessions and tasks are whose. Decides
//! nothing.

pub(crate) mod caller;
pub(crate) mod disbelief;
pub(crate) mod door;
pub(crate) mod external;
pub(crate) mod feed_error;
pub(crate) mod sessions;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod tasks;
