//! `mcpctl dev`: a daemon over a watched folder in this process, with its news on stdout.
#![expect(clippy::print_stdout, reason = "dev prints its news itself")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::engine::{Happening, Report};
use crate::kit::{Diagnostic, Name};
use crate::record::{InstanceStatus, State};
use crate::resource::{Declared, Project};
use crate::runtime::{DockerProbe, probe_docker};
use crate::settings::{LogFormat, McpdSettings, Origin, RuntimeKind, Surroundings};
use crate::wire::{ErrorBody, PlanBody, words};

use super::daemon::{Daemon, DaemonError, make_folder, start_log, stop_on_signals};

/// What `mcpctl dev` was asked for.
#[derive(Debug, Clone)]
pub struct DevPlace {
    /// The folder to watch.
    pub folder: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Runs until it is told to stop.
pub async fn dev(place: DevPlace) -> Result<(), ErrorBody> {
    let folder = place
        .folder
        .canonicalize()
        .map_err(|error| failed(format!("can't watch {}: {error}", place.folder.display())))?;
    if !folder.is_dir() {
        return Err(failed(format!("can't watch {}: it is no folder", folder.display())));
    }
    let around = Surroundings::of_process().map_err(|error| failed(error.to_string()))?;
    let local = folder.join(".mcpctl").join("local");
    make_folder(&local).map_err(|error| broken(&error))?;
    write(
        &local.join(".gitignore"),
        "# What mcpctl dev keeps here is of this machine alone.\n*\n",
    )?;
    let text = |path: &Path| path.as_os_str().to_owned();
    let arguments = [
        "mcpctl dev".into(),
        "--watch".into(),
        text(&folder),
        "--data-dir".into(),
        text(&local),
        "--listen".into(),
        place.listen.to_string().into(),
    ];
    let mut settings = McpdSettings::resolve(arguments, &around).map_err(|error| ErrorBody {
        hint: error.hint().map(str::to_owned),
        ..failed(error.to_string())
    })?;
    let log = around
        .environment
        .iter()
        .find(|(name, _)| name == "MCPD_LOG")
        .and_then(|(_, value)| value.to_str());
    start_log(log.unwrap_or("error"), LogFormat::Text);
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(|error| failed(error.to_string()))?;

    println!("watching {} (data in .mcpctl/local)", folder.display());
    let said = settings
        .settings
        .iter()
        .any(|it| it.name == "MCPD_RUNTIME" && it.origin != Origin::Default);
    let (runtime, line) = chosen(settings.runtime, said, &probe_docker(&settings.docker_host).await);
    settings.runtime = runtime;
    println!("{line}");
    let daemon = Daemon::open(&settings, &around, true, stop.clone())
        .await
        .map_err(|error| broken(&error))?;
    let url = format!("http://{}", daemon.address());
    write(&local.join("url"), &format!("{url}\n"))?;
    let token = std::fs::read_to_string(local.join("admin.token")).map_err(|error| failed(error.to_string()))?;
    println!("listening on {url}; Ctrl-C stops it and its servers");

    let news = News {
        url,
        token: token.trim().to_owned(),
        shown: BTreeMap::new(),
        diagnostics: vec![],
        held: vec![],
    };
    let telling = tokio::spawn(news.tell(daemon.engine().clone(), stop.clone()));
    let served = daemon.serve().await;
    stop.cancel();
    // What it had to say is said; a panic in it has been reported by the runtime.
    let _ = telling.await;
    println!("stopped");
    served.map_err(|error| broken(&error))
}

/// What servers run in, and why: what was set; else Docker where an engine answers.
fn chosen(set: RuntimeKind, said: bool, probe: &DockerProbe) -> (RuntimeKind, String) {
    let address = &probe.address;
    match (set, said, &probe.version) {
        (RuntimeKind::Process, true, _) => (set, "runtime: process (MCPD_RUNTIME says so)".to_owned()),
        (_, true, None) => (
            set,
            format!("runtime: docker (MCPD_RUNTIME says so; no engine answers at {address} yet)"),
        ),
        (_, _, Some(version)) => (
            RuntimeKind::Docker,
            format!("runtime: docker (Docker {version} answers at {address})"),
        ),
        (_, false, None) => (
            RuntimeKind::Process,
            format!("runtime: process (no Docker engine answered at {address})"),
        ),
    }
}

fn failed(detail: String) -> ErrorBody {
    ErrorBody {
        error: "failed".to_owned(),
        detail,
        ..ErrorBody::default()
    }
}

fn broken(error: &DaemonError) -> ErrorBody {
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        detail = format!("{detail}: {inner}");
        cause = inner.source();
    }
    ErrorBody {
        hint: error.hint(),
        ..failed(detail)
    }
}

fn write(path: &Path, text: &str) -> Result<(), ErrorBody> {
    std::fs::write(path, text).map_err(|error| failed(format!("can't write {}: {error}", path.display())))
}

/// What has been said, so that it is said once.
struct News {
    url: String,
    token: String,
    /// Projects, with the servers that were shown.
    shown: BTreeMap<Name, Vec<String>>,
    diagnostics: Vec<Diagnostic>,
    held: Vec<(String, String)>,
}

impl News {
    async fn tell(mut self, engine: crate::engine::Engine, stop: CancellationToken) {
        let mut happenings = engine.happenings();
        let mut reports = engine.report();
        // The first round may be over before anybody listened: what it planned is told from what is in force.
        self.report(&engine, &reports.borrow_and_update().clone());
        loop {
            tokio::select! {
                biased;
                happening = happenings.recv() => match happening {
                    Ok(happening) => Self::happening(&happening),
                    Err(RecvError::Lagged(missed)) => println!("({missed} messages were too many to show)"),
                    Err(RecvError::Closed) => return,
                },
                Ok(()) = reports.changed() => {
                    let report = reports.borrow_and_update().clone();
                    self.report(&engine, &report);
                }
                () = stop.cancelled() => return,
                else => return,
            }
        }
    }

    fn happening(happening: &Happening) {
        match happening {
            Happening::Planned { head, plan } => show_plan(head, plan),
            Happening::Applied { revision } => println!("applied: revision {revision}"),
            Happening::Exported { message, .. } => println!("written into the files: {}", words::plain(message)),
            Happening::Instance(status) => println!("{}", state(status)),
            Happening::Trouble(text) => println!("! {}", words::plain(text)),
        }
    }

    /// Errors of files, and projects that are new or have other servers.
    fn report(&mut self, engine: &crate::engine::Engine, report: &Arc<Report>) {
        if report.status.diagnostics != self.diagnostics {
            self.diagnostics.clone_from(&report.status.diagnostics);
            for diagnostic in &self.diagnostics {
                println!("{diagnostic}");
            }
            if self.diagnostics.is_empty() {
                println!("all files can be read again");
            } else {
                println!("what runs stays as it is until this is mended; everything else goes on");
            }
        }
        let held: Vec<(String, String)> = report
            .status
            .held
            .iter()
            .map(|held| (held.resource.clone(), held.reason.clone()))
            .collect();
        if held != self.held {
            for (resource, reason) in held.iter().filter(|one| !self.held.contains(one)) {
                println!("held: {resource} ({})", words::plain(reason));
            }
            self.held = held;
        }
        let view = engine.store().view();
        let documents = view.rows.values().filter_map(|row| row.document.as_ref());
        for document in documents.filter(|document| document.id.kind().name == Project::NAME) {
            let servers = document
                .typed::<Project>()
                .map(|project| project.servers)
                .unwrap_or_default();
            let name = document.id.name.clone();
            if self.shown.get(&name) != Some(&servers) {
                let first = self.shown.insert(name.clone(), servers.clone()).is_none();
                self.project(&name, &servers, first);
            }
        }
        self.shown.retain(|name, _| {
            view.rows
                .iter()
                .any(|(id, row)| id.name == *name && row.document.is_some())
        });
    }

    fn project(&self, name: &Name, servers: &[String], first: bool) {
        let url = format!("{}/projects/{name}/mcp", self.url);
        println!("project {name}: {url} ({})", servers.join(", "));
        if first {
            let header = format!("Bearer {}", self.token);
            let snippet = serde_json::json!({"mcpServers": {name.as_str(): {"type": "http", "url": url, "headers": {"Authorization": header}}}});
            println!("  for your client: {snippet}");
        }
    }
}

fn show_plan(head: &str, plan: &PlanBody) {
    let head: String = head.chars().take(7).collect();
    println!("plan {head}: {}", words::counts(plan));
    for step in &plan.steps {
        println!("  {step}");
    }
    for conflict in &plan.conflicts {
        println!("  {}", words::conflict(conflict));
    }
    if let Some(line) = words::containers(&plan.containers) {
        println!("{line}");
    }
}

fn state(status: &InstanceStatus) -> String {
    let mut line = format!("{} server/{}", status.state, status.instance);
    if let Some(tools) = status.tools.filter(|_| status.state == State::Running) {
        line = format!("{line} ({})", crate::kit::count(tools, "tool"));
    }
    if !status.reason.is_empty() {
        line = format!("{line}: {}", words::plain(&status.reason));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_what_is_set_or_what_is_there() {
        use RuntimeKind::{Docker, Process};
        let probe = |version: Option<&str>| DockerProbe {
            address: "unix:///x".to_owned(),
            version: version.map(str::to_owned),
        };
        for (set, said, version, want, line) in [
            (
                Docker,
                false,
                Some("20.10"),
                Docker,
                "runtime: docker (Docker 20.10 answers at unix:///x)",
            ),
            (
                Docker,
                false,
                None,
                Process,
                "runtime: process (no Docker engine answered at unix:///x)",
            ),
            (
                Docker,
                true,
                Some("20.10"),
                Docker,
                "runtime: docker (Docker 20.10 answers at unix:///x)",
            ),
            (
                Docker,
                true,
                None,
                Docker,
                "runtime: docker (MCPD_RUNTIME says so; no engine answers at unix:///x yet)",
            ),
            (
                Process,
                true,
                Some("20.10"),
                Process,
                "runtime: process (MCPD_RUNTIME says so)",
            ),
        ] {
            assert_eq!(chosen(set, said, &probe(version)), (want, line.to_owned()));
        }
    }
}
