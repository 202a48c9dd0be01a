//! Whether a Docker engine answers, and where it was looked for.

use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

/// Where an engine is looked for if nothing else is said.
const SOCKET: &str = "unix:///var/run/docker.sock";
/// An engine that does not answer in this time is not there, in seconds.
const PATIENCE: u64 = 3;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerProbe {
    /// Where it was looked for.
    pub address: String,
    /// The engine's version, where one answered.
    pub version: Option<String>,
}

/// Asks the engine at `host` (the value of `DOCKER_HOST`; a local socket if nothing is said) for its version.
pub async fn probe_docker(host: Option<&str>) -> DockerProbe {
    let address = host.filter(|host| !host.is_empty()).unwrap_or(SOCKET).to_owned();
    let connected = if address.starts_with("unix://") {
        Docker::connect_with_unix(&address, PATIENCE, API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_http(&address, PATIENCE, API_DEFAULT_VERSION)
    };
    let version = match connected {
        Ok(docker) => {
            let asked = tokio::time::timeout(Duration::from_secs(PATIENCE), docker.version()).await;
            asked.ok().and_then(Result::ok).and_then(|answer| answer.version)
        }
        Err(_) => None,
    };
    DockerProbe { address, version }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_answers_at_an_address_that_is_not_there() {
        let probe = probe_docker(Some("unix:///nowhere/docker.sock")).await;
        assert_eq!(probe.address, "unix:///nowhere/docker.sock");
        assert_eq!(probe.version, None);
        assert_eq!(probe_docker(Some("tcp://127.0.0.1:1")).await.version, None);
    }
}
