//! What is written down about calls: decisions and outcomes in the spool, figures, spans.

pub(crate) mod account;
pub(crate) mod figures;
pub(crate) mod ledger;
pub(crate) mod spans;
pub(crate) mod spool;
