//! Kind `server`: one MCP server, where it comes from and how it runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::container::{
    ImagePullPolicy, Network, Resources, Security, Transport, Volume, check_resources, check_security, check_volumes,
};
use super::document::Problem;
use super::kind::{Declared, Reference};
use super::schema::{given, listed, not_both, one_of};
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
    /// How the server is spoken to: STDIO over its stdin and stdout, the others over HTTP, for which it needs a container.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "STDIO"))]
    pub transport: Transport,
    /// The port on which the server listens in its container, where it is spoken to over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub container_port: Option<u16>,
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
    /// Whose calls an instance answers: everybody's, or one session's alone. A server that asks its callers something
    /// (sampling, roots, elicitation) over stdio needs an instance for each session to know whom it asks.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "shared"))]
    pub isolation: Isolation,
    /// How a changed server replaces the running one: rolling starts the new one first, recreate stops the old one first.
    /// Where a volume is writable, it is always recreate.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "rolling"))]
    pub update: Update,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// What the container's processes are allowed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub security: Security,
    /// What the container may reach: default for the network of MCP servers and beyond, none for nothing at all.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "default"))]
    pub network: Network,
    /// When the image is pulled.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "IfNotPresent"))]
    pub image_pull_policy: ImagePullPolicy,
    /// Folders that outlive the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub volumes: Vec<Volume>,
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

/// Whose calls an instance answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Everybody's.
    #[default]
    Shared,
    /// Those of one session; each session has an instance of its own.
    Session,
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

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
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

    /// How a change replaces what runs: with a writable volume never two at a time, whatever is declared.
    #[must_use]
    pub fn effective_update(&self) -> Update {
        if self.volumes.iter().any(|volume| !volume.read_only) {
            Update::Recreate
        } else {
            self.update
        }
    }

    /// Whether it can't run but in a container.
    #[must_use]
    pub fn needs_container(&self) -> bool {
        self.docker_image.is_some() || self.transport != Transport::Stdio
    }

    fn check_transport(&self, problems: &mut Vec<Problem>) {
        let has_container = self.package_name.is_some() || self.docker_image.is_some();
        match (self.transport, self.container_port) {
            (Transport::Stdio, Some(_)) => problems.push(
                Problem::at_key("containerPort", "a server with transport STDIO has no port")
                    .hint("set transport: STREAMABLE_HTTP, or take containerPort out"),
            ),
            (Transport::Stdio, None) => {}
            (transport, _) if !has_container => problems.push(
                Problem::at("transport", format!("{transport} needs a container"))
                    .hint("give dockerImage or packageName, or transport STDIO"),
            ),
            (transport, None) => problems.push(
                Problem::at("", format!("containerPort is missing, and transport is {transport}"))
                    .hint("give the port on which the server listens in its container"),
            ),
            (..) => {}
        }
        if self.network == Network::None {
            if self.package_name.is_some() {
                problems.push(
                    Problem::at("network", "without a network the package can't be fetched")
                        .hint("put the package into an image of your own and give dockerImage"),
                );
            } else if self.transport != Transport::Stdio {
                problems.push(
                    Problem::at(
                        "network",
                        format!("without a network nobody reaches {}", self.transport),
                    )
                    .hint("use transport STDIO, which needs none"),
                );
            }
        }
    }
}

/// What [`Server::check`] says of everything but `env`, which a template has in another form.
pub(super) fn source_rules() -> Vec<Value> {
    let (package, image, command) = (given("packageName"), given("dockerImage"), listed("command"));
    let http = json!({"required": ["transport"], "properties": {"transport": {"enum": ["STREAMABLE_HTTP", "SSE"]}}});
    let closed = json!({"required": ["network"], "properties": {"network": {"const": "none"}}});
    let a_volume = json!({"type": "object", "properties": {
        "name": {"pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
        "hostPath": {"pattern": "^/"},
        "mountPath": {"pattern": "^/."},
    }, "oneOf": [given("name"), given("hostPath")], "errorMessage": "a volume has one source: name or hostPath"});
    vec![
        json!({
            "anyOf": [package, image, command],
            "errorMessage": "a server needs a source: packageName, dockerImage or command",
        }),
        not_both(
            &package,
            &image,
            "a server has one source: packageName and dockerImage are two",
        ),
        not_both(
            &package,
            &command,
            "a server has one source: arguments of a package go to args",
        ),
        json!({"if": listed("args"), "then": package}),
        json!({"if": http, "then": {"allOf": [given("containerPort"), {"anyOf": [package, image]}]},
               "else": {"not": given("containerPort")}}),
        json!({"if": closed, "then": {"not": {"anyOf": [package, http]}}}),
        json!({"properties": {
            "packageName": {"pattern": "^[^-\\s]\\S*$"},
            "args": {"items": {"pattern": "^[^\\u0000]*$"}},
            "command": {"items": {"pattern": "^[^\\u0000]*$"}, "prefixItems": [{"minLength": 1}]},
            "resources": {"properties": {"memory": {"pattern": "^[0-9]+(b|B|k|K|Ki|m|M|Mi|g|G|Gi)?$"}}},
            "security": {"properties": {
                "addCapabilities": {"uniqueItems": true, "items": {"pattern": "^[A-Z_]+$", "not": {"const": "ALL"}}},
                "user": {"pattern": "^[A-Za-z0-9_.][A-Za-z0-9_.-]*(:[A-Za-z0-9_.-]*[A-Za-z0-9_.-])?$"},
            }},
            "volumes": {"items": a_volume},
        }}),
    ]
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
        self.check_transport(&mut problems);
        check_resources(&self.resources, &mut problems);
        check_security(&self.security, &mut problems);
        check_volumes(&self.volumes, &mut problems);
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

    fn rules() -> Vec<Value> {
        let mut variable = one_of("value", "valueFrom", "a variable has one source: value or valueFrom");
        variable["type"] = "object".into();
        variable["properties"] = json!({"name": {"pattern": "^[^=\\u0000]*$"}, "value": {"pattern": "^[^\\u0000]*$"}});
        let mut rules = source_rules();
        rules.push(json!({"properties": {"env": {"items": variable}}}));
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(fields: &Value) -> Vec<String> {
        let document = crate::resource::Document::new("server/a".parse().unwrap(), fields);
        document
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|problem| problem.to_string())
            .collect()
    }

    #[test]
    fn what_a_container_is_made_of_is_checked() {
        let image = |more: &Value| {
            let mut it = json!({"dockerImage": "a"});
            it.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            problems(&it)
        };
        for (fields, want) in [
            (json!({"transport": "SSE", "containerPort": 80}), ""),
            (
                json!({"transport": "STREAMABLE_HTTP"}),
                "containerPort is missing, and transport is STREAMABLE_HTTP",
            ),
            (
                json!({"containerPort": 80}),
                "containerPort: a server with transport STDIO has no port",
            ),
            (
                json!({"transport": "SSE", "containerPort": 80, "network": "none"}),
                "network: without a network nobody reaches SSE",
            ),
            (json!({"network": "none"}), ""),
            (json!({"resources": {"cpus": 0.5, "memory": "256m", "pids": 0}}), ""),
            (
                json!({"resources": {"memory": "lots"}}),
                "resources.memory: \"lots\" is not a memory size",
            ),
            (
                json!({"resources": {"memory": "1m"}}),
                "resources.memory: 1m is less than 6m, the least that a container has",
            ),
            (
                json!({"security": {"addCapabilities": ["NET_RAW"], "user": "1000:app"}}),
                "",
            ),
            (
                json!({"security": {"addCapabilities": ["net_raw"]}}),
                "security.addCapabilities[0]: not a capability",
            ),
            (
                json!({"security": {"addCapabilities": ["ALL"]}}),
                "security.addCapabilities[0]: ALL would undo that containers have none",
            ),
            (
                json!({"security": {"addCapabilities": ["KILL", "KILL"]}}),
                "security.addCapabilities[1]: KILL is added twice",
            ),
            (json!({"security": {"user": "a b"}}), "security.user: not a user"),
            (json!({"security": {"user": "a:"}}), "security.user: not a user"),
            (
                json!({"volumes": [{"name": "a", "mountPath": "/a"}, {"hostPath": "/b", "mountPath": "/b"}]}),
                "",
            ),
            (
                json!({"volumes": [{"mountPath": "/a"}]}),
                "volumes[0]: a volume needs a source",
            ),
            (
                json!({"volumes": [{"name": "a", "hostPath": "/a", "mountPath": "/a"}]}),
                "volumes[0].hostPath: a volume has one source, and name is given too",
            ),
            (
                json!({"volumes": [{"name": "A", "mountPath": "/a"}]}),
                "volumes[0].name: not a name",
            ),
            (
                json!({"volumes": [{"hostPath": "a/..", "mountPath": "/a"}]}),
                "volumes[0].hostPath: not the absolute path of a folder",
            ),
            (
                json!({"volumes": [{"name": "a", "mountPath": "/a/../b"}]}),
                "volumes[0].mountPath: not the absolute path of a folder below /",
            ),
            (
                json!({"volumes": [{"name": "a", "mountPath": "/"}]}),
                "volumes[0].mountPath: not the absolute path of a folder below /",
            ),
            (
                json!({"volumes": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a/"}]}),
                "volumes[1].mountPath: /a/ is mounted twice",
            ),
        ] {
            assert_eq!(image(&fields).join("; "), want, "{fields}");
        }
        assert_eq!(
            problems(&json!({"packageName": "a", "network": "none"})),
            ["network: without a network the package can't be fetched"]
        );
        assert_eq!(
            problems(&json!({"command": ["a"], "transport": "SSE", "containerPort": 1})),
            ["transport: SSE needs a container"]
        );
        for later in ["externalUrl", "healthCheck", "suspend", "imagePullSecret"] {
            let told = problems(&json!({"dockerImage": "a", later: "x"}));
            assert!(told[0].contains("unknown field"), "{told:?}");
        }
    }

    #[test]
    fn defaults_are_not_written() {
        let told = json!({
            "dockerImage": "a", "transport": "STDIO", "network": "default", "imagePullPolicy": "IfNotPresent", "volumes": [],
            "resources": {"pids": 512}, "security": {"readOnlyRoot": false, "addCapabilities": [], "allowNewPrivileges": false},
        });
        let server: Server = serde_json::from_value(told).unwrap();
        assert_eq!(serde_json::to_value(&server).unwrap(), json!({"dockerImage": "a"}));
    }
}
