//! The runtime: four verbs (`observe`, `start`, `stop`, `logs`) plus `attach` for stdio. Restarts and updates are
//! plans of `reconcile::converge`, never verbs here. Back ends: docker, and process (development only).

mod docker;
mod logs;
mod process;
mod words;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::kit::Link;
use crate::record::{InstanceName, Life, Live, Workload};
use crate::resource::Server;

pub use docker::{DockerOptions, DockerProbe, DockerRuntime, probe_docker};
pub use logs::{Follower, LogError, LogQuery, Logs, Mask, Writer};
pub use process::{GUARD_WORD, ProcessOptions, ProcessRuntime, guard_main};

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOrder {
    /// Whose life it is.
    pub instance: InstanceName,
    /// The mark of the spec, as `SALT.DIGEST`.
    pub spec: String,
    /// What it is started from.
    pub server: Arc<Workload>,
}

/// Why the runtime did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// What runs in a container only was to be started by a runtime without containers.
    #[error("needs Docker")]
    NeedsDocker,
    /// A program that the server needs is not there.
    #[error("needs {program}, which is not installed ({remedy})")]
    MissingProgram {
        /// Its name.
        program: String,
        /// How to come by it.
        remedy: &'static str,
    },
    /// The same spec of the same instance runs already or is being started: nothing failed, nothing was started.
    #[error("{instance} runs already as {life}")]
    AlreadyRuns {
        /// Whose.
        instance: InstanceName,
        /// The life that runs.
        life: Life,
    },
    /// Two lives of the instance run: a third is not started.
    #[error("{0} has two lives already")]
    TooManyLives(InstanceName),
    /// The operating system refused to start the program.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A life goes on although it was killed.
    #[error("{0} does not end")]
    DoesNotEnd(Life),
    /// The engine does not answer: nothing failed, and nothing is known.
    #[error("engine does not answer at {address}")]
    EngineAway {
        /// Where it was looked for.
        address: String,
    },
    /// An image is not there and can't be had.
    #[error("image {image} {reason} ({hint})")]
    NoImage {
        /// Which.
        image: String,
        /// Why.
        reason: String,
        /// A way out.
        hint: &'static str,
    },
    /// A folder can't be mounted.
    #[error("{0}")]
    Volume(String),
    /// The engine refused; in its words, or in ours where they say more.
    #[error("{0}")]
    Refused(String),
    /// The runtime is being closed and starts nothing any more.
    #[error("the runtime is being closed")]
    Closed,
}

impl RuntimeError {
    /// Whether a start was refused because there is nothing to do: it doesn't count as a failure.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::AlreadyRuns { .. } | Self::TooManyLives(_) | Self::Closed | Self::EngineAway { .. }
        )
    }
}

/// Where servers run.
#[derive(Debug)]
pub enum Runtime {
    /// Containers of a Docker engine.
    Docker(DockerRuntime),
    /// Child processes of mcpd: development only.
    Process(ProcessRuntime),
}

impl Runtime {
    /// Whether container images can be run.
    #[must_use]
    pub fn images(&self) -> bool {
        match self {
            Self::Docker(_) => true,
            Self::Process(_) => false,
        }
    }

    /// What this runtime's own settings make of a server (the runner image, say), as a text that is compared: where it
    /// changes, what runs is replaced.
    #[must_use]
    pub fn setup(&self, server: &Server) -> String {
        match self {
            Self::Docker(docker) => docker.setup(server),
            Self::Process(_) => String::new(),
        }
    }

    /// The runtime's name, as the settings have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Process(_) => "process",
        }
    }

    /// Every life that carries our labels, ended ones until they are stopped (which clears them).
    pub async fn observe(&self) -> Result<Vec<Live>, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.observe().await,
            Self::Process(process) => Ok(process.observe()),
        }
    }

    /// Starts a life. Dropping the future does not undo the start: the life shows in [`Runtime::observe`].
    pub async fn start(&self, order: StartOrder) -> Result<Life, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.start(order).await,
            Self::Process(process) => process.start(order).await,
        }
    }

    /// Ends a life, with force after `grace`, and clears its remains. A life that is not there is no error.
    pub async fn stop(&self, life: &Life, grace: Duration) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(docker) => docker.stop(life, grace).await,
            Self::Process(process) => process.stop(life, grace).await,
        }
    }

    /// What instances wrote to stderr, over all their lives.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        match self {
            Self::Docker(docker) => docker.logs(),
            Self::Process(process) => process.logs(),
        }
    }

    /// The way to a life: its stdin and stdout, or where it listens.
    ///
    /// # Caveats
    /// Pipes are had once at a time; a second time is an error. Dropping those of a process closes its stdin: that life
    /// can't be spoken to any more and must be stopped. Those of a container can be had again.
    pub async fn attach(&self, instance: &InstanceName, life: &Life) -> io::Result<Link> {
        match self {
            Self::Docker(docker) => docker.attach(instance, life).await,
            Self::Process(process) => process.attach(instance, life).map(Link::Pipes),
        }
    }

    /// Rises when a life starts or ends: a hint to observe.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        match self {
            Self::Docker(docker) => docker.changed(),
            Self::Process(process) => process.changed(),
        }
    }

    /// Ends what must not outlive mcpd, for shutdown: processes, and in development containers too. Nothing can be started afterwards.
    pub async fn close(&self) {
        match self {
            Self::Docker(docker) => docker.close().await,
            Self::Process(process) => process.close().await,
        }
    }
}
