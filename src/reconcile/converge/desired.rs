//! What shall run: one entry an instance, and the mark by which a running life tells what it was started from.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::kit::{Digest, Name};
use crate::record::{Demand, InstanceName, Workload};
use crate::resource::Isolation;

/// One instance that shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Which instance.
    pub instance: InstanceName,
    /// What it is an instance of.
    pub server: Arc<Workload>,
    /// Why it can't be started, where it can't.
    pub blocked: Option<Blocked>,
}

/// Why an instance can't be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// It runs in a container only (an image, or HTTP), and the runtime has none.
    #[error("needs Docker")]
    NeedsDocker,
    /// A secret value that it needs can't be had. Whether what runs was started with the right value can't be told
    /// then: it is left alone and gets no calls.
    #[error("secret {0}")]
    Secret(String),
}

/// A declared server with what could be resolved of it.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its name.
    pub name: Name,
    /// What its instances are started from.
    pub server: Arc<Workload>,
    /// Why a secret value is missing, where one is.
    pub missing: Option<String>,
}

/// Server × replicas and what sessions have of their own (`demand`), in order of name and index. `images` says whether the
/// runtime can run container images.
pub fn desired(servers: impl IntoIterator<Item = Declaration>, images: bool, demand: &Demand) -> Vec<Desired> {
    let mut all: Vec<Desired> = servers
        .into_iter()
        .flat_map(|Declaration { name, server, missing }| {
            let blocked = if !images && server.needs_container() {
                Some(Blocked::NeedsDocker)
            } else {
                missing.map(Blocked::Secret)
            };
            let isolated = server.isolation == Isolation::Session && server.replicas > 0;
            let of_sessions = demand.get(&name).filter(|_| isolated).cloned().unwrap_or_default();
            (0..server.replicas).chain(of_sessions).map(move |index| Desired {
                instance: InstanceName {
                    server: name.clone(),
                    index,
                },
                server: Arc::clone(&server),
                blocked: blocked.clone(),
            })
        })
        .collect();
    all.sort_by(|a, b| a.instance.cmp(&b.instance));
    all
}

/// The fields that define what runs. Description, replicas, time limits, the update strategy and when images are pulled
/// don't: changing them restarts nothing.
fn defining(server: &Workload) -> [(&'static str, Value); 13] {
    // The order of variables means nothing to a process.
    let mut variables: Vec<(&str, &str)> = server.environment().collect();
    variables.sort_unstable();
    // The runtime of packages means nothing to a command.
    let runtime = server.package_name.as_ref().map(|_| server.runtime);
    [
        ("packageName", json!(server.package_name)),
        ("runtime", json!(runtime)),
        ("args", json!(server.args)),
        ("dockerImage", json!(server.docker_image)),
        ("command", json!(server.command)),
        ("transport", json!(server.transport)),
        ("containerPort", json!(server.container_port)),
        ("env", json!(variables)),
        ("resources", json!(server.resources)),
        ("security", json!(server.security)),
        ("network", json!(server.network)),
        ("volumes", json!(server.volumes)),
        ("mcpd's settings", json!(server.setup)),
    ]
}

fn digest(salt: &str, server: &Workload) -> Digest {
    let fields: Vec<(&str, Value)> = defining(server).into();
    Digest::of_parts([salt.as_bytes(), json!(fields).to_string().as_bytes()])
}

/// `SALT.DIGEST`: SHA-256 over a random salt (hex, made by the caller) and the canonical spec.
#[must_use]
pub fn spec_mark(salt: &str, desired: &Desired) -> String {
    format!("{salt}.{}", digest(salt, &desired.server))
}

/// Whether a life with this mark was started from the same spec. A mark that is none of ours matches nothing.
#[must_use]
pub fn matches(mark: &str, desired: &Desired) -> bool {
    mark.rsplit_once('.')
        .is_some_and(|(salt, found)| found == digest(salt, &desired.server).to_string())
}

/// The defining fields in which two servers differ, as `env` or `command, env`.
pub(super) fn difference(from: &Workload, to: &Workload) -> Option<String> {
    let fields: Vec<&str> = defining(from)
        .into_iter()
        .zip(defining(to))
        .filter(|((_, a), (_, b))| a != b)
        .map(|((name, _), _)| name)
        .collect();
    (!fields.is_empty()).then(|| fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(value: Value) -> Arc<Workload> {
        let server: crate::resource::Server = serde_json::from_value(value).unwrap();
        Arc::new(server.into())
    }

    fn declared(name: &str, value: Value) -> Declaration {
        Declaration {
            name: name.parse().unwrap(),
            server: server(value),
            missing: None,
        }
    }

    fn one(value: Value) -> Desired {
        let all = desired([declared("time", value)], true, &Demand::new());
        all.into_iter().next().unwrap()
    }

    /// What sessions have of their own runs beside the replicas, of a server that is declared so and in service.
    #[test]
    fn sessions_have_instances_of_their_own() {
        let demand = Demand::from([("time".parse().unwrap(), [1000, 1001].into())]);
        for (isolation, replicas, want) in [
            ("session", 1, &["time/0", "time/1000", "time/1001"][..]),
            ("session", 0, &[]),
            ("shared", 1, &["time/0"]),
        ] {
            let value = json!({"command": ["t"], "isolation": isolation, "replicas": replicas});
            let all = desired([declared("time", value)], true, &demand);
            let names: Vec<String> = all.iter().map(|one| one.instance.to_string()).collect();
            assert_eq!(names, want, "{isolation} {replicas}");
        }
    }

    #[test]
    fn desired_is_server_times_replicas() {
        let names = |images| {
            let servers = [
                declared("web", json!({"dockerImage": "nginx"})),
                declared(
                    "sse",
                    json!({"packageName": "x", "transport": "SSE", "containerPort": 80}),
                ),
                declared("git", json!({"command": ["git"], "replicas": 2})),
                declared("off", json!({"command": ["x"], "replicas": 0})),
            ];
            desired(servers, images, &Demand::new())
                .into_iter()
                .map(|d| {
                    format!(
                        "{} {}",
                        d.instance,
                        d.blocked.map_or_else(String::new, |why| why.to_string())
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(false),
            ["git/0 ", "git/1 ", "sse/0 needs Docker", "web/0 needs Docker"]
        );
        assert_eq!(names(true), ["git/0 ", "git/1 ", "sse/0 ", "web/0 "]);
    }

    /// Only what defines the running thing is marked: other changes restart nothing.
    #[test]
    fn marks_name_the_spec_and_nothing_else() {
        let base =
            one(json!({"command": ["a", "b"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}));
        let mark = spec_mark("5a17", &base);
        assert!(mark.starts_with("5a17."));
        assert_ne!(mark, spec_mark("5a18", &base).replace("5a18.", "5a17."));
        let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
        let turned = json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]);
        for (same, other) in [
            (
                true,
                json!({"command": ["a", "b"], "env": env, "description": "d", "replicas": 3}),
            ),
            (
                true,
                json!({"command": ["a", "b"], "env": env, "timeoutSeconds": 1, "startTimeoutSeconds": 1}),
            ),
            (
                true,
                json!({"command": ["a", "b"], "env": env, "update": "recreate", "runtime": "python"}),
            ),
            (true, json!({"command": ["a", "b"], "env": turned})),
            (
                true,
                json!({"command": ["a", "b"], "env": env, "imagePullPolicy": "Always", "resources": {"pids": 512}}),
            ),
            (
                false,
                json!({"command": ["a", "b"], "env": env, "resources": {"memory": "64m"}}),
            ),
            (
                false,
                json!({"command": ["a", "b"], "env": env, "security": {"readOnlyRoot": true}}),
            ),
            (false, json!({"command": ["a", "b"], "env": env, "network": "none"})),
            (
                false,
                json!({"command": ["a", "b"], "env": env, "volumes": [{"name": "a", "mountPath": "/a"}]}),
            ),
            (
                false,
                json!({"command": ["a", "b"], "env": env, "transport": "SSE", "containerPort": 1}),
            ),
            (false, json!({"command": ["a", "b"]})),
            (false, json!({"command": ["a b"], "env": env})),
            (false, json!({"command": ["a", "b"], "env": env, "dockerImage": "x"})),
            (false, json!({"packageName": "a", "args": ["b"], "env": env})),
        ] {
            assert_eq!(matches(&mark, &one(other.clone())), same, "{other}");
        }
        for bad in ["", ".", "5a17", "5a17.", "..", "5a17.zz"] {
            assert!(!matches(bad, &base), "{bad}");
        }
    }

    #[test]
    fn a_difference_is_named() {
        let named = |a: Value, b: Value| difference(&server(a), &server(b));
        assert_eq!(
            named(json!({"command": ["a"]}), json!({"command": ["a"], "replicas": 2})),
            None
        );
        assert_eq!(
            named(
                json!({"command": ["a"]}),
                json!({"command": ["b"], "env": [{"name": "A", "value": "1"}]})
            )
            .as_deref(),
            Some("command, env")
        );
        let package = |runtime: &str| json!({"packageName": "p", "runtime": runtime});
        assert_eq!(named(package("node"), package("python")).as_deref(), Some("runtime"));
    }
}
