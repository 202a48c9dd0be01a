//! How a container is known as ours: its labels and its name.

use std::collections::HashMap;

use crate::kit::HttpTransport;
use crate::record::InstanceName;

/// Which mcpd it belongs to.
pub(super) const CLUSTER: &str = "mcpctl.io/cluster";
/// Which server it runs.
pub(super) const SERVER: &str = "mcpctl.io/server";
/// Which instance of it, as `time/0`.
pub(super) const INSTANCE: &str = "mcpctl.io/instance";
/// What it was started from, as `SALT.DIGEST`.
pub(super) const SPEC: &str = "mcpctl.io/spec";
/// How it is spoken to and where it listens, as `SSE 8080`; only where that is over HTTP.
const HTTP: &str = "mcpctl.io/http";

/// What a container's labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub instance: InstanceName,
    pub spec: String,
    /// Where it listens, and what it speaks there.
    pub http: Option<(HttpTransport, u16)>,
}

/// The labels of a container.
pub(super) fn labels(cluster: &str, marks: &Marks) -> HashMap<String, String> {
    let all = [
        (CLUSTER, cluster.to_owned()),
        (SERVER, marks.instance.server.to_string()),
        (INSTANCE, marks.instance.to_string()),
        (SPEC, marks.spec.clone()),
    ];
    let http = marks
        .http
        .map(|(transport, port)| (HTTP, format!("{} {port}", word(transport))));
    let all = all.into_iter().chain(http);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn word(transport: HttpTransport) -> &'static str {
    match transport {
        HttpTransport::Streamable => "STREAMABLE_HTTP",
        HttpTransport::Sse => "SSE",
    }
}

fn http(label: &str) -> Result<(HttpTransport, u16), String> {
    let (spoken, port) = label.split_once(' ').unwrap_or((label, ""));
    let known = [HttpTransport::Streamable, HttpTransport::Sse];
    let transport = known.into_iter().find(|known| word(*known) == spoken);
    transport
        .zip(port.parse().ok())
        .ok_or_else(|| format!("\"{label}\" is no transport with a port"))
}

/// Reads them; nothing where the container is not this cluster's, an error where it is and its labels say no sense.
pub(super) fn marks(cluster: &str, labels: &HashMap<String, String>) -> Option<Result<Marks, String>> {
    if labels.get(CLUSTER).is_none_or(|of| of != cluster) {
        return None;
    }
    // What else carries our cluster's label (a network of Compose, say) but names no instance is not ours to judge.
    let instance = labels.get(INSTANCE)?;
    let read = || {
        let instance: InstanceName = instance.parse()?;
        let server = labels.get(SERVER).map_or("", String::as_str);
        if server != instance.server.as_str() {
            return Err(format!("its labels name {instance} and the server \"{server}\""));
        }
        let spec = labels.get(SPEC).cloned().unwrap_or_default();
        let http = labels.get(HTTP).map(|label| http(label)).transpose()?;
        Ok(Marks { instance, spec, http })
    };
    Some(read())
}

/// The filter that finds this cluster's containers.
pub(super) fn filter(cluster: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{CLUSTER}={cluster}")])])
}

/// A container's name. The random end is what makes it free.
pub(super) fn container_name(cluster: &str, instance: &InstanceName, random: u32) -> String {
    format!("mcpctl-{cluster}-{}-{}-{random:08x}", instance.server, instance.index)
}

/// A volume's name in the engine.
pub(super) fn volume_name(cluster: &str, name: &str) -> String {
    format!("mcpctl-{cluster}-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back_and_others_are_not_ours() {
        let marked = Marks {
            instance: "time/3".parse().unwrap(),
            spec: "5a17.00".to_owned(),
            http: Some((HttpTransport::Sse, 8080)),
        };
        let of = labels("one", &marked);
        assert_eq!(marks("one", &of), Some(Ok(marked)));
        assert_eq!(marks("two", &of), None);
        assert_eq!(marks("one", &HashMap::new()), None);
        let with = |name: &str, value: Option<&str>| {
            let mut of = of.clone();
            match value {
                Some(value) => of.insert(name.to_owned(), value.to_owned()),
                None => of.remove(name),
            };
            marks("one", &of)
        };
        assert_eq!(with(INSTANCE, None), None, "no instance of ours");
        for (name, value) in [
            (INSTANCE, "nonsense"),
            (INSTANCE, "time/-1"),
            (INSTANCE, "git/0"),
            (SERVER, "git"),
            (HTTP, "SSE"),
            (HTTP, "x 1"),
        ] {
            assert!(matches!(with(name, Some(value)), Some(Err(_))), "{name}={value}");
        }
        assert!(matches!(with(SERVER, None), Some(Err(_))));
        assert_eq!(with(SPEC, None).unwrap().unwrap().spec, "", "which matches nothing");
    }

    #[test]
    fn names_carry_the_cluster() {
        assert_eq!(
            container_name("c0ffee", &"time/1".parse().unwrap(), 0xab),
            "mcpctl-c0ffee-time-1-000000ab"
        );
        assert_eq!(volume_name("c0ffee", "data"), "mcpctl-c0ffee-data");
    }
}
