//! What a call through mcpd costs, against its floors and its peers in the same run.
//!
//! - `stdio`, the floor U: the server over bare pipes, as mcpd reaches it.
//! - `http`, the floor H: an HTTP echo on mcpd's server stack, in a process of its own.
//! - `mcpd`: the built daemon over that server, with token, rules, audit and metrics; `modern` is the same in 2026-07-28.
//! - `rmcp`: a forwarder of rmcp alone, without token, rules or anything else.
//! - the peers of `benches/peers.sh`, where it has installed them: others are left out, and that is said.
//!
//! Added latency is mcpd − (http + stdio). Rounds are interleaved, so that what else the machine does falls on all alike.
//!
//! `cargo bench --bench call -- [--json] [--calls N] [--clients 1,8,32] [--rounds N] [--only TARGET,TARGET]`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures and prints"
)]

mod client;
mod serve;
mod targets;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use targets::Target;

/// What is asked of a run.
pub struct Options {
    json: bool,
    /// Calls of one target in one round.
    pub calls: usize,
    rounds: usize,
    clients: Vec<usize>,
    only: Vec<String>,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self {
            json: false,
            calls: 2_000,
            rounds: 3,
            clients: vec![1, 8, 32],
            only: vec![],
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match &*word {
                // cargo says so itself.
                "--bench" => {}
                "--json" => options.json = true,
                "--calls" => options.calls = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--clients" => options.clients = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                unknown => bail!("unknown option {unknown}"),
            }
        }
        ensure!(
            options.calls > 0 && options.rounds > 0 && options.clients.iter().all(|many| *many > 0),
            "--calls, --rounds and --clients need 1 at least"
        );
        Ok(options)
    }
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // This program is its own small servers too, each in a process of its own.
    match (words.next().as_deref(), words.next()) {
        (Some("--echo-server"), _) => serve::stdio(),
        (Some("--http-echo"), Some(port)) => runtime.block_on(serve::http(port.parse()?)),
        (Some("--forwarder"), Some(port)) => runtime.block_on(serve::forwarder(port.parse()?)),
        _ => runtime.block_on(measure(&Options::read()?)),
    }
}

/// What one run of one target gave.
#[derive(Default)]
pub struct Samples {
    /// How long each call took.
    pub latencies: Vec<Duration>,
    /// How long all of them took.
    pub took: Duration,
}

impl Samples {
    fn at(&self, hundredths: usize) -> f64 {
        let place = (self.latencies.len() * hundredths / 100).min(self.latencies.len() - 1);
        self.latencies[place].as_secs_f64() * 1e6
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

async fn measure(options: &Options) -> Result<()> {
    let place = tempfile::Builder::new().prefix("mcpctl-").tempdir()?;
    let mut targets: Vec<Target> = vec![];
    for name in targets::NAMES {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        match Target::start(name, place.path()).await {
            Ok(target) => targets.push(target),
            Err(error) => eprintln!("{name} is left out: {error:#}"),
        }
    }
    if options.json {
        let cores = std::thread::available_parallelism()?.get();
        let commit = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output()?;
        let commit = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
        let of = json!({"bench": "call", "commit": commit, "calls": options.calls, "rounds": options.rounds, "cores": cores});
        println!("{of}");
    } else {
        println!(
            "{:<14} {:>7} {:>5} {:>10} {:>10} {:>10}",
            "target", "clients", "round", "p50 µs", "p99 µs", "calls/s"
        );
    }
    let mut rates: BTreeMap<(usize, usize), Vec<(f64, f64)>> = BTreeMap::new();
    // The first round warms up.
    for round in 0..=options.rounds {
        for &clients in &options.clients {
            for (place, target) in targets.iter_mut().enumerate() {
                let mut run = target.run(options.calls, clients).await.with_context(|| target.name)?;
                run.latencies.sort_unstable();
                if round == 0 {
                    continue;
                }
                let (name, p50, p99, rate) = (target.name, run.at(50), run.at(99), run.rate());
                rates.entry((clients, place)).or_default().push((p50, rate));
                if options.json {
                    let line = json!({"target": name, "clients": clients, "round": round, "p50_us": p50, "p99_us": p99, "calls_per_s": rate});
                    println!("{line}");
                } else {
                    println!("{name:<14} {clients:>7} {round:>5} {p50:>10.1} {p99:>10.1} {rate:>10.0}");
                }
            }
        }
    }
    sum_up(options, &targets, rates);
    Ok(())
}

/// The medians over the rounds, and what is asked of them.
fn sum_up(options: &Options, targets: &[Target], rates: BTreeMap<(usize, usize), Vec<(f64, f64)>>) {
    let mut medians: BTreeMap<(usize, &str), (f64, f64)> = BTreeMap::new();
    for ((clients, place), runs) in rates {
        let median = |mut all: Vec<f64>| {
            all.sort_unstable_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (p50, rate) = runs.into_iter().unzip();
        medians.insert((clients, targets[place].name), (median(p50), median(rate)));
    }
    for &clients in &options.clients {
        let of = |name| medians.get(&(clients, name)).copied();
        for mcpd in ["mcpd", "modern"] {
            let (Some(ours), Some(stdio), Some(http)) = (of(mcpd), of("stdio"), of("http")) else {
                continue;
            };
            let added = ours.0 - (stdio.0 + http.0);
            let share = of("rmcp").map(|rmcp| ours.1 / rmcp.1);
            if options.json {
                println!(
                    "{}",
                    json!({"of": mcpd, "clients": clients, "added_p50_us": added, "share_of_rmcp": share})
                );
            } else {
                let share = share.map_or(String::new(), |share| {
                    format!(", {:.0} % of the calls a second of rmcp", share * 100.0)
                });
                println!("{mcpd} at {clients} clients: {added:.1} µs added at p50{share}");
            }
        }
    }
}
