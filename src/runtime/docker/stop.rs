//! Stopping a life and clearing what is left of it.

use std::time::Duration;

use bollard::query_parameters::{RemoveContainerOptionsBuilder, StopContainerOptionsBuilder};

use crate::record::Life;
use crate::runtime::RuntimeError;

use super::Shared;
use super::client::Client;
use super::error::{message, status};

/// How much longer than its grace a stop may take.
const SLACK: Duration = Duration::from_secs(30);
/// How long the last words are waited for before the remains go.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Shared {
    pub(super) async fn stop(&self, life: &Life, grace: Duration) -> Result<(), RuntimeError> {
        let docker = self.client.docker().await?;
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        match tokio::time::timeout(grace + SLACK, docker.stop_container(&life.0, Some(options))).await {
            Ok(Ok(())) => {}
            // It is gone, or has ended.
            Ok(Err(error)) if matches!(status(&error), Some(304 | 404)) => {}
            // What can't be stopped is removed by force below.
            Ok(Err(error)) if status(&error).is_some() => {
                tracing::warn!(%life, error = message(&error), "can't be stopped");
            }
            Ok(Err(error)) => return Err(self.client.judge(&error)),
            Err(_) => return Err(RuntimeError::DoesNotEnd(life.clone())),
        }
        let ended = self.sessions().get(life).map(super::session::Session::ended);
        if let Some(mut ended) = ended {
            drop(tokio::time::timeout(LAST_WORDS, ended.wait_for(|ended| *ended)).await);
        }
        remove(&self.client, life).await?;
        self.sessions().remove(life);
        self.rise();
        Ok(())
    }
}

/// Removes a container with its anonymous volumes, whatever state it is in. One that is gone or going is no error.
pub(super) async fn remove(client: &Client, life: &Life) -> Result<(), RuntimeError> {
    let docker = client.docker().await?;
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match tokio::time::timeout(SLACK, docker.remove_container(&life.0, Some(options))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if status(&error) == Some(404) => Ok(()),
        Ok(Err(error)) if status(&error) == Some(409) && message(&error).contains("already in progress") => Ok(()),
        Ok(Err(error)) => Err(client.judge(&error)),
        Err(_) => Err(client.away()),
    }
}
