//! The authority: endpoints of OAuth 2.1, one file each.

pub(crate) mod authorize;
pub(crate) mod client_auth;
pub(crate) mod consent;
pub(crate) mod cors;
pub(crate) mod error;
pub(crate) mod introspect;
pub(crate) mod jwks;
pub(crate) mod metadata;
pub(crate) mod mint;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod today;
pub(crate) mod token;
