//! People's connections to a third party that is real: a second Portcullis, with a server of the Rust SDK behind it, over http.

mod alone;
mod ends;
mod flow;
mod hostile;
mod renewal;
mod world;
