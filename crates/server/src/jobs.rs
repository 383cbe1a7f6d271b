//! What runs beside the requests.

pub(crate) mod endings;
pub(crate) mod housekeeping;
pub(crate) mod survey;
