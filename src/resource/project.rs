//! Kind `project`: the servers that share one MCP endpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::Problem;
use super::kind::{Declared, Reference};
use super::server::Server;

/// A set of servers behind one MCP endpoint, `/projects/NAME/mcp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Project {
    /// What the project is for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub description: String,
    /// Names of servers, in the order in which their tools are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(max = 63)))]
    pub servers: Vec<String>,
}

impl Declared for Project {
    const NAME: &'static str = "project";
    const PLURAL: &'static str = "projects";
    const ALIASES: &'static [&'static str] = &["proj"];

    fn check(&self) -> Vec<Problem> {
        self.servers
            .iter()
            .enumerate()
            .filter(|(n, name)| self.servers[..*n].contains(name))
            .map(|(n, name)| Problem::at(format!("servers[{n}]"), format!("server {name} is listed twice")))
            .collect()
    }

    fn references(&self) -> Vec<Reference> {
        self.servers
            .iter()
            .enumerate()
            .map(|(n, name)| Reference {
                path: format!("servers[{n}]"),
                kind: Server::NAME,
                name: name.clone(),
            })
            .collect()
    }

    fn rules() -> Vec<Value> {
        vec![json!({"properties": {"servers": {"uniqueItems": true}}})]
    }
}
