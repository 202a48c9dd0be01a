//! The network that servers join, and the volumes that they share: made where they are missing, never removed.

use std::collections::HashMap;

use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};

use crate::runtime::RuntimeError;

use super::client::Client;
use super::error::{message, status};
use super::labels::{CLUSTER, volume_name};

/// Marks the network as made by an mcpd: any of them, for it belongs to all that use its name.
const MADE_BY: (&str, &str) = ("mcpctl.io/made-by", "mcpd");

/// Sees to it that a network of that name exists.
pub(super) async fn provide_network(client: &Client, name: &str) -> Result<(), RuntimeError> {
    let docker = client.docker().await?;
    if found(client, docker.inspect_network(name, None)).await? {
        return Ok(());
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(HashMap::from([(MADE_BY.0.to_owned(), MADE_BY.1.to_owned())])),
        ..NetworkCreateRequest::default()
    };
    match tokio::time::timeout(super::QUESTION, docker.create_network(request)).await {
        Ok(Ok(_)) => {
            tracing::info!(network = name, "made the network of MCP servers");
            Ok(())
        }
        // Another mcpd, or another start, was faster.
        Ok(Err(error)) if status(&error) == Some(409) => Ok(()),
        Ok(Err(error)) => match client.judge(&error) {
            RuntimeError::Refused(_) => Err(RuntimeError::Refused(format!(
                "the network {name} can't be made: {}",
                message(&error)
            ))),
            away => Err(away),
        },
        Err(_) => Err(client.away()),
    }
}

/// Sees to it that a cluster's volume exists, with its label. An existing one is taken as it is.
pub(super) async fn provide_volume(client: &Client, cluster: &str, name: &str) -> Result<(), RuntimeError> {
    let docker = client.docker().await?;
    let full = volume_name(cluster, name);
    let request = VolumeCreateRequest {
        name: Some(full),
        labels: Some(HashMap::from([(CLUSTER.to_owned(), cluster.to_owned())])),
        ..VolumeCreateRequest::default()
    };
    client.ask(docker.create_volume(request)).await.map(drop)
}

async fn found<T>(
    client: &Client,
    asked: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<bool, RuntimeError> {
    match tokio::time::timeout(super::QUESTION, asked).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) if status(&error) == Some(404) => Ok(false),
        Ok(Err(error)) => Err(client.judge(&error)),
        Err(_) => Err(client.away()),
    }
}
