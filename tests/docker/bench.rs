//! What the tests of the Docker runtime share: an engine that is there, a cluster of their own, and a way to talk.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use mcpctl::kit::{Link, Masks, Pipes, Redacted};
use mcpctl::reconcile::converge::{Desired, spec_mark};
use mcpctl::record::{Life, Live, LiveState, Workload};
use mcpctl::runtime::{DockerOptions, DockerRuntime, Logs, RuntimeError, StartOrder};
use mcpctl::settings::{ContainerAccess, ContainerSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

/// The fixture server's image, which starts by itself.
pub const FIXTURE: &str = "mcpctl/fixture:test";
/// The same file without a word of how to start it.
pub const BARE: &str = "mcpctl/fixture-bare:test";
/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// One cluster at the engine, and a runtime for it. Its containers and volumes go when it is dropped.
pub struct Bench {
    pub docker: Docker,
    pub cluster: String,
    pub masks: Masks,
    pub folder: tempfile::TempDir,
    pub settings: ContainerSettings,
    pub runtime: DockerRuntime,
    address: String,
}

/// An engine that answers and has the images; where there is none the reason is printed, and under CI that is a failure.
pub async fn engine() -> Option<Docker> {
    let missing = |why: String| {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        println!("skipped: {why}");
        None
    };
    let docker = match Docker::connect_with_unix(&socket(), 60, bollard::API_DEFAULT_VERSION) {
        Ok(docker) => docker,
        Err(error) => return missing(format!("no engine: {error}")),
    };
    let docker = match docker.negotiate_version().await {
        Ok(docker) => docker,
        Err(error) => return missing(format!("no engine answers: {error}")),
    };
    for image in [FIXTURE, BARE] {
        if docker.inspect_image(image).await.is_err() {
            return missing(format!("no image {image}: tests/support/images.sh fixture makes it"));
        }
    }
    Some(docker)
}

pub fn socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let path = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock");
    format!("unix://{path}")
}

impl Bench {
    pub async fn new() -> Option<Self> {
        Self::at(socket(), |_| {}).await
    }

    /// A bench whose runtime looks for the engine elsewhere, or makes containers another way.
    pub async fn at(address: String, change: impl FnOnce(&mut ContainerSettings)) -> Option<Self> {
        let docker = engine().await?;
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let cluster = format!("test-{}-{number}", std::process::id());
        let mut settings = ContainerSettings {
            node_runner_image: Some(FIXTURE.to_owned()),
            python_runner_image: Some(FIXTURE.to_owned()),
            runner_env: Redacted::new(vec![]),
            ca_bundle: None,
            runner_cache: None,
            network: "mcpctl-test".to_owned(),
            access: ContainerAccess::Publish,
            volume_roots: vec![],
        };
        change(&mut settings);
        let folder = tempfile::tempdir().unwrap();
        let masks = Masks::default();
        let runtime = open(&address, &cluster, &settings, &folder, &masks);
        Some(Self {
            docker,
            cluster,
            masks,
            folder,
            settings,
            runtime,
            address,
        })
    }

    /// A further runtime for the same cluster: mcpd started anew.
    pub fn again(&self) -> DockerRuntime {
        open(&self.address, &self.cluster, &self.settings, &self.folder, &self.masks)
    }

    pub async fn start(&self, instance: &str, server: Value) -> Result<Life, RuntimeError> {
        self.runtime.start(order(instance, server)).await
    }

    /// Starts a server and says hello to it.
    pub async fn greet(&self, instance: &str, server: Value) -> (Life, Talk) {
        let life = self.start(instance, server).await.unwrap();
        let talk = Talk::with(&self.runtime, instance, &life).await;
        (life, talk)
    }

    pub async fn live(&self) -> Vec<Live> {
        self.runtime.observe().await.unwrap()
    }

    /// Waits until a life has ended, and says how.
    pub async fn ending(&self, life: &Life) -> mcpctl::record::Ending {
        let mut changed = self.runtime.changed();
        loop {
            let live = self.live().await;
            let found = live.iter().find(|live| live.life == *life).map(|live| &live.state);
            match found {
                Some(LiveState::Ended(ending)) => return ending.clone(),
                Some(LiveState::Running) => {}
                None => panic!("{life} is gone"),
            }
            tokio::time::timeout(PATIENCE, changed.changed())
                .await
                .expect("an event")
                .unwrap();
        }
    }

    pub async fn inspect(&self, life: &Life) -> ContainerInspectResponse {
        self.docker.inspect_container(&life.0, None).await.unwrap()
    }

    /// The containers that carry the cluster's label, as the engine has them.
    pub async fn containers(&self) -> Vec<String> {
        containers(&self.docker, &self.cluster).await
    }

    pub async fn remove(&self, life: &Life) {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        self.docker.remove_container(&life.0, Some(options)).await.unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let (docker, cluster) = (self.docker.clone(), self.cluster.clone());
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                for id in containers(&docker, &cluster).await {
                    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                    drop(docker.remove_container(&id, Some(options)).await);
                }
                let options = RemoveVolumeOptionsBuilder::default().force(true).build();
                drop(
                    docker
                        .remove_volume(&format!("mcpctl-{cluster}-data"), Some(options))
                        .await,
                );
            });
        });
        drop(cleaned.join());
    }
}

async fn containers(docker: &Docker, cluster: &str) -> Vec<String> {
    let filters = HashMap::from([("label", vec![format!("mcpctl.io/cluster={cluster}")])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let all = docker.list_containers(Some(options)).await.unwrap();
    all.into_iter().filter_map(|container| container.id).collect()
}

fn open(
    address: &str,
    cluster: &str,
    settings: &ContainerSettings,
    folder: &tempfile::TempDir,
    masks: &Masks,
) -> DockerRuntime {
    let masks = masks.clone();
    DockerRuntime::open(DockerOptions {
        address: address.to_owned(),
        cluster: cluster.to_owned(),
        settings: settings.clone(),
        logs: Logs::new(folder.path().join("logs"), Arc::new(move |line| masks.mask(line))),
        ends_with_mcpd: false,
    })
}

pub fn workload(server: Value) -> Arc<Workload> {
    let server: mcpctl::resource::Server = serde_json::from_value(server).unwrap();
    Arc::new(server.into())
}

pub fn desired(instance: &str, server: Value) -> Desired {
    Desired {
        instance: instance.parse().unwrap(),
        server: workload(server),
        blocked: None,
    }
}

pub fn order(instance: &str, server: Value) -> StartOrder {
    let desired = desired(instance, server);
    StartOrder {
        spec: spec_mark("5a17", &desired),
        instance: desired.instance,
        server: desired.server,
    }
}

pub fn fixture() -> Value {
    json!({"dockerImage": FIXTURE})
}

/// The fixture server with some more fields.
pub fn fixture_with(more: Value) -> Value {
    let mut server = fixture();
    server
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    server
}

/// A conversation over a life's pipes.
pub struct Talk {
    reader: tokio::io::Lines<BufReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>>,
    writer: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    id: u64,
}

impl Talk {
    pub fn over(pipes: Pipes) -> Self {
        Self {
            reader: BufReader::new(pipes.reader).lines(),
            writer: pipes.writer,
            // No two conversations with one process share an id.
            id: u64::from(std::process::id()) * 1000 + u64::from(CLUSTERS.fetch_add(1, Ordering::Relaxed)) * 100,
        }
    }

    pub async fn with(runtime: &DockerRuntime, instance: &str, life: &Life) -> Self {
        let Link::Pipes(pipes) = runtime.attach(&instance.parse().unwrap(), life).await.unwrap() else {
            panic!("no pipes");
        };
        let mut talk = Self::over(pipes);
        let client = json!({"name": "test", "version": "1"});
        talk.ask(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}),
        )
        .await;
        talk.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        talk
    }

    pub async fn say(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.writer.write_all(line.as_bytes()).await.unwrap();
        self.writer.flush().await.unwrap();
    }

    /// The answer to a request. Lines that are no answers to it are passed over, cut ones too.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        let id = self.id;
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        loop {
            let line = tokio::time::timeout(PATIENCE, self.reader.next_line()).await;
            let line = line.expect("an answer in time").unwrap().expect("an answer");
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            if message["id"] == id {
                return message;
            }
        }
    }

    /// What a tool of the fixture server says.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> String {
        let answer = self
            .ask("tools/call", json!({"name": tool, "arguments": arguments}))
            .await;
        let text = answer["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Whether the server's output ends.
    pub async fn ends(&mut self) -> bool {
        loop {
            match tokio::time::timeout(PATIENCE, self.reader.next_line()).await {
                Ok(Ok(Some(_))) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Waits until something holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
