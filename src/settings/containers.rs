//! The settings of mcpd that say how containers are made.

use std::path::PathBuf;

use clap::Args;

use crate::kit::{MASK, Redacted};

use super::SettingsError;
use super::desk::{Desk, absolute, list};

/// Words that Docker takes for something else than a network's name.
const NO_NETWORKS: &[&str] = &["host", "none", "default"];

#[derive(Debug, Args)]
pub(super) struct ContainerFlags {
    /// Image that npm packages run in [MCPD_NODE_RUNNER_IMAGE; default built by mcpd]
    #[arg(long, value_name = "IMAGE")]
    node_runner_image: Option<String>,
    /// Image that PyPI packages run in [MCPD_PYTHON_RUNNER_IMAGE; default built by mcpd]
    #[arg(long, value_name = "IMAGE")]
    python_runner_image: Option<String>,
    /// Variables for containers of packages, as NAME=VALUE, one a line or separated by commas [MCPD_RUNNER_ENV]
    #[arg(long, value_name = "VARIABLES")]
    runner_env: Option<String>,
    /// File of certificates that containers of packages trust too [MCPD_CA_BUNDLE]
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<String>,
    /// Folder of this machine in which containers of packages keep what they have fetched [MCPD_RUNNER_CACHE]
    #[arg(long, value_name = "DIR")]
    runner_cache: Option<String>,
    /// Docker network that servers join [MCPD_MCP_NETWORK; default mcp-servers]
    #[arg(long, value_name = "NAME")]
    mcp_network: Option<String>,
    /// How servers in containers are reached over HTTP: publish or network [MCPD_CONTAINER_ACCESS; default publish]
    #[arg(long, value_name = "ACCESS")]
    container_access: Option<String>,
    /// Folders below which servers may mount folders of this machine, separated by commas [MCPD_VOLUME_ROOTS]
    #[arg(long, value_name = "DIRS")]
    volume_roots: Option<String>,
}

/// How a server that listens in a container is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerAccess {
    /// By a port of 127.0.0.1.
    Publish,
    /// By the container's own address: mcpd runs in a container of the same network, or on the engine's machine.
    Network,
}

/// How containers are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSettings {
    /// The image of npm packages; nothing for the one that mcpd builds.
    pub node_runner_image: Option<String>,
    /// The image of PyPI packages; nothing for the one that mcpd builds.
    pub python_runner_image: Option<String>,
    /// Variables for containers of packages, in order.
    pub runner_env: Redacted<Vec<(String, String)>>,
    /// A file of certificates for containers of packages, absolute.
    pub ca_bundle: Option<PathBuf>,
    /// Where containers of packages keep what they have fetched, absolute.
    pub runner_cache: Option<PathBuf>,
    /// The network that servers join.
    pub network: String,
    /// How servers that listen are reached.
    pub access: ContainerAccess,
    /// Folders below which folders of the host may be mounted, absolute.
    pub volume_roots: Vec<PathBuf>,
}

impl ContainerSettings {
    pub(super) fn resolve(flags: ContainerFlags, desk: &mut Desk<'_>) -> Result<Self, SettingsError> {
        let image = "give an image, as registry.example.com/node-runner:1";
        let node = desk.take(
            "MCPD_NODE_RUNNER_IMAGE",
            "--node-runner-image",
            flags.node_runner_image,
            "",
        )?;
        desk.read(&node, is_image, image)?;
        let python = desk.take(
            "MCPD_PYTHON_RUNNER_IMAGE",
            "--python-runner-image",
            flags.python_runner_image,
            "",
        )?;
        desk.read(&python, is_image, image)?;
        let variables = desk.take("MCPD_RUNNER_ENV", "--runner-env", flags.runner_env, "")?;
        let parsed = variables_of(&variables);
        // Values may be credentials, in the table and in faults alike.
        if let Ok(parsed) = &parsed {
            let shown: Vec<String> = parsed.iter().map(|(name, _)| format!("{name}={MASK}")).collect();
            desk.shows_instead(shown.join(","));
        }
        let runner_env = parsed.map_err(|problem| {
            SettingsError::value(
                desk.named(),
                problem,
                Some("give NAME=VALUE, one a line or separated by commas"),
            )
        })?;
        let bundle = desk.take("MCPD_CA_BUNDLE", "--ca-bundle", flags.ca_bundle, "")?;
        let ca_bundle = place(desk, &bundle)?;
        let cache = desk.take("MCPD_RUNNER_CACHE", "--runner-cache", flags.runner_cache, "")?;
        let runner_cache = place(desk, &cache)?;
        let network = desk.take("MCPD_MCP_NETWORK", "--mcp-network", flags.mcp_network, "mcp-servers")?;
        desk.read(&network, is_network, "give a network's name, as mcp-servers")?;
        let access = "MCPD_CONTAINER_ACCESS";
        let access = desk.take(access, "--container-access", flags.container_access, "publish")?;
        let access = desk.read(&access, access_of, "the ways are: publish, network")?;
        let roots = desk.take("MCPD_VOLUME_ROOTS", "--volume-roots", flags.volume_roots, "")?;
        let volume_roots: Vec<PathBuf> = list(&roots)
            .map(|root| absolute(desk.around, root))
            .collect::<Result<_, _>>()?;
        let shown: Vec<String> = volume_roots.iter().map(|root| root.display().to_string()).collect();
        desk.shows_instead(shown.join(","));
        let given = |text: String| (!text.is_empty()).then_some(text);
        Ok(Self {
            node_runner_image: given(node),
            python_runner_image: given(python),
            runner_env: Redacted::new(runner_env),
            ca_bundle,
            runner_cache,
            network,
            access,
            volume_roots,
        })
    }
}

/// A path of this machine, shown absolute; nothing where none is given.
fn place(desk: &mut Desk<'_>, text: &str) -> Result<Option<PathBuf>, SettingsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = absolute(desk.around, text)?;
    desk.shows(&path);
    Ok(Some(path))
}

fn is_image(text: &str) -> Result<(), String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) || text.starts_with('-') {
        return Err(format!("\"{text}\" is not an image"));
    }
    Ok(())
}

fn is_network(text: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || !text.chars().all(word) || text.starts_with(['-', '.']) || NO_NETWORKS.contains(&text) {
        return Err(format!("\"{text}\" is not a network's name"));
    }
    Ok(())
}

fn access_of(text: &str) -> Result<ContainerAccess, String> {
    match text {
        "publish" => Ok(ContainerAccess::Publish),
        "network" => Ok(ContainerAccess::Network),
        _ => Err(format!("there is no access \"{text}\"")),
    }
}

/// `NAME=VALUE` one a line; in a single line separated by commas. A value with a comma is one that is given by line: a
/// line break at the end is enough.
fn variables_of(text: &str) -> Result<Vec<(String, String)>, String> {
    let parts: Vec<&str> = if text.contains('\n') {
        text.lines().map(str::trim).collect()
    } else {
        text.split(',').map(str::trim).collect()
    };
    let mut variables: Vec<(String, String)> = vec![];
    for (n, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| format!("entry {} has no =", n + 1))?;
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(word) || value.contains('\0') {
            return Err(format!("entry {} is not NAME=VALUE", n + 1));
        }
        if variables.iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("{name} is set twice"));
        }
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_separated_by_commas_or_lines() {
        for (text, want) in [
            ("", Ok(vec![])),
            ("A=1", Ok(vec![("A", "1")])),
            (
                "A=1,npm_config_registry=https://u:p@r/?a=b",
                Ok(vec![("A", "1"), ("npm_config_registry", "https://u:p@r/?a=b")]),
            ),
            ("A=1,2\nB=3\n", Ok(vec![("A", "1,2"), ("B", "3")])),
            ("A=1,2\n", Ok(vec![("A", "1,2")])),
            ("A=", Ok(vec![("A", "")])),
            ("A=1,2", Err("entry 2 has no =")),
            ("hunter2", Err("entry 1 has no =")),
            ("A b=1", Err("entry 1 is not NAME=VALUE")),
            ("=1", Err("entry 1 is not NAME=VALUE")),
            ("A=1,A=2", Err("A is set twice")),
        ] {
            let read = variables_of(text);
            let read = read
                .as_deref()
                .map(|all| all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>());
            assert_eq!(read.map_err(String::as_str), want, "{text:?}");
        }
    }

    #[test]
    fn networks_have_names() {
        for (text, want) in [
            ("mcp-servers", true),
            ("bridge", true),
            ("a.b_c", true),
            ("host", false),
            ("none", false),
            ("container:x", false),
            ("", false),
            ("-a", false),
        ] {
            assert_eq!(is_network(text).is_ok(), want, "{text}");
        }
    }
}
