//! Where mcpd is and how to prove who asks: what `settings` finds, in the words of the commands.

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
    let pick = |flag: &Option<String>, word: &str, variable: &str| {
        let given = flag.clone().map(|value| (value, word.to_owned()));
        given.or_else(|| {
            environment
                .set(variable)
                .map(|value| (value.to_owned(), variable.to_owned()))
        })
    };
    let (url, origin) = pick(&global.url, "--url", "MCPCTL_URL")
        .unwrap_or_else(|| ("http://127.0.0.1:3100".to_owned(), "the default".to_owned()));
    let token = pick(&global.token, "--token", "MCPCTL_TOKEN");
    Ok(Connection {
        url: url.trim_end_matches('/').to_owned(),
        origin,
        token: token.clone().map(|(token, _)| Redacted::new(token)),
        token_origin: token.map(|(_, origin)| origin),
    })
}
