//! For owners of an MCP server: who is calling, and what to answer when it is nobody.
//!
//! - [`verifier`]: the text of an access token becomes a [`Principal`](portcullis_domain::principal::Principal).
//! - [`external`]: the same of another issuer (PC-06).
//! - [`assertion`]: behind the Portcullis gateway, the signed assertion becomes a [`Caller`](assertion::Caller).
//! - [`bearer`]: finds the token in the `Authorization` header, strictly.
//! - [`challenge`] and [`metadata`]: the 401 and 403 answers, and the document that they point to (RFC 9728).
//!
//! Nothing here does I/O or reads a clock: keys and the present moment are arguments.
#![warn(missing_docs)]

pub mod assertion;
pub mod bearer;
pub mod bounded;
pub mod challenge;
pub mod external;
pub mod metadata;
pub mod verifier;
