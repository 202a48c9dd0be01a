//! The HTTP door: routes, status codes, and the daemon that composes all lower rooms.
//!
//! Every request passes `gate`: Host and Origin, then who asks, then one decision. What `need` does not know is not
//! there. Handlers only translate.
#![expect(
    clippy::disallowed_methods,
    reason = "this room starts the daemon: its files and its tasks"
)]

mod ask;
mod backup;
mod body;
mod daemon;
#[cfg(test)]
mod daemon_tests;
mod dev;
mod error;
mod feed;
mod gate;
mod health;
mod items;
mod logs;
mod metrics;
mod need;
mod past;
mod plans;
#[cfg(test)]
mod push_tests;
mod records;
mod resources;
mod router;
mod serve;
mod standing;
#[cfg(test)]
mod standing_tests;
mod tools;
mod webhook;

use std::sync::Arc;

use crate::access::{AllowedHosts, Tokens};
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::kit::Redacted;
use crate::repo::Source;

pub use daemon::{Daemon, DaemonError, main};
pub use dev::{DevPlace, dev};
pub use error::ApiError;

/// What handlers share.
#[derive(Clone)]
struct App(Arc<Shared>);

struct Shared {
    engine: Engine,
    gateway: Gateway,
    source: Source,
    tokens: Tokens,
    allowed: AllowedHosts,
    stop: tokio_util::sync::CancellationToken,
    /// The public half of the SSH key for remotes.
    deploy_key: String,
    /// The ref that is applied: a push of another one is passed over.
    branch: String,
    /// What git servers sign webhooks with.
    webhook_secret: Option<Redacted<String>>,
    /// Places for the bodies of webhooks.
    hooks: tokio::sync::Semaphore,
    /// When a refusal of nobody in particular was written down last, and how many have been passed over since.
    refusals: std::sync::Mutex<Option<(tokio::time::Instant, u64)>>,
}

/// The largest body of a request to the API, in bytes: an `apply` of many documents.
const LARGEST_BODY: usize = 16 << 20;
