//! mcpd: composes the rooms, serves, and stops in good order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::{Tokens, new_admin_token};
use crate::engine::{Engine, EngineError, Parts, Vault};
use crate::gateway::{Attach, Gateway};
use crate::kit::{Link, Masks, Redacted};
use crate::record::{Fleet, InstanceName, Life, Routes};
use crate::repo::{BRANCH, Folder, GIT_PATH, Hosted, Limits, Remote, RemoteParts, RepoError, Source};
use crate::runtime::{DockerOptions, DockerRuntime, GUARD_WORD, Logs, ProcessOptions, ProcessRuntime, Runtime};
use crate::secret::{Identities, IdentityError, deploy_key, generate};
use crate::settings::{LogFormat, McpdSettings, RemoteSettings, RuntimeKind, SettingsError, Surroundings};
use crate::store::{Store, StoreError};

use super::router::router;
use super::serve::serve;
use super::webhook;
use super::{App, Shared};

/// How long open requests may go on once mcpd stops.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Why mcpd does not start or serve.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A file or folder of its data can't be used.
    #[error("can't use {path}")]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system has no randomness.
    #[error("the system gave no random bytes")]
    Random,
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The repository can't be opened.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The identity can't be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The engine can't begin.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The control loop failed.
    #[error("the control loop failed; the log tells where")]
    Loop,
    /// The process can't listen for the signals that stop it.
    #[error("the signals that stop mcpd can't be listened for")]
    Signals(#[source] std::io::Error),
}

impl DaemonError {
    /// A way out, where one is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some("another program listens there: stop it, or choose another port with --listen".to_owned())
            }
            Self::Data { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("choose a folder of your own with --data-dir".to_owned())
            }
            Self::Store(error) => error.hint().map(Into::into),
            _ => None,
        }
    }
}

/// A daemon that is ready to serve.
pub struct Daemon {
    engine: Engine,
    runtime: Arc<Runtime>,
    app: App,
    listener: TcpListener,
    address: SocketAddr,
    stop: CancellationToken,
}

/// The runtime's links for the gateway: neither room names the other.
struct Pipework(Arc<Runtime>, Masks);

impl Attach for Pipework {
    fn attach<'a>(&'a self, instance: &'a InstanceName, life: &'a Life) -> BoxFuture<'a, std::io::Result<Link>> {
        Box::pin(self.0.attach(instance, life))
    }

    fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.1.mask(text)
    }
}

impl Daemon {
    /// Opens the data folder, the store, the repository and the runtime, and listens. `ends_with_mcpd` says whether
    /// containers end with it, as in development; otherwise they run on until the next one takes them over.
    pub async fn open(
        settings: &McpdSettings,
        around: &Surroundings,
        ends_with_mcpd: bool,
        stop: CancellationToken,
    ) -> Result<Self, DaemonError> {
        let data = &settings.data;
        make_folder(data)?;
        // First of all the address: a second daemon ends here, before it touches anything.
        let listener = TcpListener::bind(settings.listen)
            .await
            .map_err(|source| DaemonError::Listen {
                address: settings.listen,
                source,
            })?;
        let address = listener.local_addr().map_err(|source| DaemonError::Listen {
            address: settings.listen,
            source,
        })?;
        keep_private(data)?;
        let masks = Masks::default();
        let store = Store::open(&data.join("store.redb")).await?;
        let token = admin_token(&data.join("admin.token"))?;
        let directory = match &settings.watch {
            Some(folder) => folder.clone(),
            None => make_folder(&data.join("work"))?,
        };
        let fault = |path: &Path| {
            let path = path.to_owned();
            move |source| DaemonError::Data { path, source }
        };
        let masking = masks.clone();
        let logs = Logs::new(data.join("logs"), Arc::new(move |line| masking.mask(line)));
        let cluster = settings.cluster.to_string();
        let runtime = match settings.runtime {
            RuntimeKind::Docker => Runtime::Docker(DockerRuntime::open(DockerOptions {
                address: settings.docker_host.clone(),
                cluster,
                settings: settings.containers.clone(),
                logs,
                ends_with_mcpd,
            })),
            RuntimeKind::Process => {
                let options = ProcessOptions {
                    guard: vec![OsString::from("/proc/self/exe"), OsString::from(GUARD_WORD)],
                    cluster,
                    directory,
                    logs,
                    environment: around.environment.clone(),
                };
                Runtime::Process(ProcessRuntime::open(options).await.map_err(fault(data))?)
            }
        };
        let runtime = Arc::new(runtime);
        // Before the remote is spoken to: it is shown this key.
        let deploy_key = deploy_key(data, settings.cluster.as_str()).map_err(fault(data))?;
        let source = if let Some(folder) = &settings.watch {
            Source::Folder(Folder::open(folder).await?)
        } else if let Some(remote) = &settings.remote {
            let parts = RemoteParts {
                settings: remote.clone(),
                program: vec![OsString::from("/proc/self/exe"), OsString::from("remote")],
                environment: around.environment.clone(),
                ca_bundle: settings.containers.ca_bundle.clone(),
                limits: Limits::default(),
            };
            let writer = store.meta("store").unwrap_or_default();
            Source::Remote(Remote::open(data, &writer, parts).await?)
        } else {
            let program = std::env::current_exe().map_err(fault(data))?;
            let writer = store.meta("store").unwrap_or_default();
            let hosted = Hosted::open(data, &program, &writer).await?;
            // Whatever the data folder's own mode: declarations may hold what is not for everybody.
            only_owner(hosted.path(), 0o700)?;
            Source::Hosted(hosted)
        };
        let location = match (&settings.watch, &settings.remote) {
            (Some(folder), _) => folder.display().to_string(),
            (None, Some(remote)) => remote.url.location.clone(),
            (None, None) => GIT_PATH.to_owned(),
        };
        let identity = match &settings.watch {
            // A data folder inside the watched one moves with it: the same files, the same ledger.
            Some(folder) => match data.strip_prefix(folder) {
                Ok(inside) => format!("folder:./{}", inside.display()),
                Err(_) => format!("folder:{}", folder.display()),
            },
            None => settings
                .remote
                .as_ref()
                .map_or_else(|| "hosted".to_owned(), RemoteSettings::identity),
        };
        let now = crate::kit::time::now();
        let identities = Identities::open(data, &settings.identity_files, now)?;
        for warning in identities.warnings() {
            tracing::warn!("{warning}");
        }
        let salt = salt(&store).await?;
        let key = state_key(&identities).or_else(random_key).ok_or(DaemonError::Random)?;
        let vault = Vault::new(identities, salt, masks.clone(), variables(&around.environment));
        let (fleet, fleet_seen) = watch::channel(Arc::<Fleet>::default());
        let (routes, routes_seen) = watch::channel(Arc::<Routes>::default());
        let pipework = Arc::new(Pipework(Arc::clone(&runtime), masks.clone()));
        let gateway = Gateway::start(pipework, fleet_seen, routes_seen, &key, stop.clone());
        let counting = gateway.clone();
        let engine = Engine::start(
            Parts {
                store,
                vault: Arc::new(vault),
                masks,
                source: source.clone(),
                runtime: Arc::clone(&runtime),
                runtime_name: runtime.name(),
                cluster: settings.cluster.to_string(),
                identity,
                location,
                interval: settings.reconcile_interval,
                upstreams: gateway.upstreams(),
                demand: gateway.demand(),
                in_flight: Arc::new(move |life| counting.in_flight(life)),
                fleet,
                routes,
            },
            stop.clone(),
        )
        .await?;
        if let Source::Hosted(hosted) = &source {
            let (hosted, judge, stop) = (hosted.clone(), Arc::new(engine.clone()), stop.clone());
            tokio::spawn(async move { hosted.serve_hooks(judge, stop).await });
        }
        if let Source::Remote(remote) = &source {
            tokio::spawn(remote.clone().tend(stop.clone()));
        }
        let app = App(Arc::new(Shared {
            engine: engine.clone(),
            gateway,
            source,
            tokens: Tokens::of([Tokens::admin(token)]),
            allowed: settings.allowed.clone(),
            deploy_key,
            branch: settings
                .remote
                .as_ref()
                .map_or_else(|| BRANCH.to_owned(), |remote| format!("refs/heads/{}", remote.branch)),
            webhook_secret: settings.webhook_secret.clone(),
            hooks: tokio::sync::Semaphore::new(webhook::PLACES),
            stop: stop.clone(),
            refusals: std::sync::Mutex::default(),
        }));
        Ok(Self {
            engine,
            runtime,
            app,
            listener,
            address,
            stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same with further principals, for tests of what they may do.
    #[cfg(test)]
    pub(super) fn knowing(mut self, tokens: Tokens) -> Self {
        Arc::get_mut(&mut self.app.0).expect("nothing is served yet").tokens = tokens;
        self
    }

    /// The control loop.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Serves until the token given to [`Daemon::open`] is cancelled; then ends requests, servers and the rest in order.
    pub async fn serve(self) -> Result<(), DaemonError> {
        let stop = self.stop.clone();
        serve(self.listener, router(self.app), stop.clone(), LAST_REQUESTS).await;
        stop.cancel();
        self.runtime.close().await;
        if self.engine.has_failed() {
            return Err(DaemonError::Loop);
        }
        Ok(())
    }
}

/// The key that seals what MCP clients carry from one round of a request to the next: the same after a restart, and on a
/// wiped host with the same identity.
fn state_key(identities: &Identities) -> Option<[u8; 32]> {
    // No secret has a name with a blank in it.
    let secret = generate(identities, "mcpd request state", "key", 64).ok()?;
    Some(*crate::kit::Digest::of(secret.reveal().as_bytes()).bytes())
}

/// A key for this start alone, where no identity is there to derive one from.
fn random_key() -> Option<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).ok()?;
    Some(key)
}

/// What digests of secret values are keyed with: random, kept in the store and shown nowhere.
async fn salt(store: &Store) -> Result<String, DaemonError> {
    const FACT: &str = "secret-salt";
    if let Some(salt) = store.meta(FACT) {
        return Ok(salt);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| DaemonError::Random)?;
    let salt = crate::kit::Digest::of(bytes).to_string();
    store.set_meta(FACT, &salt).await?;
    Ok(salt)
}

/// The environment as secrets name it; what is not UTF-8 can't be named.
fn variables(environment: &[(OsString, OsString)]) -> BTreeMap<String, Redacted<String>> {
    let pair = |(name, value): &(OsString, OsString)| {
        Some((name.to_str()?.to_owned(), Redacted::new(value.to_str()?.to_owned())))
    };
    environment.iter().filter_map(pair).collect()
}

/// Makes a folder that only its owner may look into.
pub(super) fn make_folder(path: &Path) -> Result<PathBuf, DaemonError> {
    let fault = |source| DaemonError::Data {
        path: path.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(fault)?;
    Ok(path.to_owned())
}

fn only_owner(path: &Path, mode: u32) -> Result<(), DaemonError> {
    let fault = |source| DaemonError::Data {
        path: path.to_owned(),
        source,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(fault)
}

/// Says so where others may look into the data folder. It may be anybody's folder, so its mode is left alone; what is
/// private in it has modes of its own.
fn keep_private(data: &Path) -> Result<(), DaemonError> {
    let fault = |source| DaemonError::Data {
        path: data.to_owned(),
        source,
    };
    let mode = std::fs::metadata(data).map_err(fault)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("others may look into {}: chmod 700 keeps it private", data.display());
    }
    Ok(())
}

/// Reads the admin token, or makes it at the first start; readable by its owner alone.
fn admin_token(path: &Path) -> Result<Redacted<String>, DaemonError> {
    let fault = |source| DaemonError::Data {
        path: path.to_owned(),
        source,
    };
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => {
            only_owner(path, 0o600)?;
            return Ok(Redacted::new(text.trim().to_owned()));
        }
        // An empty file is what a crash between creating and writing leaves.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(fault(error)),
    }
    let token = new_admin_token().map_err(|_| DaemonError::Random)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(fault)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(fault)?;
    file.write_all(format!("{}\n", token.reveal()).as_bytes())
        .map_err(fault)?;
    file.sync_all().map_err(fault)?;
    Ok(token)
}

/// Cancels the token when the process is told to stop.
pub(super) fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// The log goes to stderr; stdout stays free for what was asked for.
pub(super) fn start_log(filter: &str, form: LogFormat) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second subscriber is refused, and the first one goes on: only tests start two.
    let _ = match form {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// The whole of the program `mcpd`.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program's own words")]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let resolved = Surroundings::of_process()
        .map_err(|error| format!("the current folder can't be read: {error}"))
        .and_then(|around| match McpdSettings::resolve(arguments, &around) {
            Ok(settings) => Ok((settings, around)),
            // Help and the version come this way too, with their own exit codes.
            Err(SettingsError::Usage(usage)) => usage.exit(),
            Err(error) => Err(with_hint(&error, error.hint().map(str::to_owned))),
        });
    let (settings, around) = match resolved {
        Ok(resolved) => resolved,
        Err(text) => {
            eprintln!("error: {text}");
            return ExitCode::from(2);
        }
    };
    if settings.print {
        print!("{}", settings.table());
        for warning in &settings.warnings {
            eprintln!("warning: {warning}");
        }
        return ExitCode::SUCCESS;
    }
    start_log(&settings.log, settings.log_format);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&settings, &around)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_hint(&error, error.hint()));
            ExitCode::FAILURE
        }
    }
}

fn with_hint(error: &dyn std::error::Error, hint: Option<String>) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    match hint {
        Some(hint) => format!("{text}\nhint: {hint}"),
        None => text,
    }
}

async fn run(settings: &McpdSettings, around: &Surroundings) -> Result<(), DaemonError> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(DaemonError::Signals)?;
    let daemon = Daemon::open(settings, around, false, stop).await?;
    let url = format!("http://{}", daemon.address());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %url,
        data = %settings.data.display(),
        cluster = %settings.cluster,
        runtime = settings.runtime.name(),
        "mcpd is ready"
    );
    if let Some(remote) = &settings.remote {
        tracing::info!(
            remote = remote.url.location,
            branch = remote.branch,
            "what the remote declares is applied; mcpd logs in to it by the key that mcpctl backup key prints, or by a token"
        );
    } else if settings.watch.is_none() {
        tracing::info!(
            "git clone {url}{GIT_PATH} (any user name, the password is in {}/admin.token)",
            settings.data.display()
        );
    }
    daemon.serve().await?;
    tracing::info!("stopped");
    Ok(())
}
