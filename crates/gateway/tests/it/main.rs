//! The gateway as its callers and its upstreams see it: through the real router, with real signed tokens, in front of an
//! upstream that records every byte it gets. Each test first shows that the good request is served, then changes one thing.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without must be there")]

mod batches;
mod conditions;
mod feed;
mod forgeries;
mod http;
mod issuers;
mod lists;
mod lone;
mod parsing;
mod pins;
mod policy;
mod programs;
mod rates;
mod sessions;
mod streams;
mod tokens;
mod upstreams;
mod wire;
mod world;
