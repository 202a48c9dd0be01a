//! What MCP clients keep: `.mcp.json` and Claude Desktop, Cursor, VS Code. They differ in the name of the list and in what
//! stands for values that are elsewhere.

use super::text::{Entry, Is, Node, short};
use super::wanted::{Asked, Reader, Wanted, is_true};
use super::words::{Word, split, start};

/// Keys of a server that say nothing that mcpd must know.
const PASSED_OVER: &[&str] = &["gallery", "version", "icon", "tools", "$comment"];

/// Reads the list of servers of a client's file.
pub(super) fn read(reader: &mut Reader<'_>, servers: &Entry, root: &Node) {
    if let Some(inputs) = root.get("inputs") {
        ask(reader, inputs);
    }
    for entry in root.entries() {
        let known = ["inputs", "$schema", servers.key.as_str()];
        if !known.contains(&entry.key.as_str()) && !entry.value.entries().iter().any(|below| below.at == servers.at) {
            reader.unknown(entry);
        }
    }
    let Is::Map(entries) = &servers.value.is else {
        return reader.wrong(servers, "a mapping of servers");
    };
    for entry in entries {
        match &entry.value.is {
            Is::Map(fields) => server(reader, entry, fields),
            _ => reader.wrong(entry, "a mapping"),
        }
    }
}

/// What VS Code asks for when a server starts.
fn ask(reader: &mut Reader<'_>, inputs: &Node) {
    let Is::List(items) = &inputs.is else { return };
    for item in items {
        let text = |key: &str| item.get(key).and_then(Node::text).map(str::to_owned);
        let Some(id) = text("id") else { continue };
        reader.asked.insert(
            id,
            Asked {
                description: text("description").unwrap_or_default(),
                default: text("default"),
                password: item.get("password").is_some_and(is_true),
            },
        );
    }
}

fn server(reader: &mut Reader<'_>, entry: &Entry, fields: &[Entry]) {
    let (mut command, mut args, mut given, mut url) = (None, vec![], vec![], None);
    let mut more = serde_json::Map::new();
    let mut notes = vec![];
    for field in fields {
        match field.key.as_str() {
            "command" => {
                command = reader.text(field).map(|text| Word {
                    text,
                    at: field.value.at,
                });
            }
            "args" => args = reader.words(field),
            "env" if matches!(field.value.is, Is::List(_)) => reader.wrong(field, "a mapping"),
            "env" => given = reader.variables(field),
            "url" | "serverUrl" | "httpUrl" => url = Some(field.at),
            "type" | "transport" | "transportType" => drop(reader.text(field)),
            "description" => {
                let text = reader.text(field).unwrap_or_default();
                if !text.is_empty() {
                    more.insert("description".to_owned(), text.into());
                }
            }
            "disabled" if is_true(&field.value) => {
                notes.push((field.at, "disabled there: replicas 0 says so here"));
                more.insert("replicas".to_owned(), 0.into());
            }
            "enabled" if field.value.is == Is::Bool(false) => {
                notes.push((field.at, "disabled there: replicas 0 says so here"));
                more.insert("replicas".to_owned(), 0.into());
            }
            "disabled" | "enabled" => {}
            "cwd" => notes.push((field.at, "cwd is not carried over: give whole paths in args")),
            "envFile" => notes.push((field.at, "envFile is not carried over: give its variables in env")),
            "headers" if fields.iter().any(|it| it.key.to_ascii_lowercase().ends_with("url")) => {}
            key if PASSED_OVER.contains(&key) => {}
            _ => reader.unknown(field),
        }
    }
    let Some(command) = command.filter(|command| !command.text.trim().is_empty()) else {
        let name = short(&entry.key);
        return match url {
            Some(at) => reader.note(
                at,
                format!("{name} is left out: a server at a URL can't be declared in this version of mcpctl"),
            ),
            None if reader.faults.is_empty() => {
                reader.note(entry.at, format!("{name} is left out: it has neither command nor url"));
            }
            None => {}
        };
    };
    reader
        .notes
        .extend(notes.into_iter().map(|(at, note)| (at, note.to_owned())));
    // Some clients take a whole line.
    let mut line = vec![command.clone()];
    if args.is_empty() && command.text.contains(char::is_whitespace) && !command.text.starts_with(['/', '\\']) {
        let words = split(&command.text).into_iter();
        line = words.map(|text| Word { text, at: command.at }).collect();
    }
    line.append(&mut args);
    for word in line.iter().filter(|word| word.text.contains("${")) {
        reader.notes.push((
            word.at,
            "what is in ${…} is not known here: the text is taken as it stands".to_owned(),
        ));
    }
    let begun = start(&line);
    reader.notes.extend(begun.notes);
    let variables = match begun.variables {
        Some(named) => reader.passed(named, given),
        None => given
            .into_iter()
            .map(|(name, value, at)| reader.variable(name, value.as_deref(), at))
            .collect(),
    };
    let mut fields = begun.fields;
    fields.extend(more);
    reader.servers.push(Wanted {
        name: entry.key.clone(),
        at: entry.at,
        fields,
        words: begun.words,
        variables,
    });
}
