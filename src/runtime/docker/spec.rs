//! How a declaration and mcpd's settings become a container's configuration. Pure.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::kit::Digest;
use crate::record::Workload;
use crate::resource::{Network, PackageRuntime, Server, Source, Transport, parse_memory};
use crate::runtime::words::command_line;
use crate::settings::{ContainerAccess, ContainerSettings};

use super::labels::{Marks, labels, volume_name};

/// Where a bundle of certificates is in a runner's container.
pub(super) const CA_BUNDLE: &str = "/etc/mcpctl/ca-bundle.pem";
/// The variables that make node, Python, their package managers and curl trust it.
pub(super) const CA_VARIABLES: &[&str] = &[
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];
/// Where runners keep what they have fetched: npm and uv, each in a folder of its own.
pub(super) const CACHE: &str = "/cache";
const CACHE_VARIABLES: &[(&str, &str)] = &[("npm_config_cache", "/cache/npm"), ("UV_CACHE_DIR", "/cache/uv")];
/// The home of the runner images.
const HOME: &str = "/home/mcp";
/// Memory that is a folder. Programs are fetched into some of them and must be allowed to run.
pub(super) const TMPFS: &str = "rw,exec,nosuid,nodev,mode=1777,size=1g";
/// The version of the runner images that this mcpd builds.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a container is started from, and who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Image {
    /// One that is declared or set: pulled where it is missing.
    Named(String),
    /// The runner image of this version: built where it is missing.
    Built(PackageRuntime),
}

impl Image {
    /// The reference that the engine knows it by.
    pub fn reference(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Built(PackageRuntime::Node) => format!("mcpctl/node-runner:{VERSION}"),
            Self::Built(PackageRuntime::Python) => format!("mcpctl/python-runner:{VERSION}"),
        }
    }
}

/// The image of a server. A package's name is never one.
pub(super) fn image(server: &Server, settings: &ContainerSettings) -> Image {
    if let Source::Image(image) = server.source() {
        return Image::Named(image.to_owned());
    }
    let set = match server.runtime {
        PackageRuntime::Node => &settings.node_runner_image,
        PackageRuntime::Python => &settings.python_runner_image,
    };
    set.clone().map_or(Image::Built(server.runtime), Image::Named)
}

/// What mcpd's own settings make of a server, as a text that is compared: where it changes, containers are replaced.
/// Credentials stay out of it.
pub(super) fn setup(server: &Server, settings: &ContainerSettings) -> String {
    let mut parts = vec![];
    if !matches!(server.source(), Source::Image(_)) {
        parts.push(format!("image {}", image(server, settings).reference()));
        let variables = settings.runner_env.reveal().iter();
        let variables: Vec<&[u8]> = variables
            .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()])
            .collect();
        if !variables.is_empty() {
            parts.push(format!("env {}", Digest::of_parts(variables)));
        }
        for (word, path) in [("certificates", &settings.ca_bundle), ("cache", &settings.runner_cache)] {
            parts.extend(path.as_ref().map(|path| format!("{word} {}", path.display())));
        }
    }
    if server.network == Network::Default {
        parts.push(format!("network {}", settings.network));
    }
    if server.transport != Transport::Stdio {
        parts.push(format!("access {:?}", settings.access));
    }
    parts.join("\n")
}

/// What is known of the world when a container is made.
pub(super) struct Making<'a> {
    pub cluster: &'a str,
    pub marks: &'a Marks,
    pub settings: &'a ContainerSettings,
    /// What the container joins: a network's name or id, or `none`.
    pub network: &'a str,
    /// The folders of the host, by the path that was declared, as they were found to be.
    pub host_paths: &'a BTreeMap<String, PathBuf>,
}

/// The configuration of a server's container.
pub(super) fn container(server: &Workload, making: &Making<'_>) -> ContainerCreateBody {
    let runner = !matches!(server.source(), Source::Image(_));
    let stdio = server.transport == Transport::Stdio;
    let words = command_line(server);
    let port = server
        .container_port
        .filter(|_| !stdio)
        .map(|port| format!("{port}/tcp"));
    ContainerCreateBody {
        image: Some(image(server, making.settings).reference()),
        // The words are the program and its arguments: an image's own entry point must not come before them.
        entrypoint: (!words.is_empty()).then_some(words),
        env: Some(environment(server, runner, making.settings)),
        labels: Some(labels(making.cluster, making.marks)),
        user: server.security.user.clone(),
        tty: Some(false),
        // It stays open when mcpd goes, so that the next one can go on talking.
        open_stdin: Some(stdio),
        stdin_once: Some(false),
        exposed_ports: port.clone().map(|port| vec![port]),
        host_config: Some(host(server, runner, port, making)),
        ..ContainerCreateBody::default()
    }
}

fn environment(server: &Workload, runner: bool, settings: &ContainerSettings) -> Vec<String> {
    let mut variables: BTreeMap<&str, &str> = BTreeMap::new();
    if runner {
        if settings.ca_bundle.is_some() {
            variables.extend(CA_VARIABLES.iter().map(|name| (*name, CA_BUNDLE)));
        }
        if settings.runner_cache.is_some() {
            variables.extend(CACHE_VARIABLES.iter().copied());
        }
        let set = settings.runner_env.reveal().iter();
        variables.extend(set.map(|(name, value)| (name.as_str(), value.as_str())));
    }
    // What a server declares beats what runners have in common.
    variables.extend(server.environment());
    let lines = variables.into_iter().map(|(name, value)| format!("{name}={value}"));
    lines.collect()
}

fn host(server: &Workload, runner: bool, port: Option<String>, making: &Making<'_>) -> HostConfig {
    let settings = making.settings;
    let security = &server.security;
    let resources = &server.resources;
    let memory = resources.memory.as_deref().and_then(|text| parse_memory(text).ok());
    let stdio = server.transport == Transport::Stdio;
    let publish = port.filter(|_| settings.access == ContainerAccess::Publish);
    let loopback = || {
        vec![PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            // Any that is free.
            host_port: Some(String::new()),
        }]
    };
    HostConfig {
        init: Some(true),
        // mcpd restarts, counting and waiting as it says.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(if stdio {
            // Its output is the protocol, with results and secrets: no file of the engine keeps it.
            log("none", &[])
        } else {
            log("local", &[("max-size", "10m"), ("max-file", "2")])
        }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: (!security.add_capabilities.is_empty()).then(|| security.add_capabilities.clone()),
        security_opt: (!security.allow_new_privileges).then(|| vec!["no-new-privileges:true".to_owned()]),
        readonly_rootfs: Some(security.read_only_root),
        tmpfs: security.read_only_root.then(|| writable(runner, settings)),
        pids_limit: (resources.pids > 0).then_some(resources.pids.into()),
        // A quota only where one is asked for: kernels without that scheduler refuse every container with one.
        nano_cpus: resources.cpus.map(|cpus| i64::from(cpus.thousandths()) * 1_000_000),
        memory,
        // No swap on top.
        memory_swap: memory,
        network_mode: Some(making.network.to_owned()),
        port_bindings: publish.map(|port| HashMap::from([(port, Some(loopback()))])),
        mounts: Some(mounts(server, runner, making)),
        ..HostConfig::default()
    }
}

fn log(driver: &str, options: &[(&str, &str)]) -> HostConfigLogConfig {
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    HostConfigLogConfig {
        typ: Some(driver.to_owned()),
        config: Some(options.collect()),
    }
}

/// What can be written where the container's own files can't: what runners need to fetch and start packages, too.
fn writable(runner: bool, settings: &ContainerSettings) -> HashMap<String, String> {
    let mut folders = vec!["/tmp"];
    if runner {
        folders.push(HOME);
        if settings.runner_cache.is_none() {
            folders.push(CACHE);
        }
    }
    let folders = folders.into_iter().map(|folder| (folder.to_owned(), TMPFS.to_owned()));
    folders.collect()
}

fn mounts(server: &Workload, runner: bool, making: &Making<'_>) -> Vec<Mount> {
    let mount = |typ, source: String, target: &str, read_only| Mount {
        typ: Some(typ),
        source: Some(source),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let shown = |path: &Path| path.display().to_string();
    let mut mounts = vec![];
    if runner {
        let settings = making.settings;
        mounts.extend(
            settings
                .ca_bundle
                .as_deref()
                .map(|file| mount(MountType::BIND, shown(file), CA_BUNDLE, true)),
        );
        mounts.extend(
            settings
                .runner_cache
                .as_deref()
                .map(|folder| mount(MountType::BIND, shown(folder), CACHE, false)),
        );
    }
    for volume in &server.volumes {
        let (typ, source) = match (&volume.name, &volume.host_path) {
            (Some(name), _) => (MountType::VOLUME, volume_name(making.cluster, name)),
            (None, Some(path)) => match making.host_paths.get(path) {
                Some(found) => (MountType::BIND, shown(found)),
                None => continue,
            },
            (None, None) => continue,
        };
        mounts.push(mount(typ, source, &volume.mount_path, volume.read_only));
    }
    mounts
}
