//! Starting a life: one start an instance at a time, never two of the same, at most two in all.

use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::CreateContainerOptionsBuilder;

use crate::kit::HttpTransport;
use crate::reconcile::converge::{Desired, matches};
use crate::record::{InstanceName, Life};
use crate::resource::{Network, Transport};
use crate::runtime::{RuntimeError, StartOrder};

use super::Shared;
use super::error::{explained, status};
use super::host::host_paths;
use super::labels::{Marks, container_name};
use super::network::{provide_network, provide_volume};
use super::observe::list;
use super::session::Session;
use super::spec::{self, Making, container};
use super::stop::remove;

/// How often another name is tried where one is taken.
const NAMES: usize = 5;
/// The longest that making or starting a container may take.
const PATIENCE: Duration = Duration::from_mins(2);

impl Shared {
    pub(super) async fn start(self: Arc<Self>, order: StartOrder) -> Result<Life, RuntimeError> {
        let turn = self.turn(&order.instance);
        let _turn = turn.lock().await;
        self.refuse_closed()?;
        self.refuse_twins(&order).await?;
        let server = &order.server;
        let settings = &self.options.settings;
        let host_paths = host_paths(server, &settings.volume_roots).await?;
        let image = spec::image(server, settings);
        self.images
            .provide(&self.client, &image, server.image_pull_policy)
            .await?;
        let network = match server.network {
            Network::Default => provide_network(&self.client, &settings.network).await?,
            Network::None => "none".to_owned(),
        };
        for name in server.volumes.iter().filter_map(|volume| volume.name.as_deref()) {
            provide_volume(&self.client, &self.options.cluster, name).await?;
        }
        self.provide_cache(server).await?;
        // Fetching an image takes its time.
        self.refuse_closed()?;
        let marks = Marks {
            instance: order.instance.clone(),
            spec: order.spec.clone(),
            http: match server.transport {
                Transport::Stdio => None,
                Transport::StreamableHttp => server.container_port.map(|port| (HttpTransport::Streamable, port)),
                Transport::Sse => server.container_port.map(|port| (HttpTransport::Sse, port)),
            },
        };
        let making = Making {
            cluster: &self.options.cluster,
            marks: &marks,
            settings,
            network: &network,
            host_paths: &host_paths,
        };
        let body = container(server, &making);
        let docker = self.client.docker().await?;
        let refused = |error: &bollard::errors::Error| match explained(&image.reference(), error) {
            Some(explained) => RuntimeError::Refused(explained),
            None => self.client.judge(error),
        };
        for _ in 0..NAMES {
            let name = container_name(&self.options.cluster, &order.instance, random());
            let _being_made = self.being_made(&name);
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let created = tokio::time::timeout(PATIENCE, docker.create_container(Some(options), body.clone())).await;
            let life = match created {
                Ok(Ok(created)) => Life(created.id),
                Ok(Err(error)) if status(&error) == Some(409) => continue,
                Ok(Err(error)) => return Err(refused(&error)),
                Err(_) => return Err(self.client.away()),
            };
            // Attached before it runs, so that its first words are heard.
            if marks.http.is_none() {
                match Session::converse(&self.client, &self.options.logs, &order.instance, &life).await {
                    Ok(session) => drop(self.sessions().insert(life.clone(), session)),
                    Err(error) => {
                        self.undo(&life).await;
                        return Err(error);
                    }
                }
            }
            match tokio::time::timeout(PATIENCE, docker.start_container(&life.0, None)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let error = refused(&error);
                    self.undo(&life).await;
                    return Err(error);
                }
                // It may run: the next look tells.
                Err(_) => return Err(self.client.away()),
            }
            if marks.http.is_some() {
                let session = Session::listen(&self.client, &self.options.logs, &order.instance, &life, true).await;
                self.sessions().insert(life.clone(), session);
            }
            super::lock(&self.used).insert(life.clone());
            self.rise();
            return Ok(life);
        }
        Err(RuntimeError::Refused(
            "no free name for a container was found".to_owned(),
        ))
    }

    /// Takes back a container that could not be started. Where that fails, the next look finds its remains.
    async fn undo(&self, life: &Life) {
        self.sessions().remove(life);
        if let Err(error) = remove(&self.client, life).await {
            tracing::warn!(%life, %error, "what could not be started can't be removed");
        }
    }

    /// Never two lives of the same, and at most two of an instance: asked of the engine, which forgets nothing.
    async fn refuse_twins(&self, order: &StartOrder) -> Result<(), RuntimeError> {
        use bollard::models::ContainerSummaryStateEnum as State;
        let desired = Desired {
            instance: order.instance.clone(),
            server: Arc::clone(&order.server),
            blocked: None,
        };
        let all = list(&self.client, &self.options.cluster).await?;
        let running: Vec<_> = all
            .into_iter()
            .filter(|one| one.marks.instance == order.instance)
            .filter(|one| {
                matches!(
                    one.state,
                    State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING
                )
            })
            .collect();
        if let Some(twin) = running.iter().find(|one| matches(&one.marks.spec, &desired)) {
            return Err(RuntimeError::AlreadyRuns {
                instance: order.instance.clone(),
                life: twin.life.clone(),
            });
        }
        if running.len() >= 2 {
            return Err(RuntimeError::TooManyLives(order.instance.clone()));
        }
        Ok(())
    }

    fn turn(&self, instance: &InstanceName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = super::lock(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(instance.clone()).or_default())
    }

    /// The folder of what runners have fetched: containers of any user write into it.
    async fn provide_cache(&self, server: &crate::resource::Server) -> Result<(), RuntimeError> {
        use std::os::unix::fs::PermissionsExt as _;
        let Some(folder) = &self.options.settings.runner_cache else {
            return Ok(());
        };
        if matches!(server.source(), crate::resource::Source::Image(_)) || tokio::fs::metadata(folder).await.is_ok() {
            return Ok(());
        }
        let made = async {
            tokio::fs::create_dir_all(folder).await?;
            tokio::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o1777)).await
        };
        made.await
            .map_err(|error| RuntimeError::Volume(format!("the cache {} can't be made: {error}", folder.display())))
    }
}

/// The end of a container's name. Without randomness names are told apart by the engine's refusal alone.
fn random() -> u32 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        tracing::warn!("the system has no randomness for the names of containers");
    }
    u32::from_be_bytes(bytes)
}
