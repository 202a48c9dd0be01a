//! Servers as child processes of mcpd: development only.
//!
//! # Guarantees
//! Every server runs under a guard (`guard.rs`), so its whole tree ends when mcpd ends, however mcpd ends. What a
//! killed guard leaves behind is found by its marks (`table.rs`), at the latest when the next mcpd of the same cluster
//! opens its runtime. One task a life waits for it, so there are no zombies; a life that ended holds no descriptor.
//!
//! # Assumptions
//! No other mcpd of the same cluster is alive (the store's lock sees to that): opening ends all its processes.

mod guard;
mod launch;
mod marks;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::kit::{Pipes, time};
use crate::record::{Ending, InstanceName, Life, Live, LiveState, Workload};

use self::launch::launch;
use super::{Logs, RuntimeError, StartOrder};

pub use self::guard::guard_main;

/// The hidden word with which the binaries call [`guard_main`].
pub const GUARD_WORD: &str = "guard";

/// How long a life may take to go after it was killed.
const KILLED: Duration = Duration::from_secs(15);
/// How long the grace of a shutdown is.
const CLOSING: Duration = Duration::from_secs(10);
/// How long stderr is read after a life ended, should somebody still hold it open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the process runtime is told once.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// The guard's program and leading arguments: on Linux `/proc/self/exe` and [`GUARD_WORD`].
    pub guard: Vec<OsString>,
    /// Which cluster the processes belong to.
    pub cluster: String,
    /// Where servers run.
    pub directory: PathBuf,
    /// Where what they write to stderr is kept.
    pub logs: Logs,
    /// mcpd's own environment; a server inherits an allow-list of it.
    pub environment: Vec<(OsString, OsString)>,
}

type Job = Box<dyn FnOnce() + Send>;

/// The process back end.
pub struct ProcessRuntime {
    shared: Arc<Shared>,
    /// The one thread that starts guards: the kernel's death signal follows the thread that started a process, not the
    /// process. When this is dropped the thread ends, and with it every guard.
    spawner: std::sync::mpsc::Sender<Job>,
}

struct Shared {
    options: ProcessOptions,
    lives: Mutex<BTreeMap<Life, Entry>>,
    closed: AtomicBool,
    changed: watch::Sender<u64>,
}

/// A life, running or ended.
struct Entry {
    live: Live,
    server: Arc<Workload>,
    pipes: Option<(ChildStdout, ChildStdin)>,
    orders: mpsc::Sender<Signal>,
    ended: watch::Receiver<bool>,
}

impl fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessRuntime")
            .field("cluster", &self.shared.options.cluster)
            .finish_non_exhaustive()
    }
}

impl ProcessRuntime {
    /// Ends what a killed mcpd of the same cluster left behind, and is ready.
    ///
    /// # Errors
    /// The thread that starts processes could not be made, or the cluster's name can't stand in an environment.
    pub async fn open(options: ProcessOptions) -> io::Result<Self> {
        let cluster = options.cluster.clone();
        if !table::is_mark(cluster.as_ref()) || options.guard.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a cluster's name and a guard are needed",
            ));
        }
        let found = tokio::task::spawn_blocking(move || table::sweep(marks::CLUSTER, &cluster)).await?;
        if found > 0 {
            tracing::warn!(found, "ended processes that a killed mcpd had left behind");
        }
        let (spawner, jobs) = std::sync::mpsc::channel::<Job>();
        let handle = Handle::current();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _context = handle.enter();
            for job in jobs {
                job();
            }
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                lives: Mutex::default(),
                closed: AtomicBool::new(false),
                changed: watch::Sender::new(0),
            }),
            spawner,
        })
    }

    /// Every life, in order.
    pub fn observe(&self) -> Vec<Live> {
        self.shared.lives().values().map(|entry| entry.live.clone()).collect()
    }

    /// Starts a life. The start goes on when this future is dropped.
    pub async fn start(&self, order: StartOrder) -> Result<Life, RuntimeError> {
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let job: Job = Box::new(move || drop(answer.send(shared.start(order))));
        self.spawner.send(job).map_err(|_| RuntimeError::Closed)?;
        answered.await.map_err(|_| RuntimeError::Closed)?
    }

    /// Ends a life and clears its remains.
    pub async fn stop(&self, life: &Life, grace: Duration) -> Result<(), RuntimeError> {
        self.shared.stop(life, grace).await
    }

    /// What servers wrote to stderr.
    pub fn logs(&self) -> &Logs {
        &self.shared.options.logs
    }

    /// Takes the pipes of a life that runs; a second time is an error.
    pub fn attach(&self, instance: &InstanceName, life: &Life) -> io::Result<Pipes> {
        let mut lives = self.shared.lives();
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("{instance} does not run as {life}"));
        let entry = lives
            .get_mut(life)
            .filter(|e| e.live.instance == *instance)
            .ok_or_else(gone)?;
        if entry.live.state != LiveState::Running {
            return Err(gone());
        }
        let taken = || io::Error::new(io::ErrorKind::AlreadyExists, format!("{life} is attached to already"));
        let (reader, writer) = entry.pipes.take().ok_or_else(taken)?;
        Ok(Pipes {
            reader: Box::new(reader),
            writer: Box::new(writer),
        })
    }

    /// Rises when a life starts or ends.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Ends every life. Nothing can be started afterwards.
    pub async fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // A start that is under way ends before this job begins: no life escapes.
        let (answer, answered) = oneshot::channel();
        if self
            .spawner
            .send(Box::new(move || answer.send(()).unwrap_or_default()))
            .is_ok()
        {
            // A start that hangs in the operating system must not keep mcpd from stopping.
            drop(timeout(CLOSING, answered).await);
        }
        let lives: Vec<Life> = self.shared.lives().keys().cloned().collect();
        let stops = lives.iter().map(|life| self.shared.stop(life, CLOSING));
        for stopped in futures_util::future::join_all(stops).await {
            if let Err(error) = stopped {
                tracing::warn!(%error, "a server goes on after the shutdown");
            }
        }
    }
}

impl Shared {
    fn lives(&self) -> MutexGuard<'_, BTreeMap<Life, Entry>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs on the spawner's thread alone, so no two starts meet.
    fn start(self: Arc<Self>, order: StartOrder) -> Result<Life, RuntimeError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(RuntimeError::Closed);
        }
        let launch = launch(&order.server, &self.options.environment, &self.options.directory)?;
        self.refuse_twins(&order.instance, &order.server)?;
        let refused = |source| RuntimeError::Start {
            program: launch.program.display().to_string(),
            source,
        };
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| refused(io::Error::other(error.to_string())))?;
        let life = Life(format!("{:016x}", u64::from_be_bytes(random)));
        let (guard, leading) = (&self.options.guard[0], &self.options.guard[1..]);
        let mut command = Command::new(guard);
        command
            .args(leading)
            .arg(std::process::id().to_string())
            .arg(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(&launch.environment)
            .env(marks::CLUSTER, &self.options.cluster)
            .env(marks::INSTANCE, order.instance.to_string())
            .env(marks::LIFE, &life.0)
            .env(marks::GUARD, "1")
            .current_dir(&self.options.directory)
            // Ctrl-C on a terminal is for mcpd, which then stops its servers itself.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(refused)?;
        let stderr = child.stderr.take();
        let pipes = child.stdout.take().zip(child.stdin.take());
        let (orders, received) = mpsc::channel(4);
        let (ended, watched) = watch::channel(false);
        let entry = Entry {
            live: Live {
                instance: order.instance.clone(),
                life: life.clone(),
                spec: order.spec,
                state: LiveState::Running,
                started: time::now(),
            },
            server: Arc::clone(&order.server),
            pipes,
            orders,
            ended: watched,
        };
        self.lives().insert(life.clone(), entry);
        let enough = CancellationToken::new();
        let (logs, enough_read) = (self.options.logs.clone(), enough.clone());
        let (of, in_life) = (order.instance.clone(), life.clone());
        let mut reading = Handle::current().spawn(async move {
            let mut log = logs.begin(&of, &in_life).await;
            if let Some(stderr) = stderr {
                log.read(stderr, &enough_read).await;
            }
            log
        });
        self.changed.send_modify(|count| *count += 1);
        let shared = Arc::clone(&self);
        let own = life.clone();
        Handle::current().spawn(async move {
            let status = follow(&mut child, received).await;
            // Whoever hears of the ending finds no descriptor of it.
            drop(child);
            let killed = status.as_ref().is_ok_and(|status| status.signal().is_some());
            if killed {
                // The guard itself was killed and could not end its tree.
                let life = own.0.clone();
                drop(tokio::task::spawn_blocking(move || table::sweep(marks::LIFE, &life)).await);
            }
            let log = if let Ok(log) = timeout(LAST_WORDS, &mut reading).await {
                log
            } else {
                enough.cancel();
                reading.await
            };
            let mut ending = ending(status.ok());
            if let Ok(mut log) = log {
                log.end(ending.to_string()).await;
                ending.last_line = log.last_line();
            }
            if let Some(entry) = shared.lives().get_mut(&own) {
                entry.live.state = LiveState::Ended(ending);
                entry.pipes = None;
            }
            ended.send_replace(true);
            shared.changed.send_modify(|count| *count += 1);
        });
        Ok(life)
    }

    /// At most two lives of an instance, and never two of the same.
    ///
    /// They are compared by the declaration, as the planner tells specs apart: two declarations may well be one command line.
    fn refuse_twins(&self, instance: &InstanceName, server: &Arc<Workload>) -> Result<(), RuntimeError> {
        let lives = self.lives();
        let running: Vec<&Entry> = lives
            .values()
            .filter(|e| e.live.instance == *instance && e.live.state == LiveState::Running)
            .collect();
        if let Some(twin) = running.iter().find(|e| e.server == *server) {
            return Err(RuntimeError::AlreadyRuns {
                instance: instance.clone(),
                life: twin.live.life.clone(),
            });
        }
        if running.len() >= 2 {
            return Err(RuntimeError::TooManyLives(instance.clone()));
        }
        Ok(())
    }

    async fn stop(&self, life: &Life, grace: Duration) -> Result<(), RuntimeError> {
        let (orders, mut ended) = match self.lives().get_mut(life) {
            Some(entry) => {
                entry.pipes = None;
                (entry.orders.clone(), entry.ended.clone())
            }
            None => return Ok(()),
        };
        for (signal, wait) in [(Signal::TERM, grace), (Signal::USR1, KILLED), (Signal::KILL, KILLED)] {
            if !*ended.borrow() {
                // Who no longer listens has ended.
                let _ = orders.send(signal).await;
            }
            if timeout(wait, ended.wait_for(|ended| *ended)).await.is_ok() {
                self.lives().remove(life);
                return Ok(());
            }
        }
        Err(RuntimeError::DoesNotEnd(life.clone()))
    }
}

/// Waits for a guard to end; signals it while it is certain to be there.
async fn follow(child: &mut Child, mut orders: mpsc::Receiver<Signal>) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            Some(signal) = orders.recv() => {
                if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// Reads a guard's exit status: its code is the server's, 128 + N for signal N.
fn ending(status: Option<ExitStatus>) -> Ending {
    let code = status.and_then(|status| status.code());
    let by_signal = code.filter(|code| (129..=192).contains(code)).map(|code| code - 128);
    Ending {
        code: code.filter(|_| by_signal.is_none()),
        signal: by_signal.or(status.and_then(|status| status.signal())),
        out_of_memory: false,
        last_line: None,
        at: time::now(),
    }
}
