//! Kind `server`: one MCP server, where it comes from and how it runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Problem;
use super::kind::{Declared, Reference};
use super::secret::Secret;

/// One MCP server. Exactly one of packageName, dockerImage and command says where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// What the server is for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub description: String,
    /// A package of npm or PyPI, as `@scope/name@1.2.3` or `name==1.2.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub package_name: Option<String>,
    /// Which runtime a package is for.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "node"))]
    pub runtime: PackageRuntime,
    /// Arguments of the package's program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 32768)))]
    pub args: Vec<String>,
    /// A container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub docker_image: Option<String>,
    /// The program and its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 32768)))]
    pub command: Vec<String>,
    /// How many instances run; 0 takes the server out of service.
    #[serde(default = "one_replica", skip_serializing_if = "is_one_replica")]
    #[schemars(range(min = 0, max = 10), extend("default" = 1))]
    pub replicas: u32,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvironmentVariable>,
    /// The longest a call may take, in seconds.
    #[serde(default = "call_timeout", skip_serializing_if = "is_call_timeout")]
    #[schemars(range(min = 1, max = 3600), extend("default" = 60))]
    pub timeout_seconds: u32,
    /// The longest a start may take until the server has answered, in seconds.
    #[serde(default = "start_timeout", skip_serializing_if = "is_start_timeout")]
    #[schemars(range(min = 1, max = 3600), extend("default" = 300))]
    pub start_timeout_seconds: u32,
    /// How a changed server replaces the running one: rolling starts the new one first, recreate stops the old one first.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "rolling"))]
    pub update: Update,
}

/// Which package registry and program start a package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PackageRuntime {
    /// npm, started by npx.
    #[default]
    Node,
    /// PyPI, started by uvx.
    Python,
}

/// How a changed server replaces the running one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// The new instance must answer before the old one is drained.
    #[default]
    Rolling,
    /// The old instance is stopped first.
    Recreate,
}

/// An environment variable of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentVariable {
    /// The variable's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub value: Option<String>,
    /// Where its value comes from, in place of a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueFrom {
    /// A value of a secret.
    pub secret_ref: SecretReference,
}

/// A value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretReference {
    /// The secret's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The key of the value in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Where a server comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// A package, started by npx or uvx.
    Package(&'a str),
    /// A container image.
    Image(&'a str),
    /// A program that is there already.
    Command,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const fn one_replica() -> u32 {
    1
}
const fn call_timeout() -> u32 {
    60
}
const fn start_timeout() -> u32 {
    300
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_one_replica(value: &u32) -> bool {
    *value == one_replica()
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_call_timeout(value: &u32) -> bool {
    *value == call_timeout()
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_start_timeout(value: &u32) -> bool {
    *value == start_timeout()
}

impl Server {
    /// Where the server comes from. A checked server has exactly one source; a command beside an image belongs to it.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        match (&self.package_name, &self.docker_image) {
            (Some(package), _) => Source::Package(package),
            (None, Some(image)) => Source::Image(image),
            (None, None) => Source::Command,
        }
    }
}

impl Declared for Server {
    const NAME: &'static str = "server";
    const PLURAL: &'static str = "servers";
    const ALIASES: &'static [&'static str] = &["srv"];

    fn check(&self) -> Vec<Problem> {
        let mut problems = vec![];
        match (&self.package_name, &self.docker_image, self.command.is_empty()) {
            (None, None, true) => problems.push(
                Problem::at("", "a server needs a source").hint("give one of packageName, dockerImage or command"),
            ),
            (Some(_), Some(_), _) => {
                problems.push(Problem::at_key(
                    "dockerImage",
                    "a server has one source, and packageName is given too",
                ));
            }
            (Some(_), None, false) => {
                problems.push(
                    Problem::at_key("command", "a server has one source, and packageName is given too")
                        .hint("arguments of the package's program go to args"),
                );
            }
            _ => {}
        }
        if self.package_name.is_none() && !self.args.is_empty() {
            problems.push(
                Problem::at_key("args", "args belong to packageName")
                    .hint("put the arguments behind the program in command"),
            );
        }
        if let Some(package) = &self.package_name
            && (package.starts_with('-') || package.chars().any(|c| c.is_whitespace() || c.is_control()))
        {
            problems.push(Problem::at("packageName", "not a package name"));
        }
        if self.command.first().is_some_and(String::is_empty) {
            problems.push(Problem::at("command[0]", "the program's name is empty"));
        }
        for (list, words) in [("args", &self.args), ("command", &self.command)] {
            for (n, _) in words.iter().enumerate().filter(|(_, word)| word.contains('\0')) {
                problems.push(Problem::at(
                    format!("{list}[{n}]"),
                    "a NUL character can't be passed to a program",
                ));
            }
        }
        for (n, variable) in self.env.iter().enumerate() {
            if variable.name.contains(['=', '\0']) {
                problems.push(Problem::at(
                    format!("env[{n}].name"),
                    "a variable's name has no = and no NUL character",
                ));
            }
            match (&variable.value, &variable.value_from) {
                (Some(_), Some(_)) => problems.push(Problem::at_key(
                    format!("env[{n}].valueFrom"),
                    format!("{} has one source, and value is given too", variable.name),
                )),
                (None, None) => problems.push(
                    Problem::at(format!("env[{n}]"), format!("{} has no value", variable.name))
                        .hint("give value, or valueFrom with a secretRef"),
                ),
                _ => {}
            }
            if variable.value.as_ref().is_some_and(|value| value.contains('\0')) {
                problems.push(Problem::at(
                    format!("env[{n}].value"),
                    "a variable's value has no NUL character",
                ));
            }
            if self.env[..n].iter().any(|earlier| earlier.name == variable.name) {
                problems.push(Problem::at(
                    format!("env[{n}].name"),
                    format!("{} is set twice", variable.name),
                ));
            }
        }
        problems
    }

    fn references(&self) -> Vec<Reference> {
        let variables = self.env.iter().enumerate();
        let named = variables.filter_map(|(n, variable)| Some((n, &variable.value_from.as_ref()?.secret_ref)));
        named
            .map(|(n, secret)| Reference {
                path: format!("env[{n}].valueFrom.secretRef.name"),
                kind: Secret::NAME,
                name: secret.name.clone(),
            })
            .collect()
    }
}
