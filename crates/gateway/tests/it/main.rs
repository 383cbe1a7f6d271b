//! The gateway as its callers and its upstreams see it: through the real router, with real signed tokens, in front of an
//! upstream that records every byte it gets. Each test first shows that the good request is served, then changes one thing.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without must be there")]

mod at_once;
mod batches;
mod certificates;
mod conditions;
mod credentials;
mod feed;
mod forgeries;
mod health;
mod hostile;
mod http;
mod issuers;
mod lines;
mod lists;
mod lone;
mod notices;
mod parsing;
mod pins;
mod policy;
mod programs;
mod rates;
mod sdk;
mod sessions;
mod streams;
mod tasks;
mod tokens;
mod upstreams;
mod websockets;
mod wire;
mod world;
