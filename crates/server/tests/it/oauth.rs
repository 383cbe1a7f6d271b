//! The authority, by the paths of its endpoints.

pub(crate) mod actors;
mod authorize;
mod consent;
mod introspect;
mod metadata;
mod refresh;
mod register;
mod revoke;
mod token;
