//! A permitted message on its way to the upstream and back, over HTTP or as lines of a program; with which credential.

pub(crate) mod assertion;
pub(crate) mod connections;
pub(crate) mod contract;
pub(crate) mod credential;
pub(crate) mod forward;
pub(crate) mod program;
pub(crate) mod stdio;
