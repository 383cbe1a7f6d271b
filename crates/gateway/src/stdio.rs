//! Upstreams that are programs, spoken to over stdio.
