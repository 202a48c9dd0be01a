//! What an instance is started from: a server's declaration with everything resolved that its container is made of.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::kit::Redacted;
use crate::resource::Server;

/// A declaration with its secret values, and what the runtime adds of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The declaration.
    pub server: Server,
    /// The values of the variables that come from secrets, by the variable's name.
    pub secrets: BTreeMap<String, Redacted<String>>,
    /// What the runtime's own settings make of it (the runner image, say), as a text that is compared and never read.
    pub setup: String,
}

impl Workload {
    /// The environment that the server gets, in the order of its declaration.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.server.env.iter().filter_map(|variable| {
            let name = variable.name.as_str();
            let value = match &variable.value {
                Some(value) => value,
                None => self.secrets.get(name)?.reveal(),
            };
            Some((name, value.as_str()))
        })
    }
}

impl Deref for Workload {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl From<Server> for Workload {
    /// A declaration that needs nothing else.
    fn from(server: Server) -> Self {
        Self {
            server,
            secrets: BTreeMap::new(),
            setup: String::new(),
        }
    }
}
