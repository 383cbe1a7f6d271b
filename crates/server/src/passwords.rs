//! Passwords of people: argon2id, a few at a time.

/// Slow hashes, a few at a time.
#[derive(Debug, Default)]
pub struct Passwords {}
