//! Whether a Docker engine answers, and where it was looked for.

use std::time::Duration;

use super::client::connect;

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

/// Asks the engine at an address for its version.
pub async fn probe_docker(address: &str) -> DockerProbe {
    let address = address.to_owned();
    let connected = connect(&address, PATIENCE);
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
        let probe = probe_docker("unix:///nowhere/docker.sock").await;
        assert_eq!(probe.address, "unix:///nowhere/docker.sock");
        assert_eq!(probe.version, None);
        assert_eq!(probe_docker("tcp://127.0.0.1:1").await.version, None);
    }
}
