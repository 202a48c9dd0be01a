//! `/metrics`: what Prometheus scrapes.

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::record::State as InstanceState;
use crate::wire::SourceState;

use super::{ApiError, App};

/// The states that are told even where no instance is in them, so that a graph has no holes.
const STATES: [InstanceState; 5] = [
    InstanceState::Pending,
    InstanceState::Starting,
    InstanceState::Running,
    InstanceState::Stopping,
    InstanceState::Error,
];

/// Every figure at this moment, in Prometheus' text format.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(app)));
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response(),
        Err(error) => ApiError::busy(format!("the figures can't be written: {error}")).into_response(),
    }
}

/// What is written for one scrape.
struct Scrape(App);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.0.gateway.encode(&mut encoder)?;
        self.engine(&mut encoder)?;
        process(&mut encoder)
    }
}

impl Scrape {
    fn engine(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let report = self.0.0.engine.report().borrow().clone();
        let status = &report.status;
        encoder
            .encode_descriptor("mcpd_build", "Which mcpd this is.", None, MetricType::Info)?
            .encode_info(&[
                ("version", status.version.as_str()),
                ("cluster", &status.cluster),
                ("runtime", &status.runtime.name),
            ])?;
        let mut counts: BTreeMap<InstanceState, u64> = STATES.into_iter().map(|state| (state, 0)).collect();
        for instance in &status.instances {
            *counts.entry(instance.state).or_default() += 1;
        }
        let help = "Instances of servers by their state.";
        let mut metric = encoder.encode_descriptor("mcpd_instances", help, None, MetricType::Gauge)?;
        for (state, many) in &counts {
            metric
                .encode_family(&[("state", state.to_string())])?
                .encode_gauge(many)?;
        }
        let failing = status.source.state == SourceState::Failing;
        let last_sync = status
            .source
            .last_sync_at
            .map_or(0, crate::kit::time::Timestamp::as_second);
        #[expect(clippy::cast_possible_wrap, reason = "counts of what is in memory")]
        for (name, help, value) in [
            (
                "mcpd_converged",
                "1 where nothing is left to do: what is declared runs, and both sides agree.",
                i64::from(status.converged),
            ),
            (
                "mcpd_runtime_available",
                "1 where the runtime answers.",
                i64::from(status.runtime.available),
            ),
            (
                "mcpd_source_failing",
                "1 where the repository can't be read or written.",
                i64::from(failing),
            ),
            (
                "mcpd_source_last_sync_timestamp_seconds",
                "When the repository was read last, in seconds since 1970; 0 before the first time.",
                last_sync,
            ),
            (
                "mcpd_outbox",
                "Changes that are not in the repository yet.",
                status.source.pending_count as i64,
            ),
            (
                "mcpd_conflicts",
                "Conflicts that nobody has resolved yet.",
                status.conflicts as i64,
            ),
            (
                "mcpd_held",
                "Resources whose declaration can't be used.",
                status.held.len() as i64,
            ),
            (
                "mcpd_resources",
                "Resources that are declared.",
                status.resources as i64,
            ),
            ("mcpd_revision", "The store's revision.", status.revision as i64),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        Ok(())
    }
}

/// What the process itself takes, by the names that other programs have for it too.
fn process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let tasks = tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
    let help = "Tasks of the async runtime.";
    encoder
        .encode_descriptor("mcpd_tasks", help, None, MetricType::Gauge)?
        .encode_gauge(&(tasks as u64))?;
    if let Some(bytes) = resident() {
        encoder
            .encode_descriptor(
                "process_resident_memory_bytes",
                "Resident memory.",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&bytes)?;
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        encoder
            .encode_descriptor("process_open_fds", "Open file descriptors.", None, MetricType::Gauge)?
            .encode_gauge(&(open.count() as u64))?;
    }
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    encoder
        .encode_descriptor(
            "process_cpu_seconds",
            "User and system time.",
            None,
            MetricType::Counter,
        )?
        .encode_counter::<NoLabelSet, f64, f64>(&seconds, None)
}

fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
