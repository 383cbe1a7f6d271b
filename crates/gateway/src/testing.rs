//! What fuzzing feeds, and tests of many modules at once. Nothing but tests imports it.

#[cfg(test)]
mod confusion;
#[cfg(test)]
mod corpus;
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod readers;
