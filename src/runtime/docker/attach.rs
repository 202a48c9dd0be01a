//! The way to a life: the pipes of one that speaks over stdio, the URL of one that listens.

use std::io;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};

use crate::kit::{HttpTransport, Link};
use crate::record::{InstanceName, Life};
use crate::settings::ContainerAccess;

use super::Shared;
use super::labels;
use super::observe::{found, labels_of, whole};
use super::session::Session;

impl Shared {
    pub(super) async fn attach(&self, instance: &InstanceName, life: &Life) -> io::Result<Link> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("{instance} does not run as {life}"));
        {
            let mut sessions = self.sessions();
            if let Some(session) = sessions.get_mut(life)
                && session.instance == *instance
                && !session.is_over()
            {
                if let Some(pipes) = session.take() {
                    return Ok(Link::Pipes(pipes));
                }
                if session.is_held() {
                    return Err(taken(life));
                }
            }
        }
        let container = whole(&self.client, life)
            .await
            .map_err(io::Error::other)?
            .ok_or_else(gone)?;
        let marks = match labels::marks(&self.options.cluster, &labels_of(&container)) {
            Some(Ok(marks)) if marks.instance == *instance => marks,
            _ => return Err(gone()),
        };
        if !found(&container).is_running() {
            return Err(gone());
        }
        if let Some((transport, port)) = marks.http {
            let url = self.url(&container, transport, port)?;
            let followed = self.sessions().get(life).is_some_and(|session| !session.is_over());
            if !followed {
                let session = Session::listen(&self.client, &self.options.logs, instance, life, false).await;
                self.sessions().insert(life.clone(), session);
            }
            return Ok(Link::Http { url, transport });
        }
        self.let_go_on(life, &container).await?;
        let mut session = Session::converse(&self.client, &self.options.logs, instance, life)
            .await
            .map_err(io::Error::other)?;
        let pipes = session.take().ok_or_else(gone)?;
        let mut sessions = self.sessions();
        if sessions
            .get(life)
            .is_some_and(|other| other.is_held() && !other.is_over())
        {
            return Err(taken(life));
        }
        sessions.insert(life.clone(), session);
        Ok(Link::Pipes(pipes))
    }

    /// A paused container can't be attached to.
    async fn let_go_on(&self, life: &Life, container: &ContainerInspectResponse) -> io::Result<()> {
        let status = container.state.as_ref().and_then(|state| state.status);
        if status != Some(ContainerStateStatusEnum::PAUSED) {
            return Ok(());
        }
        tracing::warn!(%life, "was paused, and is let go on");
        let docker = self.client.docker().await.map_err(io::Error::other)?;
        let asked = docker.unpause_container(&life.0);
        self.client.ask(asked).await.map_err(io::Error::other)
    }

    fn url(&self, container: &ContainerInspectResponse, transport: HttpTransport, port: u16) -> io::Result<String> {
        let network = container.network_settings.as_ref();
        let path = match transport {
            HttpTransport::Streamable => "mcp",
            HttpTransport::Sse => "sse",
        };
        let place = match self.options.settings.access {
            ContainerAccess::Publish => network
                .and_then(|it| it.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_ref())
                .and_then(|bindings| bindings.first()?.host_port.clone())
                .map(|published| format!("127.0.0.1:{published}")),
            ContainerAccess::Network => network
                .and_then(|it| it.networks.as_ref()?.get(&self.options.settings.network))
                .and_then(|endpoint| endpoint.ip_address.clone())
                .filter(|address| !address.is_empty())
                .map(|address| format!("{address}:{port}")),
        };
        let nowhere = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the engine names no address for it");
        Ok(format!("http://{}/{path}", place.ok_or_else(nowhere)?))
    }
}

fn taken(life: &Life) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{life} is attached to already"))
}
