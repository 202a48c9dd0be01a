//! Where mcpd is and how to prove who asks. The order of sources is `settings`' matter; this joins it to the flags.

use std::path::Path;

use crate::kit::Redacted;

use super::error::Failure;
use super::{Environment, Global};

/// An address, a token and where they come from.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The base address, without a slash at its end.
    pub url: String,
    /// Where the address comes from.
    pub origin: String,
    /// The token, where there is one.
    pub token: Option<Redacted<String>>,
    /// Where the token comes from.
    pub token_origin: Option<String>,
}

/// The connection that the flags and the environment ask for.
pub(super) fn resolve(global: &Global, environment: &Environment) -> Result<Connection, Failure> {
    todo_join(global, environment, Path::new("."))
}
