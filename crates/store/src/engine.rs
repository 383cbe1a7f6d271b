//! The two engines. What differs between them ends here.

pub(crate) mod postgres;
pub(crate) mod sqlite;
