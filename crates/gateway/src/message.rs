//! The messages themselves, as they stand in bodies, events and headers: read, compared, written. And whose a session
//! is, or a task.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod events;
pub(crate) mod headers;
pub(crate) mod owner;
pub(crate) mod rpc;
