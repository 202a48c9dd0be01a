//! Kind `project`: the servers that share one MCP endpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kit::is_like;

use super::document::Problem;
use super::kind::{Declared, Reference};
use super::server::{Server, is_default};

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
    /// How tools and prompts are named: server for SERVER__TOOL, none for the server's own names. With none, a name that two
    /// servers have is shown of neither.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "server"))]
    pub tool_prefix: ToolPrefix,
    /// Which tools are shown and can be called.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tools: ToolRules,
}

/// How a project names tools and prompts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolPrefix {
    /// SERVER__TOOL: no name changes when another server joins.
    #[default]
    Server,
    /// The server's own names.
    None,
}

/// Which tools a project shows. A pattern is a whole name as the project shows it, in which * stands for any text and ? for
/// one character.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolRules {
    /// Patterns of the tools that are shown, as time__*; where there is none, all are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 256)))]
    pub allow: Vec<String>,
    /// Patterns of the tools that are not shown, whatever allow says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 256)))]
    pub deny: Vec<String>,
    /// Whether a tool that is new or has changed waits until somebody approves it.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "off"))]
    pub lock: ToolLock,
}

/// Whether tools wait for approval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolLock {
    /// They do not; a change is told.
    #[default]
    Off,
    /// Only a tool that is exactly as .mcpctl/tools.lock says is shown and can be called.
    Strict,
}

impl ToolRules {
    /// Whether the rules let a tool through, by the name that the project shows.
    #[must_use]
    pub fn let_through(&self, shown: &str) -> bool {
        let named_by = |patterns: &[String]| patterns.iter().any(|pattern| is_like(shown, pattern));
        (self.allow.is_empty() || named_by(&self.allow)) && !named_by(&self.deny)
    }

    /// Whether they can hide anything.
    #[must_use]
    pub fn shape(&self) -> bool {
        *self != Self::default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_and_no_allow_lets_all_through() {
        let rules = |allow: &[&str], deny: &[&str]| ToolRules {
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
            ..ToolRules::default()
        };
        for (allow, deny, name, want) in [
            (&[][..], &[][..], "time__now", true),
            (&[], &["time__*"], "time__now", false),
            (&["time__now"], &[], "time__now", true),
            (&["time__now"], &[], "time__now_", false),
            (&["now"], &[], "time__now", false),
            (&["git__*", "time__*"], &["*__delete*"], "git__log", true),
            (&["git__*", "time__*"], &["*__delete*"], "git__delete_branch", false),
            (&["time__now"], &["time__now"], "time__now", false),
            (&["time__no?"], &[], "time__now", true),
            (&["*"], &["?"], "x", false),
        ] {
            assert_eq!(rules(allow, deny).let_through(name), want, "{allow:?} {deny:?} {name}");
        }
        assert!(!rules(&[], &[]).shape() && rules(&["*"], &[]).shape());
    }
}
