//! Guessing is slowed down.

/// How often somebody may try.
#[derive(Debug, Default)]
pub struct Throttle {}
