//! What a server says of itself, in either era: the answers to `server/discover` and to `initialize`. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::record::{Capability, Greeting, MODERN};

use super::envelope::code;
use super::{VERSIONS, one_line};

/// Bytes of instructions that are kept.
const MOST_INSTRUCTIONS: usize = 16 << 10;
/// Bytes of declared extensions that are kept; where there are more, none are.
const MOST_EXTENSIONS: usize = 16 << 10;
/// Versions that are named of those that a server speaks.
const MOST_VERSIONS: usize = 10;
/// The extension that tasks became.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// What an answer to `server/discover` makes of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It speaks the modern version, and is this.
    Modern(Greeting),
    /// It is to be initialised.
    Legacy,
    /// It knows the question, and no version that is spoken here.
    Foreign(String),
    /// It knows the modern era and does not take the question, for the reason given: `initialize` would not help.
    Refused(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: Value,
    instructions: Option<String>,
    #[serde(default)]
    server_info: Option<ServerInfo>,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(default, rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<ServerInfo>,
}

#[derive(Deserialize)]
struct ServerInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Failure {
    code: Option<i32>,
    #[serde(default)]
    message: String,
    data: Option<Value>,
}

/// Judges an answer to `server/discover`: the `result`, or the `error`.
pub(super) fn judge(outcome: Result<&[u8], &[u8]>) -> Said {
    match outcome {
        // What answers anything to anything is none of the modern era.
        Ok(result) => serde_json::from_slice(result).map_or(Said::Legacy, |said: Discovered| {
            let speaks = spoken(&said.supported_versions);
            match speaks {
                Speaks::Modern => {
                    let server = said.meta.server_info.or(said.server_info);
                    Said::Modern(greeting(
                        MODERN.to_owned(),
                        server,
                        &said.capabilities,
                        said.instructions,
                    ))
                }
                Speaks::Legacy => Said::Legacy,
                Speaks::Neither(versions) => Said::Foreign(versions),
            }
        }),
        Err(error) => {
            let Ok(said) = serde_json::from_slice::<Failure>(error) else {
                return Said::Legacy;
            };
            match said.code {
                Some(code::UNSUPPORTED_VERSION) => {
                    let supported = said.data.as_ref().and_then(|data| data.get("supported"));
                    let versions: Option<Vec<String>> =
                        supported.and_then(|versions| Deserialize::deserialize(versions).ok());
                    match versions.map(|versions| spoken(&versions)) {
                        // It does not say what it is; what it has is found by asking.
                        Some(Speaks::Modern) => Said::Modern(unknown()),
                        Some(Speaks::Neither(versions)) => Said::Foreign(versions),
                        Some(Speaks::Legacy) | None => Said::Legacy,
                    }
                }
                Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY) => Said::Refused(one_line(&said.message, 300)),
                _ => Said::Legacy,
            }
        }
    }
}

/// Whether an error is one that the modern era alone has.
pub(super) fn is_modern(error: &str) -> bool {
    let said: Option<Failure> = serde_json::from_str(error).ok();
    matches!(
        said.and_then(|said| said.code),
        Some(code::UNSUPPORTED_VERSION | code::HEADER_MISMATCH | code::MISSING_CAPABILITY)
    )
}

enum Speaks {
    Modern,
    Legacy,
    Neither(String),
}

fn spoken(versions: &[String]) -> Speaks {
    if versions.iter().any(|version| version == MODERN) {
        Speaks::Modern
    } else if versions.iter().any(|version| VERSIONS.contains(&&**version)) {
        Speaks::Legacy
    } else {
        let named: Vec<String> = versions
            .iter()
            .take(MOST_VERSIONS)
            .map(|version| one_line(version, 40))
            .collect();
        Speaks::Neither(named.join(", "))
    }
}

/// A server that does not say what it is.
fn unknown() -> Greeting {
    Greeting {
        protocol: MODERN.to_owned(),
        can: [
            Capability::Tools,
            Capability::Resources,
            Capability::Prompts,
            Capability::Completions,
        ]
        .into(),
        ..Greeting::default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: Value,
    server_info: Option<ServerInfo>,
    instructions: Option<String>,
}

/// Reads the result of `initialize`; whether its version is spoken here is the caller's to see.
pub(super) fn initialized(result: &[u8]) -> Result<Greeting, serde_json::Error> {
    let said: Initialized = serde_json::from_slice(result)?;
    let mut greeting = greeting(
        said.protocol_version,
        said.server_info,
        &said.capabilities,
        said.instructions,
    );
    // The first version had completion without a word for it.
    if greeting.protocol == VERSIONS[3] {
        greeting.can.insert(Capability::Completions);
    }
    Ok(greeting)
}

fn greeting(
    protocol: String,
    server: Option<ServerInfo>,
    capabilities: &Value,
    instructions: Option<String>,
) -> Greeting {
    let has = |pointer: &str| capabilities.pointer(pointer).is_some_and(|value| !value.is_null());
    let is = |pointer: &str| capabilities.pointer(pointer) == Some(&Value::Bool(true));
    let extensions = capabilities.get("extensions").and_then(Value::as_object).cloned();
    let extensions = extensions.unwrap_or_default();
    let can = [
        (Capability::Tools, has("/tools")),
        (Capability::ToolsChanged, is("/tools/listChanged")),
        (Capability::Resources, has("/resources")),
        (Capability::ResourcesChanged, is("/resources/listChanged")),
        (Capability::Subscribe, is("/resources/subscribe")),
        (Capability::Prompts, has("/prompts")),
        (Capability::PromptsChanged, is("/prompts/listChanged")),
        (Capability::Completions, has("/completions")),
        (Capability::Logging, has("/logging")),
        (Capability::Tasks, has("/tasks") || extensions.contains_key(TASKS)),
    ];
    Greeting {
        protocol,
        server: server.map_or_else(String::new, |info| {
            one_line(&format!("{} {}", info.name, info.version), 200)
        }),
        can: can.into_iter().filter(|(_, can)| *can).map(|(what, _)| what).collect(),
        instructions: instructions.filter(|text| !text.is_empty()).map(shortened),
        extensions: bounded(extensions),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MOST_INSTRUCTIONS {
        text.truncate(text.floor_char_boundary(MOST_INSTRUCTIONS));
    }
    text
}

fn bounded(extensions: Map<String, Value>) -> Map<String, Value> {
    let size: usize = extensions
        .iter()
        .map(|(name, settings)| name.len() + settings.to_string().len())
        .sum();
    if size > MOST_EXTENSIONS { Map::new() } else { extensions }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(outcome: &Result<Value, Value>) -> String {
        let bytes = |value: &Value| value.to_string().into_bytes();
        let said = match outcome {
            Ok(result) => judge(Ok(&bytes(result))),
            Err(error) => judge(Err(&bytes(error))),
        };
        match said {
            Said::Modern(greeting) => format!("modern {} {:?}", greeting.server, greeting.can),
            Said::Legacy => "legacy".to_owned(),
            Said::Foreign(versions) => format!("foreign {versions}"),
            Said::Refused(why) => format!("refused {why}"),
        }
    }

    /// Every outcome of the question for the era that is an answer.
    #[test]
    fn answers_tell_the_era() {
        let unsupported = |supported: Value| json!({"code": -32022, "message": "m", "data": {"supported": supported}});
        let server = json!({"io.modelcontextprotocol/serverInfo": {"name": "time", "version": "2"}});
        let table = [
            (
                Ok(
                    json!({"supportedVersions": ["2027-01-01", "2026-07-28"], "capabilities": {"tools": {}}, "_meta": server}),
                ),
                "modern time 2 {Tools}",
            ),
            (Ok(json!({"supportedVersions": ["2026-07-28"]})), "modern  {}"),
            (Ok(json!({"supportedVersions": ["2027-01-01", "2025-11-25"]})), "legacy"),
            (
                Ok(json!({"supportedVersions": ["2027-01-01", "x\ny"]})),
                "foreign 2027-01-01, x y",
            ),
            (Ok(json!({"supportedVersions": []})), "foreign "),
            (Ok(json!({"protocolVersion": "2025-11-25"})), "legacy"),
            (Ok(json!({})), "legacy"),
            (Ok(json!("hello")), "legacy"),
            (Ok(json!(null)), "legacy"),
            (Ok(json!({"supportedVersions": "2026-07-28"})), "legacy"),
            (
                Err(unsupported(json!(["2026-07-28"]))),
                "modern  {Tools, Resources, Prompts, Completions}",
            ),
            (Err(unsupported(json!(["2027-01-01", "2025-06-18"]))), "legacy"),
            (Err(unsupported(json!(["2027-01-01"]))), "foreign 2027-01-01"),
            (Err(unsupported(json!(null))), "legacy"),
            (Err(json!({"code": -32022, "message": "m"})), "legacy"),
            (
                Err(json!({"code": -32020, "message": "no\nheader"})),
                "refused no header",
            ),
            (
                Err(json!({"code": -32021, "message": "needs roots"})),
                "refused needs roots",
            ),
            (Err(json!({"code": -32601, "message": "Method not found"})), "legacy"),
            (Err(json!({"code": -32602, "message": "not initialized"})), "legacy"),
            (Err(json!({"code": -32000})), "legacy"),
            (Err(json!({"code": "-32022"})), "legacy"),
            (Err(json!("no")), "legacy"),
        ];
        for (outcome, want) in table {
            assert_eq!(shown(&outcome), want, "{outcome:?}");
        }
    }

    #[test]
    fn what_a_server_declares_is_read_and_bounded() {
        let capabilities = json!({
            "tools": {"listChanged": true}, "prompts": {"listChanged": false}, "resources": {"subscribe": true},
            "logging": {}, "completions": null, "extensions": {TASKS: {}, "x.example/y": {"deep": [1]}},
        });
        let result = json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities, "instructions": "é".repeat(20_000),
            "serverInfo": {"name": "a", "version": "1"}, "new": [],
        });
        let said = initialized(result.to_string().as_bytes()).unwrap();
        let can = [
            Capability::Tools,
            Capability::ToolsChanged,
            Capability::Prompts,
            Capability::Resources,
            Capability::Subscribe,
            Capability::Logging,
            Capability::Tasks,
        ];
        assert_eq!((&*said.server, said.can), ("a 1", can.into()));
        assert_eq!(said.instructions.unwrap().len(), MOST_INSTRUCTIONS);
        assert_eq!(said.extensions["x.example/y"], json!({"deep": [1]}));
        let large = json!({"protocolVersion": "2024-11-05", "capabilities": {"extensions": {"x": "y".repeat(20_000)}}, "instructions": ""});
        let said = initialized(large.to_string().as_bytes()).unwrap();
        assert_eq!(
            (said.extensions.len(), said.instructions, said.can),
            (0, None, [Capability::Completions].into())
        );
    }
}
