//! What Portcullis remembers, on SQLite or PostgreSQL. It decides nothing.
//!
//! A write is a closure inside one transaction ([`Store::write`]). It may run again, so it does no I/O of its own, and it
//! cannot end without its audit event: its result is a [`Recorded`], which only [`Tx::record`] makes. Nothing is
//! acknowledged before COMMIT. What must happen once is one conditional statement, and the affected rows are the answer.

mod audit;
mod clients;
mod codes;
mod connection;
mod engine;
mod error;
mod families;
mod feed;
mod grants;
mod housekeeping;
mod keys;
mod migrations;
mod reader;
mod registry;
mod revocations;
mod row;
mod sessions;
mod settings;
mod statements;
mod store;
#[doc(hidden)]
pub mod testing;
mod tx;
mod users;
mod write;

pub use clients::{ClientKind, Inserted, NewClient, StoredClient};
pub use error::{Error, Fault, OpenError};
pub use feed::{Change, ChangeKind};
pub use grants::StoredGrant;
pub use keys::{KeyPurpose, StoredKey};
pub use reader::{ReadHandle, Reader};
pub use registry::Registry;
pub use store::Store;
pub use tx::{Recorded, Tx};
pub use users::{NewUser, StoredBrowserSession, StoredUser};
