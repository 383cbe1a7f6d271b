//! The authority, by the paths of its endpoints.

pub(crate) mod actors;
mod authorize;
mod conditions;
mod consent;
mod ended;
mod introspect;
mod metadata;
mod refresh;
mod register;
mod registered;
mod revoke;
mod target;
mod token;
