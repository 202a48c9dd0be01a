//! What a command line of a client says: a package of npm or PyPI, a container, or a program.

use serde_json::{Map, Value, json};

use crate::kit::Position;

/// A word of a command line, and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    pub at: Position,
}

/// Where a server comes from, and what its command line says of how it runs.
#[derive(Default)]
pub(super) struct Start {
    /// The fields of the declaration.
    pub fields: Map<String, Value>,
    /// Words that the program gets, to be looked into.
    pub words: Vec<Word>,
    /// Variables that a container gets: with a value, or from those of the client.
    pub variables: Option<Vec<(String, Option<String>, Position)>>,
    /// What is not carried over.
    pub notes: Vec<(Position, String)>,
}

fn texts(words: &[Word]) -> Vec<Value> {
    words.iter().map(|word| word.text.as_str().into()).collect()
}

/// A program's own name: without folders, and without what Windows puts behind it.
fn program(word: &str) -> String {
    let name = word.rsplit(['/', '\\']).next().unwrap_or(word).to_ascii_lowercase();
    let name = [".cmd", ".exe", ".bat", ".ps1"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(&name);
    name.to_owned()
}

/// Reads a command line of at least one word.
pub(super) fn start(mut words: &[Word]) -> Start {
    // `cmd /c npx …` is what Windows needs.
    if let [shell, flag, rest @ ..] = words
        && program(&shell.text) == "cmd"
        && flag.text.eq_ignore_ascii_case("/c")
        && !rest.is_empty()
    {
        words = rest;
    }
    let Some((first, rest)) = words.split_first() else {
        return Start::default();
    };
    let found = match program(&first.text).as_str() {
        "npx" => npx(rest),
        "uvx" => uvx(rest),
        "pipx" => rest
            .split_first()
            .filter(|(verb, _)| verb.text == "run")
            .and_then(|(_, rest)| pipx(rest)),
        "uv" => match rest {
            [tool, run, rest @ ..] if tool.text == "tool" && run.text == "run" => uvx(rest),
            [run, rest @ ..] if run.text == "run" => uv_run(rest),
            _ => None,
        },
        "docker" | "podman" | "nerdctl" => {
            let rest = match rest {
                [group, rest @ ..] if group.text == "container" => rest,
                rest => rest,
            };
            rest.split_first()
                .filter(|(verb, _)| verb.text == "run")
                .and_then(|(_, rest)| container(rest))
        }
        _ => None,
    };
    found.unwrap_or_else(|| Start {
        fields: Map::from_iter([("command".to_owned(), Value::Array(texts(words)))]),
        words: words.to_vec(),
        ..Start::default()
    })
}

fn package(name: &str, python: bool, args: &[Word]) -> Option<Start> {
    // A folder, a file, a URL or a git repository is no package of a registry.
    let odd = name.starts_with(['.', '/', '~', '-']) || name.contains(':') || name.contains("${") || name.contains(' ');
    if name.is_empty() || odd {
        return None;
    }
    let mut fields = Map::from_iter([("packageName".to_owned(), Value::from(name))]);
    if python {
        fields.insert("runtime".to_owned(), "python".into());
    }
    if !args.is_empty() {
        fields.insert("args".to_owned(), Value::Array(texts(args)));
    }
    Some(Start {
        fields,
        words: args.to_vec(),
        ..Start::default()
    })
}

fn npx(words: &[Word]) -> Option<Start> {
    let mut rest = words;
    let mut named: Option<&str> = None;
    while let [word, more @ ..] = rest {
        match word.text.as_str() {
            "-y" | "--yes" | "-q" | "--quiet" | "--prefer-offline" => rest = more,
            "--" => {
                rest = more;
                break;
            }
            "-p" | "--package" if named.is_none() => {
                named = Some(more.first()?.text.as_str());
                rest = &more[1..];
            }
            text if text.starts_with("--package=") && named.is_none() => {
                named = text.strip_prefix("--package=");
                rest = more;
            }
            text if text.starts_with('-') => return None,
            _ => break,
        }
    }
    let (first, args) = rest.split_first()?;
    match named {
        None => package(&first.text, false, args),
        // npx starts the program of a package that is called as the package is.
        Some(named) if bare(named) == first.text => package(named, false, args),
        Some(_) => None,
    }
}

/// The name of the program of a package: without scope and version.
fn bare(package: &str) -> &str {
    let name = package.rsplit('/').next().unwrap_or(package);
    name.split('@').next().unwrap_or(name)
}

/// `name@1.2.3` as PyPI writes it; the newest needs no version.
fn of_pypi(name: &str) -> String {
    match name.split_once('@') {
        Some((name, "latest")) => name.to_owned(),
        Some((name, version)) => format!("{name}=={version}"),
        None => name.to_owned(),
    }
}

fn uvx(words: &[Word]) -> Option<Start> {
    let mut rest = words;
    let mut from: Option<&str> = None;
    while let [word, more @ ..] = rest {
        match word.text.as_str() {
            "-q" | "--quiet" | "--refresh" | "--isolated" => rest = more,
            "--from" => {
                from = Some(more.first()?.text.as_str());
                rest = &more[1..];
            }
            text if text.starts_with("--from=") => {
                from = text.strip_prefix("--from=");
                rest = more;
            }
            text if text.starts_with('-') => return None,
            _ => break,
        }
    }
    let (first, args) = rest.split_first()?;
    let program = first.text.split(['@', '=']).next().unwrap_or_default();
    match from {
        None => package(&of_pypi(&first.text), true, args),
        Some(from) => {
            let name = of_pypi(from);
            let same = name.split(['=', '[', '<', '>', '~']).next() == Some(program);
            same.then(|| package(&name, true, args)).flatten()
        }
    }
}

fn pipx(words: &[Word]) -> Option<Start> {
    match words {
        [spec, from, first, args @ ..] if spec.text == "--spec" => {
            let same = from.text.split(['=', '<', '>', '~', '[']).next() == Some(first.text.as_str());
            same.then(|| package(&from.text, true, args)).flatten()
        }
        [first, args @ ..] if !first.text.starts_with('-') => package(&of_pypi(&first.text), true, args),
        _ => None,
    }
}

/// `uv run --with NAME NAME …`: a package that is installed for the run.
fn uv_run(words: &[Word]) -> Option<Start> {
    match words {
        [with, from, first, args @ ..] if with.text == "--with" => {
            let same = from.text.split(['=', '<', '>', '~', '[']).next() == Some(first.text.as_str());
            same.then(|| package(&from.text, true, args)).flatten()
        }
        _ => None,
    }
}

/// Flags of `docker run` without a value that mcpd sees to itself, or that mean nothing for it.
const SWITCHES: &[&str] = &[
    "-i",
    "--interactive",
    "-t",
    "--tty",
    "-it",
    "-ti",
    "--rm",
    "--init",
    "-d",
    "--detach",
    "-q",
    "--quiet",
];
/// Flags with a value of the same sort.
const PASSED_OVER: &[&str] = &[
    "--name",
    "--label",
    "-l",
    "--log-driver",
    "--restart",
    "--hostname",
    "-h",
];

fn container(words: &[Word]) -> Option<Start> {
    let mut out = Start {
        variables: Some(vec![]),
        ..Start::default()
    };
    let mut volumes = vec![];
    let mut rest = words.iter();
    let image = loop {
        let word = rest.next()?;
        let text = word.text.as_str();
        if !text.starts_with('-') {
            break word;
        }
        if SWITCHES.contains(&text) {
            continue;
        }
        let (flag, inline) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (text, None),
        };
        match flag {
            "--read-only" => {
                security(&mut out.fields)["readOnlyRoot"] = true.into();
                continue;
            }
            "--privileged" | "-P" | "--publish-all" | "--no-healthcheck" => {
                out.notes.push((word.at, format!("{flag} is not carried over")));
                continue;
            }
            _ => {}
        }
        let value = match inline {
            Some(value) => value,
            None => rest.next()?.text.clone(),
        };
        if PASSED_OVER.contains(&flag) {
            continue;
        }
        match flag {
            "-e" | "--env" => {
                let (name, value) = match value.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (value, None),
                };
                out.variables.get_or_insert_default().push((name, value, word.at));
            }
            "-v" | "--volume" => match volume(&value) {
                Ok(it) => volumes.push(it),
                Err(why) => out.notes.push((word.at, why)),
            },
            "--mount" => match mount(&value) {
                Ok(it) => volumes.push(it),
                Err(why) => out.notes.push((word.at, why)),
            },
            "-u" | "--user" => security(&mut out.fields)["user"] = value.into(),
            "--cap-add" => {
                let security = security(&mut out.fields);
                let name = value.trim_start_matches("CAP_").to_ascii_uppercase();
                match security["addCapabilities"].as_array_mut() {
                    Some(list) => list.push(name.into()),
                    None => security["addCapabilities"] = json!([name]),
                }
            }
            // A container has none of its own anyway.
            "--cap-drop" => {}
            "-m" | "--memory" => resources(&mut out.fields)["memory"] = value.into(),
            "--cpus" => match value.parse::<f64>() {
                Ok(cpus) if cpus.is_finite() => resources(&mut out.fields)["cpus"] = json!(cpus),
                _ => out
                    .notes
                    .push((word.at, "--cpus is no number, and not carried over".to_owned())),
            },
            "--pids-limit" => match value.parse::<u32>() {
                Ok(pids) => resources(&mut out.fields)["pids"] = pids.into(),
                Err(_) => out
                    .notes
                    .push((word.at, "--pids-limit is no number, and not carried over".to_owned())),
            },
            "--network" | "--net" if value == "none" => drop(out.fields.insert("network".into(), "none".into())),
            "--pull" => {
                let policy = match value.as_str() {
                    "always" => "Always",
                    "never" => "Never",
                    _ => "IfNotPresent",
                };
                out.fields.insert("imagePullPolicy".into(), policy.into());
            }
            flag => out
                .notes
                .push((word.at, format!("{} is not carried over", super::text::short(flag)))),
        }
    };
    let command: Vec<Word> = rest.cloned().collect();
    out.fields.insert("dockerImage".into(), image.text.as_str().into());
    if !command.is_empty() {
        out.fields.insert("command".into(), Value::Array(texts(&command)));
    }
    if !volumes.is_empty() {
        out.fields.insert("volumes".into(), Value::Array(volumes));
    }
    out.words = command;
    Some(out)
}

pub(super) fn security(fields: &mut Map<String, Value>) -> &mut Value {
    fields.entry("security").or_insert_with(|| json!({}))
}

pub(super) fn resources(fields: &mut Map<String, Value>) -> &mut Value {
    fields.entry("resources").or_insert_with(|| json!({}))
}

/// `HOST:CONTAINER[:ro]` or `NAME:CONTAINER[:ro]`, or why it can't be carried over.
pub(super) fn volume(text: &str) -> Result<Value, String> {
    let mut parts = text.split(':');
    let (Some(from), Some(to)) = (parts.next(), parts.next()) else {
        return Err("a volume without a name is not carried over: it ends with its container".to_owned());
    };
    let options = parts.next().unwrap_or_default();
    mounted(from, to, options.split(',').any(|option| option == "ro"))
}

/// A volume as a field, or why it can't be carried over.
pub(super) fn mounted(from: &str, to: &str, read_only: bool) -> Result<Value, String> {
    let mut out = json!({"mountPath": to});
    if from.starts_with('/') && !from.contains("${") {
        out["hostPath"] = from.into();
    } else if from.parse::<crate::kit::Name>().is_ok() {
        out["name"] = from.into();
    } else {
        return Err("a volume is not carried over: its source is neither a whole path nor a name".to_owned());
    }
    if read_only {
        out["readOnly"] = true.into();
    }
    Ok(out)
}

/// `type=bind,source=A,target=B,readonly`.
fn mount(text: &str) -> Result<Value, String> {
    let (mut from, mut to, mut read_only) = ("", "", false);
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "true")) {
            ("source" | "src", value) => from = value,
            ("target" | "destination" | "dst", value) => to = value,
            ("readonly" | "ro", value) => read_only = value != "false",
            ("type", "bind" | "volume") => {}
            ("type", other) => {
                return Err(format!(
                    "a mount of type {} is not carried over",
                    super::text::short(other)
                ));
            }
            _ => {}
        }
    }
    mounted(from, to, read_only)
}

/// A line as a shell would take it apart: quotes and backslashes, and nothing else.
pub(super) fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut open, mut quote) = (vec![], String::new(), false, None);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                open = true;
                word.extend(characters.next());
            }
            ('"' | '\'', None) => {
                open = true;
                quote = Some(c);
            }
            (c, Some(closing)) if c == closing => quote = None,
            (c, None) if c.is_whitespace() => {
                if open {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, _) => {
                open = true;
                word.push(c);
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Value {
        let at = Position { line: 1, column: 1 };
        let words: Vec<Word> = split(line).into_iter().map(|text| Word { text, at }).collect();
        Value::Object(start(&words).fields)
    }

    #[test]
    fn command_lines_are_read() {
        let command = |line: &str| json!({"command": split(line)});
        for (line, want) in [
            (
                "npx -y @a/b@1.2 /srv",
                json!({"packageName": "@a/b@1.2", "args": ["/srv"]}),
            ),
            ("npx @a/b -- -x", json!({"packageName": "@a/b", "args": ["--", "-x"]})),
            ("cmd /c npx -y a", json!({"packageName": "a"})),
            (r"'C:\\nodejs\\npx.cmd' a", json!({"packageName": "a"})),
            (
                "npx -y --package=@s/tool@2 tool x",
                json!({"packageName": "@s/tool@2", "args": ["x"]}),
            ),
            ("npx -p a b", command("npx -p a b")),
            ("npx -y ./here", command("npx -y ./here")),
            ("npx -y github:a/b", command("npx -y github:a/b")),
            ("npx", command("npx")),
            (
                "uvx a@1.2 x",
                json!({"packageName": "a==1.2", "runtime": "python", "args": ["x"]}),
            ),
            ("uvx a@latest", json!({"packageName": "a", "runtime": "python"})),
            ("uvx --from a==1 a", json!({"packageName": "a==1", "runtime": "python"})),
            ("uvx --from git+https://x/y a", command("uvx --from git+https://x/y a")),
            ("uv tool run a", json!({"packageName": "a", "runtime": "python"})),
            (
                "uv run --with a a -x",
                json!({"packageName": "a", "runtime": "python", "args": ["-x"]}),
            ),
            ("uv run --directory /x a.py", command("uv run --directory /x a.py")),
            ("pipx run a", json!({"packageName": "a", "runtime": "python"})),
            ("python3 -m a", command("python3 -m a")),
            (
                "docker run -i --rm a/b:1 x y",
                json!({"dockerImage": "a/b:1", "command": ["x", "y"]}),
            ),
            (
                "docker run --rm -i --pull=always --network none -m 256m --cpus 0.5 --read-only -u 1000 a",
                json!({"dockerImage": "a", "imagePullPolicy": "Always", "network": "none",
                    "resources": {"memory": "256m", "cpus": 0.5}, "security": {"readOnlyRoot": true, "user": "1000"}}),
            ),
            (
                "docker run -v /a:/b:ro --mount type=volume,src=data,target=/d a",
                json!({"dockerImage": "a", "volumes": [{"hostPath": "/a", "mountPath": "/b", "readOnly": true}, {"name": "data", "mountPath": "/d"}]}),
            ),
            ("docker compose up", command("docker compose up")),
            ("docker run -e", command("docker run -e")),
        ] {
            assert_eq!(fields(line), want, "{line}");
        }
    }

    #[test]
    fn lines_are_taken_apart() {
        for (line, want) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("a 'b c' \"d \\\" e\" f\\ g ''", vec!["a", "b c", "d \" e", "f g", ""]),
            ("", vec![]),
            ("'never closed", vec!["never closed"]),
        ] {
            assert_eq!(split(line), want, "{line}");
        }
    }
}
