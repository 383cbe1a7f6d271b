//! What of an answer is for its reader: items of lists, notices, and no cache that others read.

pub(crate) mod cache_scope;
pub(crate) mod list;
pub(crate) mod notices;
