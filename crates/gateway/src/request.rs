//! One HTTP request from its first header to the last byte of its answer. Puts together everything below it.

pub(crate) mod authenticate;
pub(crate) mod batch;
pub(crate) mod cors;
pub(crate) mod deliver;
pub(crate) mod exchange;
pub(crate) mod metadata;
pub(crate) mod serve;
pub(crate) mod verbs;
