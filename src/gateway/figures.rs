//! The gateway's figures as a scrape reads them.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Gateway;
use super::meter::BUCKETS;
use super::route::Stage;

impl Gateway {
    /// Writes all figures of the gateway down.
    ///
    /// # Errors
    /// The writer's.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let meter = &self.0.meter;
        let view = std::sync::Arc::clone(&self.0.view.borrow());
        meter.keep(|project, server| view.declares(project, server));

        let help = "MCP requests that ended, by what they came to. A tool is named as the client names it.";
        let mut metric = encoder.encode_descriptor("mcpd_mcp_requests", help, None, MetricType::Counter)?;
        meter.each_count(|labels, count| counter(&mut metric, &labels, count))?;

        let help = "How long MCP requests took, from their first line to the last byte of their answer.";
        let mut metric = encoder.encode_descriptor("mcpd_mcp_request_seconds", help, None, MetricType::Histogram)?;
        meter.each_place(|project, server, seconds| {
            let (sum, counts) = seconds.read();
            let bounds = BUCKETS
                .iter()
                .map(|micros| std::time::Duration::from_micros(*micros).as_secs_f64());
            let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
            metric
                .encode_family(&[("project", project), ("server", server)])?
                .encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
        })?;

        for (name, help, value) in [
            (
                "mcpd_mcp_requests_in_flight",
                "MCP requests that are being worked on.",
                meter.in_flight(),
            ),
            (
                "mcpd_mcp_sessions",
                "Sessions of clients that are kept.",
                self.0.sessions.count() as u64,
            ),
            ("mcpd_mcp_streams", "Streams of events that are open.", meter.streams()),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        for (name, help, label, words, values) in [
            (
                "mcpd_mcp_bytes",
                "Bytes of MCP messages that clients sent, and that were sent to them.",
                "direction",
                ["received", "sent"],
                meter.bytes(),
            ),
            (
                "mcpd_upstream_handshakes",
                "Handshakes with servers, the first of a life and later ones.",
                "outcome",
                ["ok", "failed"],
                meter.handshakes(),
            ),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (word, value) in words.into_iter().zip(values) {
                counter(&mut metric, &[(label, word)], value)?;
            }
        }

        let help = "Questions of servers that were put to the client whose call they belong to.";
        encoder
            .encode_descriptor("mcpd_mcp_questions_delivered", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, f64>(&meter.questions(), None)?;

        let mut upstreams: BTreeMap<&str, [u64; 5]> = BTreeMap::new();
        for (name, server) in view.servers() {
            let [ready, others, busy, ignored, uncertain] = upstreams.entry(name.as_str()).or_default();
            for candidate in &server.candidates {
                match &candidate.stage {
                    Stage::Ready(connection) if connection.is_open() => {
                        *ready += 1;
                        *busy += connection.in_flight() as u64;
                        *ignored += connection.ignored();
                        *uncertain += *connection.uncertain().borrow();
                    }
                    _ => *others += 1,
                }
            }
        }
        let help = "Connections to instances of a server: ready, or not (yet).";
        let mut metric = encoder.encode_descriptor("mcpd_upstream_connections", help, None, MetricType::Gauge)?;
        for (server, [ready, others, ..]) in &upstreams {
            for (state, many) in [("ready", ready), ("not_ready", others)] {
                metric
                    .encode_family(&[("server", *server), ("state", state)])?
                    .encode_gauge(many)?;
            }
        }
        let help = "Requests that a server is working on.";
        let mut metric =
            encoder.encode_descriptor("mcpd_upstream_requests_in_flight", help, None, MetricType::Gauge)?;
        for (server, [_, _, busy, ..]) in &upstreams {
            metric.encode_family(&[("server", *server)])?.encode_gauge(busy)?;
        }
        let help = "What the servers that run now said and nobody waited for: noise, unasked and late answers.";
        let mut metric =
            encoder.encode_descriptor("mcpd_upstream_ignored_messages", help, None, MetricType::Counter)?;
        for (server, [.., ignored, _]) in &upstreams {
            counter(&mut metric, &[("server", *server)], *ignored)?;
        }
        let help = "Questions and log messages of the servers that run now of which nobody could tell whose they were.";
        let mut metric = encoder.encode_descriptor("mcpd_upstream_uncertain", help, None, MetricType::Counter)?;
        for (server, [.., uncertain]) in &upstreams {
            counter(&mut metric, &[("server", *server)], *uncertain)?;
        }
        Ok(())
    }
}

fn counter<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&'static str, &str); N],
    count: u64,
) -> fmt::Result {
    metric
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, u64, f64>(&count, None)
}
