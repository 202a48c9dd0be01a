//! What was measured, and how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Times by what was measured, and memory in mebibytes.
#[derive(Default, Serialize, Deserialize)]
pub struct Samples {
    times: BTreeMap<String, Vec<Duration>>,
    memory: BTreeMap<String, u64>,
}

impl Samples {
    pub fn time(&mut self, what: &str, took: Duration) {
        self.times.entry(what.to_owned()).or_default().push(took);
    }

    pub fn memory(&mut self, what: &str, mebibytes: u64) {
        self.memory.insert(what.to_owned(), mebibytes);
    }

    /// Takes in what another process measured; of memory the most.
    pub fn add(&mut self, other: Self) {
        for (what, times) in other.times {
            self.times.entry(what).or_default().extend(times);
        }
        for (what, mebibytes) in other.memory {
            let most = self.memory.entry(what).or_default();
            *most = mebibytes.max(*most);
        }
    }

    /// The time below which so many hundredths of the samples are, in milliseconds.
    fn at(&self, what: &str, hundredths: usize) -> Option<f64> {
        let mut times = self.times.get(what)?.clone();
        times.sort_unstable();
        let place = (times.len() * hundredths / 100).min(times.len().checked_sub(1)?);
        Some((times[place].as_secs_f64() * 1e6).round() / 1e3)
    }

    /// How often a cold start takes what parsing alone takes.
    fn ratio(&self) -> Option<f64> {
        let ratio = self.at("cold", 50)? / self.at("parse floor", 50)?;
        Some((ratio * 100.0).round() / 100.0)
    }

    /// One JSON object, beside what is known `about` the repository.
    pub fn summary(&self, about: &Value) -> Value {
        let time = |what: &String| {
            let (count, p50, p99) = (self.times[what].len(), self.at(what, 50), self.at(what, 99));
            (what.clone(), json!({"samples": count, "p50": p50, "p99": p99}))
        };
        let times: Map<String, Value> = self.times.keys().map(time).collect();
        json!({"repository": about, "milliseconds": times, "mebibytes": self.memory, "coldOverParseFloor": self.ratio()})
    }

    pub fn print(&self) {
        println!("  {:<28} {:>8} {:>12} {:>12}", "", "samples", "p50 ms", "p99 ms");
        for (what, times) in &self.times {
            let at = |hundredths| self.at(what, hundredths).unwrap_or_default();
            println!("  {what:<28} {:>8} {:>12.3} {:>12.3}", times.len(), at(50), at(99));
        }
        for (what, mebibytes) in &self.memory {
            println!("  memory {what:<21} {mebibytes:>8} MiB");
        }
        if let Some(ratio) = self.ratio() {
            println!("  a cold start is {ratio} × the parse floor");
        }
    }
}

/// A value of this process's memory, `VmRSS` or `VmHWM`, in mebibytes.
pub fn memory(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next());
    Ok(kibibytes.with_context(|| format!("no {name}"))?.parse::<u64>()? / 1024)
}
