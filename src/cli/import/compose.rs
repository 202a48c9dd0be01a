//! Compose files: the services that are MCP servers become servers, the others are named.

use serde_json::{Map, Value, json};

use super::text::{Entry, Is, Node, short};
use super::wanted::{Reader, Wanted, is_true};
use super::words::{Word, mounted, resources, security, split, volume};

/// Keys of a service that mean nothing for mcpd, or that it sees to itself.
const PASSED_OVER: &[&str] = &[
    "container_name",
    "hostname",
    "init",
    "labels",
    "logging",
    "restart",
    "stdin_open",
    "tty",
    "cap_drop",
];
/// Top-level keys of the file that only serve services.
const TOP: &[&str] = &["name", "services", "version", "volumes"];

/// Reads a compose file.
pub(super) fn read(reader: &mut Reader<'_>, services: &Entry, root: &Node) {
    reader.project = root.get("name").and_then(Node::text).map(str::to_owned);
    for entry in root.entries() {
        if !TOP.contains(&entry.key.as_str()) && !entry.key.starts_with("x-") {
            reader.unknown(entry);
        }
    }
    let Is::Map(entries) = &services.value.is else {
        return reader.wrong(services, "a mapping of services");
    };
    for entry in entries {
        match &entry.value.is {
            Is::Map(fields) if speaks(entry) => service(reader, entry, fields),
            Is::Map(_) => reader.note(
                entry.at,
                format!(
                    "{} is left out: neither stdin_open nor mcp in its name, image or command says that it is an MCP server",
                    short(&entry.key)
                ),
            ),
            _ => reader.wrong(entry, "a mapping"),
        }
    }
}

/// Whether a service is an MCP server, as far as it can be told.
fn speaks(entry: &Entry) -> bool {
    fn says(node: &Node) -> bool {
        match &node.is {
            Is::Text(text) => text.to_ascii_lowercase().contains("mcp"),
            Is::List(items) => items.iter().any(says),
            Is::Map(entries) => entries.iter().any(|it| it.key.to_ascii_lowercase().contains("mcp")),
            _ => false,
        }
    }
    let told = ["image", "command", "container_name", "labels", "build"];
    entry.value.get("stdin_open").is_some_and(is_true)
        || entry.key.to_ascii_lowercase().contains("mcp")
        || told.iter().filter_map(|key| entry.value.get(key)).any(says)
}

fn service(reader: &mut Reader<'_>, entry: &Entry, keys: &[Entry]) {
    let mut fields = Map::new();
    let (mut command, mut variables, mut volumes, mut ports) = (vec![], vec![], vec![], vec![]);
    let mut built = None;
    for key in keys {
        match key.key.as_str() {
            "image" => {
                if let Some(image) = reader.text(key) {
                    fields.insert("dockerImage".to_owned(), image.into());
                }
            }
            "command" => command = line(reader, key),
            "environment" => {
                for (name, value, at) in reader.variables(key) {
                    let value = value.map(|value| value.replace("$$", "$"));
                    variables.push(reader.variable(name, value.as_deref(), at));
                }
            }
            "volumes" => volumes = mounts(reader, key),
            "ports" | "expose" => ports.extend(containers_ports(reader, key)),
            "user" => match key.value.word() {
                Some(user) => security(&mut fields)["user"] = user.into(),
                None => reader.wrong(key, "text"),
            },
            "read_only" => security(&mut fields)["readOnlyRoot"] = is_true(&key.value).into(),
            "cap_add" => {
                let names = reader.words(key).into_iter();
                let names = names.map(|word| Value::from(word.text.trim_start_matches("CAP_").to_ascii_uppercase()));
                security(&mut fields)["addCapabilities"] = names.collect();
            }
            "mem_limit" => memory(reader, &mut fields, key),
            "cpus" => cpus(reader, &mut fields, key),
            "pids_limit" => pids(reader, &mut fields, key),
            "network_mode" if key.value.text() == Some("none") => drop(fields.insert("network".into(), "none".into())),
            "deploy" => deploy(reader, &mut fields, key),
            "build" => built = Some(key.at),
            key if PASSED_OVER.contains(&key) || key.starts_with("x-") => {}
            _ => reader.unknown(key),
        }
    }
    if !fields.contains_key("dockerImage") {
        let name = short(&entry.key);
        let why = "is left out: it has no image, and mcpd builds none; push one and give its name";
        return reader.note(built.unwrap_or(entry.at), format!("{name} {why}"));
    }
    let speaks_stdio = keys.iter().any(|key| key.key == "stdin_open" && is_true(&key.value));
    match &ports[..] {
        [] => {}
        [(_, at), ..] if speaks_stdio => {
            reader.note(
                *at,
                "ports are not carried over: with stdin_open the server speaks over its stdin and stdout",
            );
        }
        [(port, at), more @ ..] => {
            fields.insert("transport".into(), "STREAMABLE_HTTP".into());
            fields.insert("containerPort".into(), (*port).into());
            let rest = if more.is_empty() {
                ""
            } else {
                "; of several ports the first is taken"
            };
            reader.note(
                *at,
                format!("taken for streamable HTTP at /mcp on port {port}: check transport{rest}"),
            );
        }
    }
    if !command.is_empty() {
        let words: Vec<Value> = command.iter().map(|word| word.text.as_str().into()).collect();
        fields.insert("command".into(), words.into());
    }
    if !volumes.is_empty() {
        fields.insert("volumes".into(), volumes.into());
    }
    reader.servers.push(Wanted {
        name: entry.key.clone(),
        at: entry.at,
        fields,
        words: command,
        variables,
    });
}

/// A command as a list, or as a line that a shell would take apart.
fn line(reader: &mut Reader<'_>, key: &Entry) -> Vec<Word> {
    match &key.value.is {
        Is::Text(text) => {
            let words = split(text).into_iter();
            words.map(|text| Word { text, at: key.value.at }).collect()
        }
        Is::Null => vec![],
        _ => reader.words(key),
    }
}

fn mounts(reader: &mut Reader<'_>, key: &Entry) -> Vec<Value> {
    let Is::List(items) = &key.value.is else {
        reader.wrong(key, "a list");
        return vec![];
    };
    let mut out = vec![];
    for item in items {
        let text = |key: &str| item.get(key).and_then(Node::text).unwrap_or_default();
        let found = match &item.is {
            Is::Text(text) => volume(text),
            Is::Map(_) if matches!(text("type"), "bind" | "volume" | "") => mounted(
                text("source"),
                text("target"),
                item.get("read_only").is_some_and(is_true),
            ),
            Is::Map(_) => Err(format!("a mount of type {} is not carried over", short(text("type")))),
            _ => Err("this is no volume, and not carried over".to_owned()),
        };
        match found {
            Ok(volume) => out.push(volume),
            Err(why) => reader.note(item.at, why),
        }
    }
    out
}

/// The ports within the container.
fn containers_ports(reader: &mut Reader<'_>, key: &Entry) -> Vec<(u16, crate::kit::Position)> {
    let Is::List(items) = &key.value.is else {
        reader.wrong(key, "a list");
        return vec![];
    };
    let mut out = vec![];
    for item in items {
        let text = item
            .get("target")
            .map_or_else(|| item.word(), Node::word)
            .unwrap_or_default();
        let port = text
            .split('/')
            .next()
            .and_then(|text| text.rsplit(':').next()?.parse().ok());
        match port {
            Some(port) if port > 0 => out.push((port, item.at)),
            _ => reader.note(item.at, "this port is not carried over: it is no single number"),
        }
    }
    out
}

fn memory(reader: &mut Reader<'_>, fields: &mut Map<String, Value>, key: &Entry) {
    match key.value.word().map(|text| text.trim_end_matches("iB").to_owned()) {
        // `512M`, `1gb`: a b behind the unit says nothing more.
        Some(text) => {
            let short = text
                .strip_suffix(['b', 'B'])
                .filter(|it| it.ends_with(|c: char| c.is_ascii_alphabetic()));
            resources(fields)["memory"] = short.unwrap_or(&text).into();
        }
        None => reader.wrong(key, "text"),
    }
}

fn cpus(reader: &mut Reader<'_>, fields: &mut Map<String, Value>, key: &Entry) {
    match key
        .value
        .word()
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|it| it.is_finite())
    {
        Some(cpus) => resources(fields)["cpus"] = json!(cpus),
        None => reader.wrong(key, "a number"),
    }
}

fn pids(reader: &mut Reader<'_>, fields: &mut Map<String, Value>, key: &Entry) {
    match key.value.word().and_then(|text| text.parse::<i64>().ok()) {
        Some(pids) => resources(fields)["pids"] = pids.max(0).into(),
        None => reader.wrong(key, "a number"),
    }
}

fn deploy(reader: &mut Reader<'_>, fields: &mut Map<String, Value>, key: &Entry) {
    for part in key.value.entries() {
        match part.key.as_str() {
            "replicas" => match part.value.word().and_then(|text| text.parse::<u32>().ok()) {
                Some(replicas) => drop(fields.insert("replicas".into(), replicas.into())),
                None => reader.wrong(part, "a number"),
            },
            "resources" => {
                for limit in part.value.get("limits").map(Node::entries).unwrap_or_default() {
                    match limit.key.as_str() {
                        "memory" => memory(reader, fields, limit),
                        "cpus" => cpus(reader, fields, limit),
                        "pids" => pids(reader, fields, limit),
                        _ => reader.unknown(limit),
                    }
                }
            }
            "restart_policy" => {}
            _ => reader.unknown(part),
        }
    }
}
