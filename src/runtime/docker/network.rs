//! The network that servers join, and the volumes that they share: made where they are missing, never removed.

use std::collections::HashMap;

use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::sync::Mutex;

use crate::runtime::RuntimeError;

use super::client::Client;
use super::error::{message, status};
use super::labels::{CLUSTER, volume_name};

/// Marks the network as made by an mcpd: any of them, for it belongs to all that use its name.
const MADE_BY: (&str, &str) = ("mcpctl.io/made-by", "mcpd");

/// One start at a time looks and makes: an engine lets several networks have one name.
static TURN: Mutex<()> = Mutex::const_new(());

/// Sees to it that a network of that name exists; what a container is to join it by.
///
/// Where several have the name (two daemons made one at the same moment), all take the oldest: then its id is what tells.
pub(super) async fn provide_network(client: &Client, name: &str) -> Result<String, RuntimeError> {
    let _turn = TURN.lock().await;
    if let Some(found) = existing(client, name).await? {
        return Ok(found);
    }
    let docker = client.docker().await?;
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(HashMap::from([(MADE_BY.0.to_owned(), MADE_BY.1.to_owned())])),
        ..NetworkCreateRequest::default()
    };
    match tokio::time::timeout(super::QUESTION, docker.create_network(request)).await {
        Ok(Ok(_)) => tracing::info!(network = name, "made the network of MCP servers"),
        // Another mcpd was faster.
        Ok(Err(error)) if status(&error) == Some(409) => {}
        Ok(Err(error)) => {
            return Err(match client.judge(&error) {
                RuntimeError::Refused(_) => {
                    RuntimeError::Refused(format!("the network {name} can't be made: {}", message(&error)))
                }
                away => away,
            });
        }
        Err(_) => return Err(client.away()),
    }
    let found = existing(client, name).await?;
    found.ok_or_else(|| RuntimeError::Refused(format!("the network {name} was removed as soon as it was made")))
}

/// The network of that name: its name where it is the only one, else the id of the oldest.
async fn existing(client: &Client, name: &str) -> Result<Option<String>, RuntimeError> {
    let docker = client.docker().await?;
    let filters = HashMap::from([("name", vec![name])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let listed = client.ask(docker.list_networks(Some(options))).await?;
    // The engine's filter finds parts of names too.
    let mut same: Vec<_> = listed
        .into_iter()
        .filter(|network| network.name.as_deref() == Some(name))
        .map(|network| (network.created, network.id))
        .collect();
    same.sort();
    Ok(match &same[..] {
        [] => None,
        [_] => Some(name.to_owned()),
        [(_, oldest), ..] => oldest.clone(),
    })
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
