//! Declarations and settings as container configurations, as tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::kit::{HttpTransport, Redacted};
use crate::record::Workload;
use crate::resource::Server;
use crate::settings::{ContainerAccess, ContainerSettings};

use super::labels::Marks;
use super::spec::{CA_BUNDLE, CA_VARIABLES, CACHE, Making, TMPFS, VERSION, container, setup};

fn settings() -> ContainerSettings {
    ContainerSettings {
        node_runner_image: None,
        python_runner_image: None,
        runner_env: Redacted::new(vec![]),
        ca_bundle: None,
        runner_cache: None,
        network: "mcp-servers".to_owned(),
        access: ContainerAccess::Publish,
        volume_roots: vec![],
    }
}

fn with(change: impl FnOnce(&mut ContainerSettings)) -> ContainerSettings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

fn server(value: &Value) -> Workload {
    let server: Server = serde_json::from_value(value.clone()).unwrap();
    server.into()
}

/// What the engine is sent, without what is the same for all.
fn made(value: &Value, settings: &ContainerSettings) -> Value {
    let marks = Marks {
        instance: "time/0".parse().unwrap(),
        spec: "5a17.00".to_owned(),
        http: None::<(HttpTransport, u16)>,
    };
    let host_paths = BTreeMap::from([("/srv/a".to_owned(), PathBuf::from("/mnt/a"))]);
    let making = Making {
        cluster: "one",
        marks: &marks,
        settings,
        host_paths: &host_paths,
        network: "mcp-servers",
    };
    serde_json::to_value(container(&server(value), &making)).unwrap()
}

/// Pitfall: a package name used as an image reference.
#[test]
fn each_source_has_its_image_and_its_words() {
    let other = with(|settings| {
        settings.node_runner_image = Some("r/node:1".to_owned());
        settings.python_runner_image = Some("r/python:1".to_owned());
    });
    let (node, python) = (
        format!("mcpctl/node-runner:{VERSION}"),
        format!("mcpctl/python-runner:{VERSION}"),
    );
    for (value, settings, image, words) in [
        (json!({"dockerImage": "a:1"}), &settings(), "a:1", Value::Null),
        (json!({"dockerImage": "a:1"}), &other, "a:1", Value::Null),
        (
            json!({"dockerImage": "a:1", "command": ["run", "x y"]}),
            &settings(),
            "a:1",
            json!(["run", "x y"]),
        ),
        (
            json!({"packageName": "@a/b@1", "args": ["-v"]}),
            &settings(),
            node.as_str(),
            json!(["npx", "-y", "@a/b@1", "-v"]),
        ),
        (
            json!({"packageName": "a==1.0", "runtime": "python"}),
            &settings(),
            python.as_str(),
            json!(["uvx", "a@1.0"]),
        ),
        (
            json!({"packageName": "x"}),
            &other,
            "r/node:1",
            json!(["npx", "-y", "x"]),
        ),
        (
            json!({"command": ["tool"]}),
            &settings(),
            node.as_str(),
            json!(["tool"]),
        ),
        (
            json!({"command": ["tool"], "runtime": "python"}),
            &other,
            "r/python:1",
            json!(["tool"]),
        ),
    ] {
        let made = made(&value, settings);
        assert_eq!(
            (made["Image"].as_str(), &made["Entrypoint"]),
            (Some(image), &words),
            "{value}"
        );
        assert!(made["Cmd"].is_null());
    }
}

/// Pitfalls: a closed stdin; `StdinOnce`; a default CPU quota; `docker logs` of a stdio server is its protocol.
#[test]
fn what_a_container_has_where_nothing_is_said() {
    let made = made(&json!({"dockerImage": "a"}), &settings());
    assert_eq!(
        made,
        json!({
            "Image": "a", "Env": [], "Tty": false, "OpenStdin": true, "StdinOnce": false,
            "Labels": {
                "mcpctl.io/cluster": "one", "mcpctl.io/server": "time", "mcpctl.io/instance": "time/0", "mcpctl.io/spec": "5a17.00",
            },
            "HostConfig": {
                "Init": true, "RestartPolicy": {"Name": "no"}, "LogConfig": {"Type": "none", "Config": {}},
                "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges:true"], "ReadonlyRootfs": false, "PidsLimit": 512,
                "NetworkMode": "mcp-servers", "Mounts": [],
            },
        })
    );
}

#[test]
fn what_is_asked_for_is_given() {
    let value = json!({
        "dockerImage": "a", "network": "none",
        "resources": {"cpus": 1.5, "memory": "256m", "pids": 0},
        "security": {"readOnlyRoot": true, "addCapabilities": ["NET_RAW"], "allowNewPrivileges": true, "user": "1:2"},
        "volumes": [
            {"name": "data", "mountPath": "/data"},
            {"hostPath": "/srv/a", "mountPath": "/a", "readOnly": true},
        ],
    });
    let made = made(&value, &settings());
    let host = &made["HostConfig"];
    assert_eq!(made["User"], "1:2");
    for (field, want) in [
        ("NanoCpus", json!(1_500_000_000)),
        ("Memory", json!(256 << 20)),
        ("MemorySwap", json!(256 << 20)),
        ("PidsLimit", Value::Null),
        ("CapAdd", json!(["NET_RAW"])),
        ("SecurityOpt", Value::Null),
        ("ReadonlyRootfs", json!(true)),
        ("Tmpfs", json!({"/tmp": TMPFS})),
        (
            "Mounts",
            json!([
                {"Type": "volume", "Source": "mcpctl-one-data", "Target": "/data", "ReadOnly": false},
                {"Type": "bind", "Source": "/mnt/a", "Target": "/a", "ReadOnly": true},
            ]),
        ),
    ] {
        assert_eq!(host[field], want, "{field}");
    }
}

#[test]
fn servers_that_listen_are_published_on_loopback_or_not_at_all() {
    let value = json!({"dockerImage": "a", "transport": "SSE", "containerPort": 80});
    let published = made(&value, &settings());
    assert_eq!(published["OpenStdin"], false);
    assert_eq!(published["ExposedPorts"], json!({"80/tcp": {}}));
    let host = &published["HostConfig"];
    assert_eq!(
        host["PortBindings"],
        json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]})
    );
    assert_eq!(
        host["LogConfig"],
        json!({"Type": "local", "Config": {"max-size": "10m", "max-file": "2"}})
    );
    let within = made(&value, &with(|settings| settings.access = ContainerAccess::Network));
    assert!(within["HostConfig"]["PortBindings"].is_null());
}

/// What runners have in common is theirs alone, and a server's own variables win.
#[test]
fn runners_get_certificates_a_cache_and_variables() {
    let settings = with(|settings| {
        settings.ca_bundle = Some("/etc/ca.pem".into());
        settings.runner_cache = Some("/var/cache/mcp".into());
        settings.runner_env = Redacted::new(vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
    });
    let value = json!({"packageName": "x", "env": [{"name": "B", "value": "own"}], "security": {"readOnlyRoot": true}});
    let made_here = made(&value, &settings);
    let env: Vec<&str> = made_here["Env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    for wanted in ["A=1", "B=own", "UV_CACHE_DIR=/cache/uv", "npm_config_cache=/cache/npm"] {
        assert!(env.contains(&wanted), "{wanted} in {env:?}");
    }
    for name in CA_VARIABLES {
        assert!(
            env.contains(&format!("{name}={CA_BUNDLE}").as_str()),
            "{name} in {env:?}"
        );
    }
    let host = &made_here["HostConfig"];
    assert_eq!(
        host["Mounts"],
        json!([
            {"Type": "bind", "Source": "/etc/ca.pem", "Target": CA_BUNDLE, "ReadOnly": true},
            {"Type": "bind", "Source": "/var/cache/mcp", "Target": CACHE, "ReadOnly": false},
        ])
    );
    assert_eq!(host["Tmpfs"], json!({"/tmp": TMPFS, "/home/mcp": TMPFS}));
    let image = made(&json!({"dockerImage": "a"}), &settings);
    assert_eq!(
        (&image["Env"], &image["HostConfig"]["Mounts"]),
        (&json!([]), &json!([]))
    );
}

/// Settings that define a container are part of what is compared; credentials stay out of the text.
#[test]
fn the_setup_changes_with_what_it_describes() {
    let base = settings();
    let text = |value: &Value, settings: &ContainerSettings| setup(&server(value), settings);
    let (package, image) = (json!({"packageName": "x"}), json!({"dockerImage": "a"}));
    let web = json!({"dockerImage": "a", "transport": "SSE", "containerPort": 1});
    let credentials = with(|it| it.runner_env = Redacted::new(vec![("T".to_owned(), "hunter2".to_owned())]));
    for (changed, moves) in [
        (
            with(|it| it.node_runner_image = Some("r".to_owned())),
            [true, false, false],
        ),
        (with(|it| it.python_runner_image = Some("r".to_owned())), [false; 3]),
        (credentials.clone(), [true, false, false]),
        (with(|it| it.ca_bundle = Some("/c".into())), [true, false, false]),
        (with(|it| it.runner_cache = Some("/c".into())), [true, false, false]),
        (with(|it| it.network = "other".to_owned()), [true; 3]),
        (with(|it| it.access = ContainerAccess::Network), [false, false, true]),
        (with(|it| it.volume_roots = vec!["/c".into()]), [false; 3]),
    ] {
        let moved = [&package, &image, &web].map(|value| text(value, &changed) != text(value, &base));
        assert_eq!(moved, moves, "{changed:?}");
    }
    assert!(!text(&package, &credentials).contains("hunter2"));
}
