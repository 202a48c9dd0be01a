//! The parts of a server's declaration that say how its container is made.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::document::Problem;

/// The most processes in a container where nothing is said.
const PIDS: u32 = 512;
/// The least memory with which an engine starts a container, in bytes.
const LEAST_MEMORY: i64 = 6 * 1024 * 1024;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Transport {
    /// Over its stdin and stdout.
    #[default]
    Stdio,
    /// Over HTTP at /mcp.
    StreamableHttp,
    /// Over the HTTP transport of 2024-11-05, at /sse.
    Sse,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Where the engine has none of that name.
    #[default]
    IfNotPresent,
    /// Before each start.
    Always,
    /// Never: it must be there.
    Never,
}

/// What a container may reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The network of MCP servers, and whatever is reached from it.
    #[default]
    Default,
    /// Nothing at all.
    None,
}

/// What a container may use at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Processors, as 0.5 or 2; no limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Memory, as 256m or 1g (Docker's units) or 256Mi or 1Gi (those of Kubernetes); no limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub memory: Option<String>,
    /// Processes and threads; 0 for no limit.
    #[serde(default = "pids", skip_serializing_if = "is_pids")]
    #[schemars(range(min = 0, max = 4_194_304), extend("default" = 512))]
    pub pids: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpus: None,
            memory: None,
            pids: PIDS,
        }
    }
}

const fn pids() -> u32 {
    PIDS
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_pids(value: &u32) -> bool {
    *value == PIDS
}

/// A number of processors, counted in thousandths so that it compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus(u32);

impl Cpus {
    /// In thousandths.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.0
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u32(self.0 / 1000)
        } else {
            serializer.serialize_f64(f64::from(self.0) / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if !(0.01..=1024.0).contains(&number) {
            return Err(serde::de::Error::custom("not a number of processors"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 10 and 1,024,000, as was just seen"
        )]
        let thousandths = (number * 1000.0).round() as u32;
        Ok(Self(thousandths))
    }
}

impl JsonSchema for Cpus {
    fn schema_name() -> Cow<'static, str> {
        "Cpus".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0.01, "maximum": 1024})
    }
}

/// What a container's processes are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Security {
    /// Whether the container's files can't be changed; /tmp can, and is memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub read_only_root: bool,
    /// Capabilities of the kernel, as NET_BIND_SERVICE; a container has none of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub add_capabilities: Vec<String>,
    /// Whether programs may gain privileges by being run (set-user-ID).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub allow_new_privileges: bool,
    /// The user, as 1000, 1000:1000 or a name that the image knows; the image's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub user: Option<String>,
}

/// A folder that outlives the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// A volume of that name, which mcpd makes and never deletes; several servers may share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// A folder or file of the host, below a folder that mcpd was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub host_path: Option<String>,
    /// Where it is in the container.
    #[schemars(length(min = 1, max = 4096))]
    pub mount_path: String,
    /// Whether the server can't change it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub read_only: bool,
}

/// A memory size in bytes. Docker's units (b, k, m, g, also as capitals) and those of Kubernetes (Ki, Mi, Gi) are the
/// same powers of 1024.
///
/// # Errors
/// It is no such size, or too small or large for any engine.
pub fn parse_memory(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: i64 = match &text[digits.len()..] {
        "" | "b" | "B" => 1,
        "k" | "K" | "Ki" => 1 << 10,
        "m" | "M" | "Mi" => 1 << 20,
        "g" | "G" | "Gi" => 1 << 30,
        _ => return Err(format!("\"{text}\" is not a memory size")),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("\"{text}\" is not a memory size"));
    }
    let bytes = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes < LEAST_MEMORY => Err(format!("{text} is less than 6m, the least that a container has")),
        Some(bytes) if bytes <= 1 << 50 => Ok(bytes),
        _ => Err(format!("{text} is more than any machine has")),
    }
}

pub(super) fn check_resources(resources: &Resources, problems: &mut Vec<Problem>) {
    if let Some(Err(problem)) = resources.memory.as_deref().map(parse_memory) {
        problems.push(Problem::at("resources.memory", problem).hint("write 256m or 1g, or 256Mi or 1Gi"));
    }
}

pub(super) fn check_security(security: &Security, problems: &mut Vec<Problem>) {
    for (n, capability) in security.add_capabilities.iter().enumerate() {
        let path = format!("security.addCapabilities[{n}]");
        if !capability.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            problems.push(Problem::at(path, "not a capability").hint("capabilities are written as NET_BIND_SERVICE"));
        } else if capability == "ALL" {
            problems
                .push(Problem::at(path, "ALL would undo that containers have none").hint("name each that is needed"));
        } else if security.add_capabilities[..n].contains(capability) {
            problems.push(Problem::at(path, format!("{capability} is added twice")));
        }
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if let Some(user) = &security.user
        && (!user.chars().all(word)
            || user.matches(':').count() > 1
            || user.starts_with(['-', ':'])
            || user.ends_with(':'))
    {
        problems.push(Problem::at("security.user", "not a user").hint("write 1000, 1000:1000 or a name of the image"));
    }
}

pub(super) fn check_volumes(volumes: &[Volume], problems: &mut Vec<Problem>) {
    for (n, volume) in volumes.iter().enumerate() {
        let at = |field: &str| format!("volumes[{n}].{field}");
        match (&volume.name, &volume.host_path) {
            (Some(_), Some(_)) => problems.push(Problem::at_key(
                at("hostPath"),
                "a volume has one source, and name is given too",
            )),
            (None, None) => problems
                .push(Problem::at(format!("volumes[{n}]"), "a volume needs a source").hint("give name or hostPath")),
            (Some(name), None) if name.parse::<crate::kit::Name>().is_err() => problems.push(
                Problem::at(at("name"), "not a name")
                    .hint("use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"),
            ),
            (None, Some(path)) if !is_plain(path) => problems.push(
                Problem::at(at("hostPath"), "not the absolute path of a folder")
                    .hint("write it from /, without . and .. in it"),
            ),
            _ => {}
        }
        let mount = volume.mount_path.as_str();
        if !is_plain(mount) || mount == "/" {
            problems.push(
                Problem::at(at("mountPath"), "not the absolute path of a folder below /")
                    .hint("write it from /, without . and .. in it"),
            );
        } else if volumes[..n].iter().any(|earlier| same(&earlier.mount_path, mount)) {
            problems.push(Problem::at(at("mountPath"), format!("{mount} is mounted twice")));
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// Whether a path is absolute and means what it says.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains("//")
        && !path.contains(|c: char| c.is_control())
        && !path.split('/').any(|part| part == "." || part == "..")
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio => "STDIO",
            Self::StreamableHttp => "STREAMABLE_HTTP",
            Self::Sse => "SSE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_both_spellings() {
        for (text, want) in [
            ("256m", Some(256 << 20)),
            ("256M", Some(256 << 20)),
            ("256Mi", Some(256 << 20)),
            ("1g", Some(1 << 30)),
            ("1Gi", Some(1 << 30)),
            ("8192k", Some(8 << 20)),
            ("8192Ki", Some(8 << 20)),
            ("6291456", Some(6 << 20)),
            ("6291456b", Some(6 << 20)),
            ("5m", None),
            ("0", None),
            ("", None),
            ("m", None),
            ("1.5g", None),
            ("-1g", None),
            ("+1g", None),
            ("1 g", None),
            ("1mi", None),
            ("1GiB", None),
            ("1t", None),
            ("99999999999999999999g", None),
            ("9999999999g", None),
            ("1é", None),
        ] {
            assert_eq!(parse_memory(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn processors_are_written_as_they_are_read() {
        for (text, thousandths) in [
            ("1", 1000),
            ("0.5", 500),
            ("2.25", 2250),
            ("0.01", 10),
            ("1024", 1_024_000),
        ] {
            let cpus: Cpus = serde_json::from_str(text).unwrap();
            assert_eq!(cpus.thousandths(), thousandths);
            assert_eq!(serde_json::to_string(&cpus).unwrap(), text);
        }
        assert_eq!(
            serde_json::to_string(&serde_json::from_str::<Cpus>("2.0").unwrap()).unwrap(),
            "2"
        );
        for bad in ["0", "-1", "1025", "\"1\"", "0.001"] {
            assert!(serde_json::from_str::<Cpus>(bad).is_err(), "{bad}");
        }
    }
}
