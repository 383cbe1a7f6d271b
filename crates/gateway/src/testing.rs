//! What fuzzing feeds, and tests of many modules at once. May import everything; nothing but tests imports it.

#[cfg(test)]
mod confusion;
#[cfg(test)]
mod corpus;
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod readers;
