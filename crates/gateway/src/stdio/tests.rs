//! Programs that are really started.
