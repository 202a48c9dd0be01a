//! Servers in containers of a Docker engine, known by their labels.
//!
//! # Guarantees
//! Only containers that carry this cluster's labels are ever touched. mcpd may go at any time: its containers run on, and
//! the next mcpd finds them. The engine may go at any time: nothing counts as failed for that, and what runs is found
//! again when it answers. What an engine knows is asked of it each time; what is held here are streams.
//!
//! # Caveats
//! A container that somebody paused counts as running, for its process is there: calls to it wait and time out until it is
//! let go on. It is let go on when it is attached to anew, because a paused one can't be.
#![expect(
    clippy::disallowed_methods,
    reason = "starts, streams and events each have a task, which ends with the runtime"
)]

mod attach;
mod client;
mod error;
mod events;
mod host;
mod images;
mod labels;
mod network;
mod observe;
mod probe;
mod session;
#[cfg(test)]
mod session_tests;
mod spec;
#[cfg(test)]
mod spec_tests;
mod start;
mod stop;
mod tar;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kit::Link;
use crate::record::{InstanceName, Life, Live};
use crate::resource::Server;
use crate::settings::ContainerSettings;

use self::client::Client;
use self::images::Images;
use self::session::Session;
use super::{Logs, RuntimeError, StartOrder};

pub use self::probe::{DockerProbe, probe_docker};

/// The longest that the engine may take to answer a question.
const QUESTION: Duration = Duration::from_secs(15);
/// How long the grace of a shutdown is.
const CLOSING: Duration = Duration::from_secs(10);
/// How long a shutdown waits for starts that are under way.
const STARTING: Duration = Duration::from_secs(20);

/// What the Docker runtime is told once.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// Where the engine is, as `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`.
    pub address: String,
    /// Which cluster the containers belong to.
    pub cluster: String,
    /// How they are made.
    pub settings: ContainerSettings,
    /// Where what they write to stderr is kept.
    pub logs: Logs,
    /// Whether closing stops them, as development wants it; otherwise they run on.
    pub ends_with_mcpd: bool,
}

/// The Docker back end.
pub struct DockerRuntime {
    shared: Arc<Shared>,
    /// Ends the tasks.
    _stop: DropGuard,
}

struct Shared {
    options: DockerOptions,
    client: Arc<Client>,
    images: Images,
    sessions: Mutex<BTreeMap<Life, Session>>,
    /// The lives that were started or attached to here.
    used: Mutex<BTreeSet<Life>>,
    /// One start an instance at a time.
    turns: Mutex<BTreeMap<InstanceName, Arc<tokio::sync::Mutex<()>>>>,
    /// The names of containers between their making and their start.
    making: Arc<Mutex<BTreeSet<String>>>,
    died: events::Died,
    closed: AtomicBool,
    changed: watch::Sender<u64>,
}

impl fmt::Debug for DockerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerRuntime")
            .field("address", &self.shared.options.address)
            .finish_non_exhaustive()
    }
}

impl DockerRuntime {
    /// A runtime at an engine, which need not answer yet.
    #[must_use]
    pub fn open(options: DockerOptions) -> Self {
        let client = Arc::new(Client::new(options.address.clone()));
        let changed = watch::Sender::new(0);
        let stop = CancellationToken::new();
        let died = events::Died::default();
        let (telling, noting) = (changed.clone(), Arc::clone(&died));
        let listening = events::listen(Arc::clone(&client), options.cluster.clone(), telling, noting);
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = listening => {}
            }
        });
        Self {
            shared: Arc::new(Shared {
                options,
                client,
                images: Images::default(),
                sessions: Mutex::default(),
                used: Mutex::default(),
                turns: Mutex::default(),
                making: Arc::default(),
                died,
                closed: AtomicBool::new(false),
                changed,
            }),
            _stop: stop.drop_guard(),
        }
    }

    /// What the settings make of a server, as a text that is compared.
    #[must_use]
    pub fn setup(&self, server: &Server) -> String {
        spec::setup(server, &self.shared.options.settings)
    }

    /// Every life, in order.
    pub async fn observe(&self) -> Result<Vec<Live>, RuntimeError> {
        self.shared.observe().await
    }

    /// Starts a life. The start goes on when this future is dropped.
    pub async fn start(&self, order: StartOrder) -> Result<Life, RuntimeError> {
        let starting = tokio::spawn(Arc::clone(&self.shared).start(order));
        starting
            .await
            .unwrap_or_else(|error| Err(RuntimeError::Refused(format!("the start broke off: {error}"))))
    }

    /// Ends a life and clears its remains.
    pub async fn stop(&self, life: &Life, grace: Duration) -> Result<(), RuntimeError> {
        self.shared.stop(life, grace).await
    }

    /// What servers wrote to stderr.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.shared.options.logs
    }

    /// The way to a life that runs. Pipes are had once at a time; dropping them leaves the server's stdin open.
    pub async fn attach(&self, instance: &InstanceName, life: &Life) -> io::Result<Link> {
        lock(&self.shared.used).insert(life.clone());
        self.shared.attach(instance, life).await
    }

    /// Rises when something happens to a container of this cluster.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Starts nothing any more, and stops what ends with mcpd.
    pub async fn close(&self) {
        let shared = &self.shared;
        shared.closed.store(true, Ordering::SeqCst);
        if shared.options.ends_with_mcpd {
            shared.stop_all().await;
        }
        // Streams end here; the containers don't notice.
        shared.sessions().clear();
    }
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Life, Session>> {
        lock(&self.sessions)
    }

    fn refuse_closed(&self) -> Result<(), RuntimeError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(RuntimeError::Closed);
        }
        Ok(())
    }

    fn rise(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn is_being_made(&self, name: &str) -> bool {
        lock(&self.making).contains(name)
    }

    /// Notes that a container of this name is being made, until the note is dropped.
    fn being_made(&self, name: &str) -> BeingMade {
        lock(&self.making).insert(name.to_owned());
        BeingMade {
            name: name.to_owned(),
            making: Arc::clone(&self.making),
        }
    }

    /// Stops every container of this cluster that was started or attached to here.
    async fn stop_all(&self) {
        // A start that is under way ends first: no life escapes.
        let turns: Vec<_> = lock(&self.turns).values().cloned().collect();
        let all = futures_util::future::join_all(turns.iter().map(|turn| turn.lock()));
        drop(tokio::time::timeout(STARTING, all).await);
        let listed = match observe::list(&self.client, &self.options.cluster).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "servers may go on after the shutdown");
                return;
            }
        };
        // What was never ours to route to is not ours to end.
        let used = lock(&self.used).clone();
        let ours = listed.iter().filter(|container| used.contains(&container.life));
        let stops = ours.map(|container| self.stop(&container.life, CLOSING));
        for stopped in futures_util::future::join_all(stops).await {
            if let Err(error) = stopped {
                tracing::warn!(%error, "a server goes on after the shutdown");
            }
        }
    }
}

struct BeingMade {
    name: String,
    making: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for BeingMade {
    fn drop(&mut self) {
        lock(&self.making).remove(&self.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
