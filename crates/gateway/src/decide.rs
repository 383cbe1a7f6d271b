//! Whether a call may be: permits and for how long they count, pins, circumstances, and everything that is said where it may
//! not. Sends nothing.

pub(crate) mod authorize;
pub(crate) mod circumstances;
pub(crate) mod denial;
pub(crate) mod permitted;
pub(crate) mod pins;
pub(crate) mod refusal;
pub(crate) mod refused;
