//! What Portcullis remembers, on SQLite or PostgreSQL. It decides nothing.
//!
//! A write is a closure inside one transaction ([`Store::write`]). It may run again, so it does no I/O of its own, and it
//! cannot end without its audit event: its result is a [`Recorded`], which only [`Tx::record`] makes. Nothing is
//! acknowledged before COMMIT. What must happen once is one conditional statement, and the affected rows are the answer.

mod answered;
mod audit;
pub mod backup;
mod changes;
mod clients;
mod codes;
mod connection;
mod deployment;
mod endings;
mod engine;
mod error;
mod families;
mod feed;
mod gateways;
mod grants;
mod housekeeping;
mod keys;
mod lists;
mod migrations;
mod pins;
mod reader;
mod registry;
pub mod restore;
mod revocations;
mod row;
mod sessions;
mod settings;
mod statements;
mod store;
#[doc(hidden)]
pub mod testing;
mod tx;
mod upstream_clients;
mod upstream_connections;
mod users;
mod write;

pub use answered::{ANSWERED, Answered};
pub use audit::{AuditFilter, AuditOrder, AuditRecord};
pub use changes::UserChange;
pub use clients::{ClientKind, Inserted, NewClient, StoredClient};
pub use endings::Ended;
pub use error::{Error, Fault, OpenError};
pub use feed::{Change, ChangeKind, Heard};
pub use gateways::{Enrolling, GatewayKeys, NewGateway, StoredGateway};
pub use grants::{NewGrant, StoredGrant};
pub use keys::{KeyPurpose, StoredKey};
pub use lists::clients::{ClientSort, ListedClient};
pub use lists::grants::{GrantFilter, ListedGrant};
pub use lists::sessions::{ListedSession, SessionFilter};
pub use pins::{PinnedTool, Sighted};
pub use reader::{ReadHandle, Reader};
pub use registry::Registry;
pub use revocations::Place;
pub use store::Store;
pub use tx::{Recorded, Tx};
pub use upstream_connections::connecting::{Connecting, NewConnecting};
pub use upstream_connections::ending::Ending;
pub use upstream_connections::{ConnectionFilter, ConnectionState, NewConnection, Renewal, StoredConnection};
pub use users::{NewUser, StoredBrowserSession, StoredUser};
