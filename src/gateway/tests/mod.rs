//! The gateway over real HTTP, with servers that misbehave behind it.
#![expect(clippy::disallowed_methods, reason = "servers, clients and calls are tasks")]

mod attach;
mod bounds;
mod calls;
mod eras;
mod follow;
mod hostile;
mod http;
mod lists;
mod lives;
mod metered;
mod pairs;
mod peers;
mod rmcp;
mod world;
