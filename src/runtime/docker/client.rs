//! The way to the engine: connected when it is needed, in the version that both speak.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::runtime::RuntimeError;

use super::error::{judged, status};

/// The longest that the engine may take to begin an answer, in seconds. Stopping a container waits for its grace.
const ANSWER: u64 = 120;
/// The longest that it may take to say its version, and to answer a question.
const QUESTION: Duration = Duration::from_secs(15);

/// The engine at one address. It may come and go.
pub(super) struct Client {
    address: String,
    connected: Mutex<Option<Docker>>,
}

impl Client {
    pub fn new(address: String) -> Self {
        Self {
            address,
            connected: Mutex::default(),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client that speaks a version which the engine knows; the engine answered at least once.
    pub async fn docker(&self) -> Result<Docker, RuntimeError> {
        if let Some(docker) = self.known() {
            return Ok(docker);
        }
        let docker = match tokio::time::timeout(QUESTION, async {
            connect(&self.address, ANSWER)?.negotiate_version().await
        })
        .await
        {
            Ok(answer) => answer.map_err(|error| self.judge(&error))?,
            Err(_) => return Err(self.away()),
        };
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// The answer to a question that has to come soon.
    pub async fn ask<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, RuntimeError> {
        match tokio::time::timeout(QUESTION, answer).await {
            Ok(answer) => answer.map_err(|error| self.judge(&error)),
            Err(_) => Err(self.away()),
        }
    }

    pub fn judge(&self, error: &Error) -> RuntimeError {
        let judged = judged(&self.address, error);
        // Another engine may stand there when it comes back, or stands there already: the version is asked for anew.
        let outdated = status(error) == Some(400) && judged.to_string().contains("API version");
        if matches!(judged, RuntimeError::EngineAway { .. }) || outdated {
            *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        judged
    }

    pub fn away(&self) -> RuntimeError {
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = None;
        RuntimeError::EngineAway {
            address: self.address.clone(),
        }
    }

    fn known(&self) -> Option<Docker> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client of an address, `unix://` or `tcp://`, that waits so many seconds for answers to begin.
pub(super) fn connect(address: &str, patience: u64) -> Result<Docker, Error> {
    if address.starts_with("unix://") {
        Docker::connect_with_unix(address, patience, API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_http(address, patience, API_DEFAULT_VERSION)
    }
}
