//! What bringing the repository and the store together costs, against its floors in the same run: parsing the same texts
//! with serde_yaml alone (untyped, one thread), and git's own `diff-tree` between the same two commits.
//!
//! `cargo bench --bench agree -- [--json] [--sizes 1000,10000,100000] [--rounds N] [--changes N] [--seed N]`. Each sample
//! of a cold start is a process of its own, so that time and memory are its own; rounds are interleaved with the floor's.
//! The plan is the library's, the repository a real bare one, the store a real file with its flushes. From 100,000
//! resources on, a cold start is measured once.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures and prints"
)]

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mcpctl::kit::time::Timestamp;
use mcpctl::reconcile::agree::{self, Plan, Seen, Standing};
use mcpctl::record::Actor;
use mcpctl::repo::{Hosted, Snapshot, Source};
use mcpctl::store::Store;
use serde::Deserialize as _;
use serde_json::json;

#[path = "agree/samples.rs"]
mod samples;
#[path = "agree/texts.rs"]
mod texts;

use samples::{Samples, memory};
use texts::Texts;

/// From this size on a cold start is measured once.
const LARGE: usize = 100_000;
/// How often the same head is looked at, for each size.
const LOOKS: usize = 50;

struct Options {
    json: bool,
    sizes: Vec<usize>,
    rounds: usize,
    changes: usize,
    seed: u64,
    /// What a process of its own measures: the target, and the data folder.
    child: Option<(String, PathBuf)>,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self {
            json: false,
            sizes: vec![1_000, 10_000, 100_000],
            rounds: 5,
            changes: 40,
            seed: 4,
            child: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match &*word {
                // cargo says so itself.
                "--bench" => {}
                "--json" => options.json = true,
                "--sizes" => options.sizes = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--changes" => options.changes = value()?.parse()?,
                "--seed" => options.seed = value()?.parse()?,
                "--child" => options.child = Some((value()?, value()?.into())),
                unknown => bail!("unknown option {unknown}"),
            }
        }
        ensure!(
            options.rounds > 0 && options.changes > 0,
            "nothing is measured: give --rounds and --changes of 1 at least"
        );
        Ok(options)
    }

    fn texts(&self) -> Result<Texts> {
        let size = self.sizes.first().copied().context("no size")?;
        Ok(Texts::new(size, self.seed))
    }
}

fn main() -> Result<()> {
    let options = Options::read()?;
    let Some((target, data)) = &options.child else {
        return measure(&options);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let samples = match &**target {
        "floor" => floor(&options.texts()?)?,
        "cold" => runtime.block_on(cold(data))?,
        "change" => runtime.block_on(change(&options, data))?,
        unknown => bail!("unknown target {unknown}"),
    };
    println!("{}", serde_json::to_string(&samples)?);
    Ok(())
}

/// Measures every size, each sample in a process of its own.
fn measure(options: &Options) -> Result<()> {
    let mut sizes = vec![];
    for &size in &options.sizes {
        let folder = tempfile::tempdir()?;
        let texts = Texts::new(size, options.seed);
        write_repository(folder.path(), &texts, options.changes)?;
        let mut all = Samples::default();
        let rounds = if size < LARGE { options.rounds } else { 1 };
        for _ in 0..rounds {
            for target in ["floor", "cold"] {
                all.add(child(options, target, size, folder.path())?);
            }
        }
        all.add(child(options, "change", size, folder.path())?);
        let about = json!({"resources": size, "files": texts.files(), "bytes": texts.bytes(), "rounds": rounds});
        if options.json {
            sizes.push(all.summary(&about));
        } else {
            println!("{about}");
            all.print();
        }
    }
    if options.json {
        let commit = output(Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"]))?;
        let cores = std::thread::available_parallelism()?.get();
        println!(
            "{}",
            json!({"bench": "agree", "commit": commit.trim(), "seed": options.seed, "cores": cores, "sizes": sizes})
        );
    }
    Ok(())
}

fn child(options: &Options, target: &str, size: usize, data: &Path) -> Result<Samples> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", target]).arg(data);
    command.args(["--sizes", &size.to_string(), "--seed", &options.seed.to_string()]);
    command.args(["--changes", &options.changes.to_string()]);
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Every text, by serde_yaml alone.
fn floor(texts: &Texts) -> Result<Samples> {
    let all: Vec<String> = (0..texts.files()).map(|file| texts.text(file, 0)).collect();
    let mut samples = Samples::default();
    let begin = Instant::now();
    for text in &all {
        for document in serde_yaml::Deserializer::from_str(text) {
            std::hint::black_box(serde_yaml::Value::deserialize(document)?);
        }
    }
    samples.time("parse floor", begin.elapsed());
    Ok(samples)
}

/// What mcpd has: the repository, the store, and what it saw last.
struct World {
    source: Source,
    store: Store,
    standing: Mutex<Option<Standing>>,
    /// Where the store is; another for each process.
    _folder: tempfile::TempDir,
}

impl World {
    async fn open(data: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(data)?;
        let source = Source::Hosted(Hosted::open(data, &std::env::current_exe()?, "bench").await?);
        let store = Store::open(&folder.path().join("store.redb")).await?;
        Ok(Self {
            source,
            store,
            standing: Mutex::default(),
            _folder: folder,
        })
    }

    /// The plan as mcpd makes it: of what may have moved since the last one, or of everything.
    fn plan(&self, snapshot: &Snapshot, everything: bool) -> Result<Plan> {
        let view = self.store.view();
        let head = snapshot.head.as_deref().unwrap_or_default();
        let mut standing = self.standing.lock().map_err(|_| anyhow::anyhow!("a plan panicked"))?;
        let known = standing.as_ref().filter(|_| !everything);
        let only = known.and_then(|known| known.only(head, snapshot.since.as_ref(), &view, 0));
        let plan = agree::plan(&Seen {
            only: only.as_ref(),
            tree: &snapshot.tree,
            head,
            store: &view,
            landed: &BTreeMap::new(),
            waits: false,
            allow_mass_delete: false,
            now: Timestamp::UNIX_EPOCH,
        });
        *standing = Standing::after(&plan, head, &view, 0);
        Ok(plan)
    }

    async fn import(&self, plan: Plan, snapshot: &Snapshot) -> Result<()> {
        let actor = Actor {
            name: "bench".to_owned(),
            door: "push".to_owned(),
        };
        let head = snapshot.head.clone().unwrap_or_default();
        let import = plan.import(Timestamp::UNIX_EPOCH, actor, "bench".to_owned(), head, vec![]);
        self.store.import(import).await?;
        Ok(())
    }

    /// Reads everything, plans, and fills the store.
    async fn fill(&self, samples: &mut Samples) -> Result<()> {
        let begin = Instant::now();
        let snapshot = self.source.snapshot().await?;
        samples.time("cold read", begin.elapsed());
        ensure!(
            snapshot.tree.diagnostics.is_empty(),
            "{:?}",
            snapshot.tree.diagnostics.first()
        );
        samples.memory("after reading", memory("VmRSS")?);
        let planning = Instant::now();
        let plan = self.plan(&snapshot, true)?;
        samples.time("cold plan", planning.elapsed());
        ensure!(
            plan.changes.len() == snapshot.tree.documents.len(),
            "something was not imported"
        );
        let importing = Instant::now();
        self.import(plan, &snapshot).await?;
        samples.time("cold import", importing.elapsed());
        samples.time("cold", begin.elapsed());
        samples.memory("after importing", memory("VmRSS")?);
        samples.memory("peak", memory("VmHWM")?);
        Ok(())
    }
}

async fn cold(data: &Path) -> Result<Samples> {
    let mut samples = Samples::default();
    move_branch(data, 0)?;
    World::open(data).await?.fill(&mut samples).await?;
    Ok(samples)
}

/// The same head again, then one changed file after the other.
async fn change(options: &Options, data: &Path) -> Result<Samples> {
    let mut samples = Samples::default();
    move_branch(data, 0)?;
    let world = World::open(data).await?;
    world.fill(&mut Samples::default()).await?;
    for _ in 0..LOOKS {
        let begin = Instant::now();
        let snapshot = world.source.snapshot().await?;
        samples.time("same head: read", begin.elapsed());
        let plan = world.plan(&snapshot, false)?;
        samples.time("same head: read and plan", begin.elapsed());
        ensure!(plan.is_empty(), "the same head has a plan");
    }
    for number in 1..=options.changes {
        samples.time("git diff-tree", diff_tree(data, number)?);
        move_branch(data, number)?;
        let begin = Instant::now();
        let snapshot = world.source.snapshot().await?;
        samples.time("one change: read", begin.elapsed());
        let plan = world.plan(&snapshot, false)?;
        samples.time("one change: read and plan", begin.elapsed());
        ensure!(plan.changes.len() == 1, "{} changes for one", plan.changes.len());
        let applying = Instant::now();
        world.import(plan, &snapshot).await?;
        samples.time("one change: apply", applying.elapsed());
    }
    // What was looked at in part is whole.
    let snapshot = world.source.snapshot().await?;
    let begin = Instant::now();
    let plan = world.plan(&snapshot, true)?;
    samples.time("plan of everything", begin.elapsed());
    ensure!(plan.is_empty(), "something was overlooked");
    samples.memory("after changes", memory("VmRSS")?);
    Ok(samples)
}

fn repository(data: &Path) -> PathBuf {
    data.join("config.git")
}

/// How long git needs to tell which files a change touched.
fn diff_tree(data: &Path, number: usize) -> Result<Duration> {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository(data));
    command.args(["diff-tree", "-r", "--name-only"]);
    command.args([mark(number - 1), mark(number)]);
    let begin = Instant::now();
    let names = output(&mut command)?;
    let took = begin.elapsed();
    ensure!(names.lines().count() == 1, "{names}");
    Ok(took)
}

fn mark(number: usize) -> String {
    format!("refs/bench/{number}")
}

fn move_branch(data: &Path, number: usize) -> Result<()> {
    let repository = git2::Repository::open_bare(repository(data))?;
    let commit = repository.refname_to_id(&mark(number))?;
    repository.reference(mcpctl::repo::BRANCH, commit, true, "bench")?;
    Ok(())
}

/// A bare repository with one commit of everything, then one for each change.
fn write_repository(data: &Path, texts: &Texts, changes: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    drop(runtime.block_on(Hosted::open(data, &std::env::current_exe()?, "bench"))?);
    let mut git = Command::new("git")
        .arg("-C")
        .arg(repository(data))
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = BufWriter::new(git.stdin.take().context("no stdin")?);
    let file = |input: &mut BufWriter<_>, file: usize, version: usize| -> Result<()> {
        let text = texts.text(file, version);
        write!(
            input,
            "M 100644 inline {}\ndata {}\n{text}\n",
            Texts::path(file),
            text.len()
        )?;
        Ok(())
    };
    for number in 0..=changes {
        let branch = mark(number);
        write!(
            input,
            "commit {branch}\ncommitter bench <bench@example.com> {number} +0000\ndata 5\nbench\n"
        )?;
        if number == 0 {
            (0..texts.files()).try_for_each(|each| file(&mut input, each, 0))?;
        } else {
            writeln!(input, "from {}", mark(number - 1))?;
            file(&mut input, texts.any(number), number)?;
        }
    }
    input
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .flush()?;
    ensure!(git.wait()?.success(), "git fast-import failed");
    Ok(())
}
