//! How others are reached: connections and their health, certificates, what issuers say, and the credential that is shown
//! instead of the caller's token.

pub(crate) mod breaker;
pub(crate) mod connector;
pub(crate) mod credential;
pub(crate) mod fetch;
pub(crate) mod means;
pub(crate) mod target;
pub(crate) mod tls;
