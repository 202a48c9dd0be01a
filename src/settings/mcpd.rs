//! The daemon's settings: a flag beats the environment, which beats the default.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::access::{self, AllowedHosts};
use crate::kit::{Digest, Name, Redacted, nearest};

use super::complaint::Complaint;
use super::containers::{ContainerFlags, ContainerSettings};
use super::desk::{Desk, absolute, list};
use super::remote::{RemoteFlags, RemoteSettings};
use super::value::{parse_address, parse_duration};
use super::{Origin, Setting, SettingsError, Surroundings};

/// Where an engine is looked for if nothing else is said.
const DOCKER_HOST: &str = "unix:///var/run/docker.sock";

/// Runs MCP servers exactly as a repository of YAML declares them.
#[derive(Debug, Parser)]
#[command(name = "mcpd", version)]
struct Flags {
    /// Address and port to listen on [MCPD_LISTEN; default 127.0.0.1:3100]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Folder that holds the store, the repository and the tokens [MCPD_DATA_DIR; default /var/lib/mcpd or ~/.local/state/mcpd]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Name that marks what this daemon runs as its own [MCPD_CLUSTER; default made from the data folder's path]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// URL at which others reach this daemon [MCPD_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Further hosts that requests may name, separated by commas [MCPD_ALLOWED_HOSTS]
    #[arg(long, value_name = "HOSTS")]
    allowed_hosts: Option<String>,
    /// Further origins that pages may have, separated by commas [MCPD_ALLOWED_ORIGINS]
    #[arg(long, value_name = "ORIGINS")]
    allowed_origins: Option<String>,
    #[command(flatten)]
    remote: RemoteFlags,
    /// Secret that the git server signs webhooks with [MCPD_WEBHOOK_SECRET]
    #[arg(long, value_name = "SECRET")]
    webhook_secret: Option<String>,
    /// Folder that is watched and written in place of the hosted repository [MCPD_WATCH]
    #[arg(long, value_name = "DIR")]
    watch: Option<String>,
    /// Files with further private keys that open secrets (age or SSH), separated by commas [MCPD_IDENTITY_FILE]
    #[arg(long, value_name = "FILES")]
    identity_file: Option<String>,
    /// What servers run in: docker or process [MCPD_RUNTIME; default docker]
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<String>,
    /// Where the Docker engine is, as unix:///run/docker.sock or tcp://HOST:PORT [DOCKER_HOST; default unix:///var/run/docker.sock]
    #[arg(long, value_name = "ADDRESS")]
    docker_host: Option<String>,
    #[command(flatten)]
    containers: ContainerFlags,
    /// How often everything is compared anew, as 30s or 5m [MCPD_RECONCILE_INTERVAL; default 30s]
    #[arg(long, value_name = "DURATION")]
    reconcile_interval: Option<String>,
    /// What is logged, as info or mcpctl=debug [MCPD_LOG; default info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Form of the log: text or json [MCPD_LOG_FORMAT; default text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Listen beyond loopback without TLS in front
    #[arg(long)]
    insecure_listen: bool,
    /// Print each setting with its origin, and end
    #[arg(long)]
    print_settings: bool,
}

/// What servers run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Containers of a Docker engine.
    Docker,
    /// Child processes of mcpd.
    Process,
}

impl RuntimeKind {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The daemon's settings, resolved.
#[derive(Debug, Clone)]
pub struct McpdSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The data folder, absolute.
    pub data: PathBuf,
    /// The mark of what is ours.
    pub cluster: Name,
    /// The URL for others, without a slash at its end.
    pub public_url: Option<String>,
    /// Which hosts and origins are let in.
    pub allowed: AllowedHosts,
    /// The repository that lives elsewhere, where there is one.
    pub remote: Option<RemoteSettings>,
    /// What git servers sign webhooks with; without it there are none.
    pub webhook_secret: Option<Redacted<String>>,
    /// The watched folder, absolute.
    pub watch: Option<PathBuf>,
    /// Files with further private keys that open secrets, absolute.
    pub identity_files: Vec<PathBuf>,
    /// What servers run in.
    pub runtime: RuntimeKind,
    /// Where the Docker engine is.
    pub docker_host: String,
    /// How containers are made.
    pub containers: ContainerSettings,
    /// How often everything is compared anew.
    pub reconcile_interval: Duration,
    /// What is logged.
    pub log: String,
    /// In which form.
    pub log_format: LogFormat,
    /// Whether the settings are to be printed and nothing else.
    pub print: bool,
    /// Every setting, in the order of the help.
    pub settings: Vec<Setting>,
    /// What looks like a slip, a line each.
    pub warnings: Vec<String>,
}

impl McpdSettings {
    /// Resolves the settings from arguments (the program's name first) and surroundings.
    ///
    /// # Errors
    /// A flag is unknown, a value can't be used, or listening beyond loopback would be unprotected.
    pub fn resolve(
        arguments: impl IntoIterator<Item = OsString>,
        around: &Surroundings,
    ) -> Result<Self, SettingsError> {
        let flags = Flags::try_parse_from(arguments).map_err(|error| match Complaint::of(&error) {
            Some(complaint) => SettingsError::Words(complaint),
            None => SettingsError::Usage(error),
        })?;
        let mut desk = Desk {
            around,
            settings: vec![],
        };

        let listen = desk.take("MCPD_LISTEN", "--listen", flags.listen, "127.0.0.1:3100")?;
        let listen_named = desk.named();
        let listen_at = desk.read(&listen, parse_address, "give an address and a port, as 127.0.0.1:3100")?;

        let default_data = default_data(around);
        let data = desk.take("MCPD_DATA_DIR", "--data-dir", flags.data_dir, &default_data)?;
        if data.is_empty() {
            let hint = Some("give --data-dir, or set HOME");
            return Err(SettingsError::value(
                "MCPD_DATA_DIR",
                "there is no home folder to keep data in",
                hint,
            ));
        }
        let data = absolute(around, &data)?;
        desk.shows(&data);
        // It survives a wipe, and two daemons on one machine never take each other's servers for their own.
        let default_cluster = Digest::of(data.as_os_str().as_bytes()).short(8);
        let cluster = desk.take("MCPD_CLUSTER", "--cluster", flags.cluster, &default_cluster)?;
        let cluster = desk.read(&cluster, |text| text.parse::<Name>().map_err(|e| e.to_string()), "")?;

        let public_url = desk.take("MCPD_PUBLIC_URL", "--public-url", flags.public_url, "")?;
        let public_url = public_url.trim_end_matches('/').to_owned();
        let parse = |text: &str| text.parse::<access::Origin>().map_err(|error| error.to_string());
        let hint = "give scheme and host, as https://mcp.example.com";
        let public = (!public_url.is_empty())
            .then(|| desk.read(&public_url, parse, hint))
            .transpose()?;
        let hosts = desk.take("MCPD_ALLOWED_HOSTS", "--allowed-hosts", flags.allowed_hosts, "")?;
        let check = |text: &str| AllowedHosts::new(None, list(text), []).map_err(|error| error.to_string());
        desk.read(
            &hosts,
            check,
            "give hosts separated by commas, as a.example.com,b.example.com:8443; there is no *",
        )?;
        let origins = desk.take("MCPD_ALLOWED_ORIGINS", "--allowed-origins", flags.allowed_origins, "")?;
        let together =
            |text: &str| AllowedHosts::new(public.clone(), list(&hosts), list(text)).map_err(|error| error.to_string());
        let hint = "give origins separated by commas, as https://a.example.com; there is no *";
        let allowed = desk.read(&origins, together, hint)?;

        let remote = RemoteSettings::resolve(flags.remote, &mut desk)?;
        let webhook_secret = desk.take("MCPD_WEBHOOK_SECRET", "--webhook-secret", flags.webhook_secret, "")?;
        let webhook_secret = (!webhook_secret.is_empty()).then(|| Redacted::new(webhook_secret));
        if webhook_secret.is_some() {
            desk.shows_instead("***".to_owned());
        }
        let watch = desk.take("MCPD_WATCH", "--watch", flags.watch, "")?;
        let watch = (!watch.is_empty()).then(|| absolute(around, &watch)).transpose()?;
        if let Some(folder) = &watch {
            desk.shows(folder);
        }
        let (remote, watch) = one_source(remote, watch, &desk)?;
        let identities = desk.take("MCPD_IDENTITY_FILE", "--identity-file", flags.identity_file, "")?;
        let identity_files = list(&identities)
            .map(|path| absolute(around, path))
            .collect::<Result<Vec<PathBuf>, SettingsError>>()?;
        let runtime = desk.take("MCPD_RUNTIME", "--runtime", flags.runtime, "docker")?;
        let runtime = desk.read(&runtime, runtime_kind, "the runtimes are: docker, process")?;
        let docker_host = desk.take("DOCKER_HOST", "--docker-host", flags.docker_host, DOCKER_HOST)?;
        desk.read(
            &docker_host,
            engine_address,
            "give unix:///run/docker.sock or tcp://HOST:PORT",
        )?;
        let containers = ContainerSettings::resolve(flags.containers, &mut desk)?;
        let interval = "MCPD_RECONCILE_INTERVAL";
        let interval = desk.take(interval, "--reconcile-interval", flags.reconcile_interval, "30s")?;
        let reconcile_interval = desk.read(&interval, at_least_a_second, "")?;
        let log = desk.take("MCPD_LOG", "--log", flags.log, "info")?;
        let filter = |text: &str| {
            let filter = tracing_subscriber::EnvFilter::try_new(text);
            filter.map(drop).map_err(|error| error.to_string())
        };
        desk.read(
            &log,
            filter,
            "give error, warn, info, debug, trace, or PART=LEVEL separated by commas",
        )?;
        let log_format = desk.take("MCPD_LOG_FORMAT", "--log-format", flags.log_format, "text")?;
        let log_format = desk.read(&log_format, format_of_log, "the formats are: text, json")?;

        let secure = public.as_ref().is_some_and(access::Origin::is_secure);
        if !(listen_at.ip().is_loopback() || secure || flags.insecure_listen) {
            return Err(SettingsError::value(
                listen_named,
                format!("{listen} is reachable by others, and nothing says that TLS stands in front"),
                Some("give an https --public-url, listen on 127.0.0.1, or accept the risk with --insecure-listen"),
            ));
        }
        let insecure = if flags.insecure_listen { "true" } else { "false" };
        desk.settings.push(Setting {
            name: "",
            flag: "--insecure-listen",
            value: insecure.to_owned(),
            origin: if flags.insecure_listen {
                Origin::Flag("--insecure-listen".to_owned())
            } else {
                Origin::Default
            },
        });
        Ok(Self {
            listen: listen_at,
            data,
            cluster,
            public_url: (!public_url.is_empty()).then_some(public_url),
            allowed,
            remote,
            webhook_secret,
            watch,
            identity_files,
            runtime,
            docker_host,
            containers,
            reconcile_interval,
            log,
            log_format,
            print: flags.print_settings,
            warnings: unknown(around, &desk.settings),
            settings: desk.settings,
        })
    }

    /// The settings as a table: name, value, origin.
    #[must_use]
    pub fn table(&self) -> String {
        let rows = self.settings.iter().map(|setting| {
            let name = if setting.name.is_empty() {
                setting.flag
            } else {
                setting.name
            };
            let value = if setting.value.is_empty() {
                "-"
            } else {
                setting.value.as_str()
            };
            [name.to_owned(), value.to_owned(), setting.origin.to_string()]
        });
        let head = ["NAME", "VALUE", "ORIGIN"].map(str::to_owned);
        let rows: Vec<[String; 3]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (name, value) = (width(0), width(1));
        let lines: Vec<String> = rows
            .iter()
            .map(|row| format!("{:name$}  {:value$}  {}", row[0], row[1], row[2]))
            .collect();
        lines.join("\n") + "\n"
    }
}

/// A folder and a remote can't both be the source: what was said by a flag wins over the environment.
fn one_source(
    remote: Option<(RemoteSettings, Origin)>,
    watch: Option<PathBuf>,
    desk: &Desk<'_>,
) -> Result<(Option<RemoteSettings>, Option<PathBuf>), SettingsError> {
    let (remote, named) = match (remote, &watch) {
        (None, _) => return Ok((None, watch)),
        (Some((remote, _)), None) => return Ok((Some(remote), None)),
        (Some((remote, named)), Some(_)) => (remote, named),
    };
    let by_flag = |origin: &Origin| matches!(origin, Origin::Flag(_));
    match (by_flag(&named), by_flag(&desk.origin())) {
        (true, false) => Ok((Some(remote), None)),
        (false, true) => Ok((None, watch)),
        _ => Err(SettingsError::value(
            desk.named(),
            "a folder is watched and MCPD_REPO names a repository: only one can be the source",
            Some("leave out one of the two"),
        )),
    }
}

fn default_data(around: &Surroundings) -> String {
    if around.is_root {
        return "/var/lib/mcpd".to_owned();
    }
    let state = around.base_folder("XDG_STATE_HOME", ".local/state");
    state.map_or(String::new(), |state| state.join("mcpd").to_string_lossy().into_owned())
}

fn runtime_kind(text: &str) -> Result<RuntimeKind, String> {
    match text {
        "docker" => Ok(RuntimeKind::Docker),
        "process" => Ok(RuntimeKind::Process),
        _ => Err(format!("there is no runtime \"{text}\" yet")),
    }
}

fn engine_address(text: &str) -> Result<(), String> {
    let rest = ["unix://", "tcp://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() => Ok(()),
        _ => Err(format!("\"{text}\" is not an address of an engine")),
    }
}

fn format_of_log(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("there is no log format \"{text}\"")),
    }
}

pub(super) fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration < Duration::from_secs(1) {
        return Err(format!("{text} is shorter than a second"));
    }
    Ok(duration)
}

/// Variables that look like ours and are not: a line each.
fn unknown(around: &Surroundings, known: &[Setting]) -> Vec<String> {
    let names = || known.iter().map(|setting| setting.name).filter(|name| !name.is_empty());
    let given: BTreeSet<String> = around
        .environment
        .iter()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("MCPD_") && !names().any(|known| known == name))
        .collect();
    let line = |name: String| {
        // The common beginning says nothing: what follows it is compared.
        let rest = name.trim_start_matches("MCPD_");
        let meant = nearest(rest, names().map(|known| known.trim_start_matches("MCPD_")));
        let hint = meant.map_or(String::new(), |meant| format!("; did you mean MCPD_{meant}?"));
        format!("unknown setting {name} in the environment{hint}")
    };
    given.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(environment: &[(&str, &str)]) -> Surroundings {
        Surroundings {
            environment: environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            folder: "/home/ada/here".into(),
            is_root: false,
            user: 1000,
        }
    }

    fn resolve(arguments: &[&str], environment: &[(&str, &str)]) -> Result<McpdSettings, SettingsError> {
        let mut environment = environment.to_vec();
        environment.push(("HOME", "/home/ada"));
        let arguments = std::iter::once("mcpd")
            .chain(arguments.iter().copied())
            .map(OsString::from);
        McpdSettings::resolve(arguments, &around(&environment))
    }

    #[test]
    fn defaults() {
        let settings = resolve(&[], &[]).expect("settings");
        assert_eq!(settings.listen.to_string(), "127.0.0.1:3100");
        assert_eq!(settings.data, PathBuf::from("/home/ada/.local/state/mcpd"));
        assert_eq!(
            settings.cluster.as_str(),
            Digest::of("/home/ada/.local/state/mcpd").short(8)
        );
        assert_eq!((settings.watch, settings.public_url), (None, None));
        assert_eq!(settings.reconcile_interval, Duration::from_secs(30));
        assert_eq!(
            (settings.runtime, settings.log_format),
            (RuntimeKind::Docker, LogFormat::Text)
        );
        assert!(settings.warnings.is_empty() && !settings.print);
        assert!(
            settings
                .settings
                .iter()
                .all(|setting| setting.origin == Origin::Default)
        );
        let root = Surroundings {
            is_root: true,
            ..around(&[])
        };
        let settings = McpdSettings::resolve(["mcpd".into()], &root).expect("settings");
        assert_eq!(settings.data, PathBuf::from("/var/lib/mcpd"));
        let moved = resolve(&[], &[("XDG_STATE_HOME", "/state")]).expect("settings");
        assert_eq!(moved.data, PathBuf::from("/state/mcpd"));
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_default() {
        for (arguments, environment, want, origin) in [
            (vec![], vec![], "30s", "default"),
            (vec![], vec![("MCPD_RECONCILE_INTERVAL", "")], "30s", "default"),
            (vec![], vec![("MCPD_RECONCILE_INTERVAL", "5m")], "5m", "environment"),
            (
                vec!["--reconcile-interval", "1s"],
                vec![("MCPD_RECONCILE_INTERVAL", "5m")],
                "1s",
                "flag --reconcile-interval",
            ),
            (
                vec!["--reconcile-interval=1s"],
                vec![("MCPD_RECONCILE_INTERVAL", "nonsense")],
                "1s",
                "flag --reconcile-interval",
            ),
        ] {
            let settings = resolve(&arguments, &environment).expect("settings");
            let setting = settings
                .settings
                .iter()
                .find(|s| s.flag == "--reconcile-interval")
                .expect("a setting");
            assert_eq!(
                (setting.value.as_str(), setting.origin.to_string().as_str()),
                (want, origin)
            );
            assert_eq!(settings.reconcile_interval, parse_duration(want).expect("a duration"));
        }
    }

    #[test]
    fn faults_name_the_place_and_the_way_out() {
        for (arguments, environment, want) in [
            (
                vec!["--listen", "3100"],
                vec![],
                "--listen: \"3100\" is not an address with a port",
            ),
            (
                vec![],
                vec![("MCPD_RUNTIME", "kubernetes")],
                "MCPD_RUNTIME: there is no runtime \"kubernetes\" yet",
            ),
            (
                vec![],
                vec![("DOCKER_HOST", "ssh://me@there")],
                "DOCKER_HOST: \"ssh://***@there\" can't be used",
            ),
            (
                vec!["--log-format", "xml"],
                vec![],
                "--log-format: there is no log format \"xml\"",
            ),
            (
                vec!["--allowed-hosts", "a.example,*"],
                vec![],
                "--allowed-hosts: \"*\" is not a host, as example.com or example.com:8443",
            ),
            (
                vec!["--allowed-origins", "*"],
                vec![],
                "--allowed-origins: \"*\" is not an origin, as https://example.com",
            ),
            (
                vec!["--public-url", "mcp.example"],
                vec![],
                "--public-url: \"mcp.example\" is not an origin, as https://example.com",
            ),
            (
                vec!["--public-url", "https://ada:s3cret@mcp.example.com"],
                vec![],
                "--public-url: \"https://***@mcp.example.com\" can't be used",
            ),
            (
                vec![],
                vec![("MCPD_LISTEN", "0.0.0.0:3100")],
                "MCPD_LISTEN: 0.0.0.0:3100 is reachable by others, and nothing says that TLS stands in front",
            ),
            (
                vec!["--public-url", "http://mcp.example.com", "--listen", "[::]:1"],
                vec![],
                "--listen: [::]:1 is reachable by others, and nothing says that TLS stands in front",
            ),
        ] {
            let error = resolve(&arguments, &environment).expect_err(want);
            assert_eq!(error.to_string(), want);
            assert!(error.hint().is_some(), "{want}");
        }
        for (arguments, want) in [
            (
                ["--reconcile-interval", "0s"],
                "--reconcile-interval: 0s is shorter than a second",
            ),
            (
                ["--cluster", "No"],
                "--cluster: \"No\" is not a name: use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends",
            ),
        ] {
            assert_eq!(resolve(&arguments, &[]).expect_err(want).to_string(), want);
        }
        assert!(matches!(
            resolve(&["--log", "a=b=c"], &[]),
            Err(SettingsError::Value { .. })
        ));
        let error = resolve(&["--lissen", "x"], &[]).expect_err("no such flag");
        assert_eq!(error.to_string(), "unexpected argument '--lissen' found");
        assert_eq!(error.hint(), Some("did you mean \"--listen\"?"));
        let homeless = McpdSettings::resolve(["mcpd".into()], &around(&[])).expect_err("no home");
        assert!(homeless.hint().is_some_and(|hint| hint.contains("--data-dir")));
    }

    #[test]
    fn beyond_loopback_with_care() {
        for arguments in [
            vec!["--listen", "0.0.0.0:3100", "--insecure-listen"],
            vec!["--listen", "0.0.0.0:3100", "--public-url", "https://mcp.example.com/"],
            vec!["--listen", "[::1]:3100"],
            vec!["--listen", "localhost:3100"],
        ] {
            resolve(&arguments, &[]).expect("settings");
        }
        let settings = resolve(&["--public-url", "https://mcp.example.com/"], &[]).expect("settings");
        assert_eq!(settings.public_url.as_deref(), Some("https://mcp.example.com"));
        let host = |host| access::host_allowed(Some(host), Some("https://mcp.example.com"), &settings.allowed);
        assert!(host("mcp.example.com").is_ok() && host("evil.example").is_err());
    }

    #[test]
    fn folders_are_absolute() {
        let settings = resolve(&["--data-dir", "data", "--watch", "./repo"], &[]).expect("settings");
        assert_eq!(settings.data, PathBuf::from("/home/ada/here/data"));
        assert_eq!(settings.watch, Some(PathBuf::from("/home/ada/here/repo")));
        assert_eq!(settings.cluster.as_str(), Digest::of("/home/ada/here/data").short(8));
        let shown = |name| {
            settings
                .settings
                .iter()
                .find(|s| s.name == name)
                .map(|s| s.value.as_str())
        };
        assert_eq!(shown("MCPD_DATA_DIR"), Some("/home/ada/here/data"));
        assert_eq!(shown("MCPD_WATCH"), Some("/home/ada/here/repo"));
    }

    /// A remote's place is told, and what opens it is not; of a folder and a remote the one named by a flag counts.
    #[test]
    fn a_repository_that_lives_elsewhere() {
        let url = "https://ada:hunter2@git.example.com/o/r.git";
        let settings = resolve(&["--branch", "live", "--repo-path", "/mcp/"], &[("MCPD_REPO", url)]).expect("settings");
        let remote = settings.remote.clone().expect("a remote");
        assert_eq!((remote.branch.as_str(), remote.within.as_str()), ("live", "mcp"));
        assert_eq!(remote.url.password.reveal().as_deref(), Some("hunter2"));
        let told = format!("{} {settings:?} {}", settings.table(), remote.identity());
        assert!(
            told.contains("https://git.example.com/o/r.git") && !told.contains("hunter2"),
            "{told}"
        );
        let token = resolve(&["--repo", "https://h/r"], &[("MCPD_REPO_TOKEN", "hunter2")]).expect("settings");
        let told = format!("{} {token:?}", token.table());
        assert!(told.contains("***") && !told.contains("hunter2"), "{told}");

        let watched = resolve(&["--watch", "x"], &[("MCPD_REPO", "/srv/r.git")]).expect("settings");
        assert!(watched.remote.is_none() && watched.watch.is_some());
        let remote = resolve(&["--repo", "r.git"], &[("MCPD_WATCH", "x")]).expect("settings");
        assert!(remote.watch.is_none());
        assert_eq!(
            remote.remote.map(|it| it.url.address).as_deref(),
            Some("/home/ada/here/r.git")
        );
        for (arguments, want) in [
            (
                vec!["--repo", "r", "--watch", "x"],
                "--watch: a folder is watched and MCPD_REPO names a repository: only one can be the source",
            ),
            (vec!["--repo", "https://u:hunter2@h"], "--repo: it names no repository"),
            (
                vec!["--repo", "git@h:r", "--repo-token", "hunter2"],
                "--repo-token: a token is for https, and MCPD_REPO is not",
            ),
            (
                vec!["--repo", "https://u:hunter2@h/r", "--repo-token-file", "t"],
                "--repo-token-file: MCPD_REPO holds a password already",
            ),
            (
                vec!["--repo-token", "hunter2", "--repo-token-file", "t"],
                "--repo-token-file: the token is given twice, here and by --repo-token",
            ),
            (vec!["--branch", "a b"], "--branch: \"a b\" is no branch"),
            (
                vec!["--repo-path", "../x"],
                "--repo-path: \"../x\" is no folder of a repository",
            ),
        ] {
            let error = resolve(&arguments, &[]).expect_err(want);
            assert_eq!(error.to_string(), want);
            assert!(error.hint().is_some_and(|hint| !hint.contains("hunter2")), "{want}");
        }
    }

    /// Values for runners may be credentials: neither the table nor a fault shows one.
    #[test]
    fn how_containers_are_made_is_told_without_credentials() {
        let variables = "TOKEN=hunter2,npm_config_registry=https://u:hunter2@r.example";
        let arguments = [
            "--ca-bundle",
            "ca.pem",
            "--volume-roots",
            "/srv, data",
            "--container-access",
            "network",
        ];
        let settings = resolve(&arguments, &[("MCPD_RUNNER_ENV", variables)]).expect("settings");
        assert_eq!(settings.containers.runner_env.reveal().len(), 2);
        assert_eq!(settings.containers.access, crate::settings::ContainerAccess::Network);
        assert_eq!(
            settings.containers.ca_bundle,
            Some(PathBuf::from("/home/ada/here/ca.pem"))
        );
        let secret = resolve(&[], &[("MCPD_WEBHOOK_SECRET", "hunter2")]).expect("settings");
        let told_of_secret = format!("{} {secret:?}", secret.table());
        assert!(!told_of_secret.contains("hunter2"), "{told_of_secret}");
        assert!(secret.webhook_secret.is_some_and(|it| it.reveal() == "hunter2"));
        let roots = ["/srv", "/home/ada/here/data"].map(PathBuf::from);
        assert_eq!(settings.containers.volume_roots, roots);
        let told = format!("{} {settings:?}", settings.table());
        assert!(
            told.contains("TOKEN=***,npm_config_registry=***") && !told.contains("hunter2"),
            "{told}"
        );
        for (name, value, want) in [
            ("MCPD_RUNNER_ENV", "hunter2", "MCPD_RUNNER_ENV: entry 1 has no ="),
            (
                "MCPD_MCP_NETWORK",
                "host",
                "MCPD_MCP_NETWORK: \"host\" is not a network's name",
            ),
            (
                "MCPD_CONTAINER_ACCESS",
                "x",
                "MCPD_CONTAINER_ACCESS: there is no access \"x\"",
            ),
            (
                "MCPD_NODE_RUNNER_IMAGE",
                "a b",
                "MCPD_NODE_RUNNER_IMAGE: \"a b\" is not an image",
            ),
        ] {
            let error = resolve(&[], &[(name, value)]).expect_err(want);
            assert_eq!(error.to_string(), want);
            assert!(error.hint().is_some(), "{want}");
        }
    }

    #[test]
    fn strangers_in_the_environment_are_told() {
        let settings = resolve(
            &[],
            &[
                ("MCPD_LISTN", "x"),
                ("MCPD_DATADIR", "x"),
                ("MCPD_QUUX", "x"),
                ("MCPCTL_URL", "x"),
                ("MCPD_LOG", "warn"),
            ],
        )
        .expect("settings");
        let want = [
            "unknown setting MCPD_DATADIR in the environment; did you mean MCPD_DATA_DIR?",
            "unknown setting MCPD_LISTN in the environment; did you mean MCPD_LISTEN?",
            "unknown setting MCPD_QUUX in the environment",
        ];
        assert_eq!(settings.warnings, want);
    }

    #[test]
    fn the_table_and_the_help() {
        let settings = resolve(&["--print-settings", "--log", "debug"], &[("MCPD_CLUSTER", "one")]).expect("settings");
        assert!(settings.print);
        insta::assert_snapshot!(settings.table(), @"
        NAME                      VALUE                        ORIGIN
        MCPD_LISTEN               127.0.0.1:3100               default
        MCPD_DATA_DIR             /home/ada/.local/state/mcpd  default
        MCPD_CLUSTER              one                          environment
        MCPD_PUBLIC_URL           -                            default
        MCPD_ALLOWED_HOSTS        -                            default
        MCPD_ALLOWED_ORIGINS      -                            default
        MCPD_REPO                 -                            default
        MCPD_REPO_PATH            -                            default
        MCPD_BRANCH               main                         default
        MCPD_SYNC_INTERVAL        30s                          default
        MCPD_REPO_TOKEN           -                            default
        MCPD_REPO_TOKEN_FILE      -                            default
        MCPD_WEBHOOK_SECRET       -                            default
        MCPD_WATCH                -                            default
        MCPD_IDENTITY_FILE        -                            default
        MCPD_RUNTIME              docker                       default
        DOCKER_HOST               unix:///var/run/docker.sock  default
        MCPD_NODE_RUNNER_IMAGE    -                            default
        MCPD_PYTHON_RUNNER_IMAGE  -                            default
        MCPD_RUNNER_ENV           -                            default
        MCPD_CA_BUNDLE            -                            default
        MCPD_RUNNER_CACHE         -                            default
        MCPD_MCP_NETWORK          mcp-servers                  default
        MCPD_CONTAINER_ACCESS     publish                      default
        MCPD_VOLUME_ROOTS         -                            default
        MCPD_RECONCILE_INTERVAL   30s                          default
        MCPD_LOG                  debug                        flag --log
        MCPD_LOG_FORMAT           text                         default
        --insecure-listen         false                        default
        ");
        let Err(SettingsError::Usage(help)) = resolve(&["--help"], &[]) else {
            panic!("help is no settings");
        };
        let help = help.to_string();
        for setting in &settings.settings {
            assert!(
                help.contains(setting.flag) && help.contains(setting.name),
                "{}",
                setting.flag
            );
        }
    }
}
