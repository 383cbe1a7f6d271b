//! What of an answer is for its reader: items of lists, notices, and no cache that others read. May import decisions, and what
//! is below them.

pub(crate) mod cache_scope;
pub(crate) mod list;
pub(crate) mod notices;
