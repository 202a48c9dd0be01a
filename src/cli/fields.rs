//! A flag for every field of every kind, made from the table of kinds, and the fields that such flags say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, ValueHint};
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Map, Value};

use crate::resource::{Field, Id, Kind, Shape};
use crate::wire::merge_patch;

use super::diff::set_named;
use super::error::Failure;
use super::patch::meant;
use super::{input, noun};

/// Texts longer than this are rather read from a file.
const LONG: usize = 4096;

/// Words that `create` and its surroundings use themselves; a field of such a name is set by `--set`.
const TAKEN: &[&str] = &[
    "clone",
    "context",
    "dry-run",
    "from-template",
    "help",
    "no-color",
    "output",
    "project",
    "set",
    "token",
    "url",
    "wait",
];

/// Fields that no person writes.
const NOT_WRITTEN: &[(&str, &str)] = &[("secret", "sops")];

/// How the words of a flag become a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One value.
    Value,
    /// The text of a file.
    File,
    /// An entry of a list, each time.
    Entry,
    /// `NAME=VALUE`, an entry of a list of `{name, value}`, each time.
    Named,
    /// `NAME=SECRET/KEY`, an entry of such a list whose value is a secret's, each time.
    NamedSecret,
    /// `KEY=VALUE` of a mapping, each time.
    Key,
    /// `KEY=FILE` of a mapping, each time.
    KeyFile,
}

/// A flag for a field.
#[derive(Debug)]
struct Flag {
    long: String,
    path: Vec<String>,
    way: Way,
    /// What one value looks like: the field, an entry or a value of a mapping.
    shape: Shape,
    help: String,
}

/// `timeoutSeconds` as `timeout-seconds`.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn admits_text(shape: &Shape) -> bool {
    match shape {
        Shape::Text { .. } | Shape::Any => true,
        Shape::Either(shapes) => shapes.iter().any(admits_text),
        _ => false,
    }
}

fn flags(kind: &Kind) -> Vec<Flag> {
    let mut out = vec![];
    for field in kind.shape.fields() {
        if !NOT_WRITTEN.contains(&(kind.name, &field.name)) {
            collect(&[], field, &mut out);
        }
    }
    out
}

fn collect(above: &[String], field: &Field, out: &mut Vec<Flag>) {
    let path = [above, std::slice::from_ref(&field.name)].concat();
    let long = path.iter().map(|name| kebab(name)).collect::<Vec<_>>().join(".");
    if TAKEN.contains(&long.as_str()) {
        return;
    }
    let default = field.default.as_ref().map_or_else(String::new, |default| {
        let shown = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        format!(" [default: {shown}]")
    });
    let about = field.description.trim_end_matches('.').replace('\n', " ");
    let mut add = |suffix: &str, way, shape: &Shape, more: &str| {
        out.push(Flag {
            long: format!("{long}{suffix}"),
            path: path.clone(),
            way,
            shape: shape.clone(),
            help: format!("{about}{more}{default}"),
        });
    };
    match &field.shape {
        Shape::List { items, .. } => match (items.field("name"), items.field("value")) {
            (Some(_), Some(value)) => {
                add("", Way::Named, value, "; may be repeated");
                if items.field("valueFrom.secretRef.key").is_some() {
                    add(
                        "-from",
                        Way::NamedSecret,
                        items,
                        ", each with a value of a secret; may be repeated",
                    );
                }
            }
            _ => add("", Way::Entry, items, "; may be repeated"),
        },
        Shape::Map(values) => {
            add("", Way::Key, values, "; may be repeated");
            if admits_text(values) {
                add(
                    "-file",
                    Way::KeyFile,
                    values,
                    "; from a file, - for stdin; may be repeated",
                );
            }
        }
        Shape::Text { max, .. } if *max > LONG => {
            add("", Way::Value, &field.shape, "");
            add("-file", Way::File, &field.shape, ", from a file, - for stdin");
        }
        shape => add("", Way::Value, shape, ""),
    }
    if let Shape::Fields(fields) = &field.shape {
        for below in &fields.fields {
            collect(&path, below, out);
        }
    }
}

impl Flag {
    fn argument(&self) -> Arg {
        let arg = Arg::new(self.long.clone())
            .long(self.long.clone())
            .help(self.help.clone());
        let arg = match self.way {
            Way::Value | Way::File => arg.action(ArgAction::Set),
            _ => arg.action(ArgAction::Append),
        };
        let path = clap::value_parser!(PathBuf);
        match (self.way, &self.shape) {
            (Way::File, _) => arg
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .value_parser(path),
            (Way::Named, _) => arg.value_name("NAME=VALUE"),
            (Way::NamedSecret, _) => arg.value_name("NAME=SECRET/KEY"),
            (Way::Key, _) => arg.value_name("KEY=VALUE"),
            (Way::KeyFile, _) => arg.value_name("KEY=FILE"),
            (Way::Value | Way::Entry, Shape::Words(words)) => {
                let word =
                    |it: &crate::resource::Word| PossibleValue::new(it.word.clone()).help(it.description.clone());
                arg.value_name("WORD")
                    .value_parser(PossibleValuesParser::new(words.iter().map(word)))
            }
            (Way::Value, Shape::Boolean) => arg
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(["true", "false"]),
            (Way::Value | Way::Entry, Shape::Integer { .. } | Shape::Number { .. }) => {
                arg.value_name("NUMBER").allow_negative_numbers(true)
            }
            // Arguments of programs begin with dashes.
            (Way::Entry, Shape::Text { .. }) => arg.value_name("TEXT").allow_hyphen_values(true),
            (_, Shape::Text { .. }) => arg.value_name("TEXT"),
            _ => arg.value_name("YAML"),
        }
    }

    /// Puts what was said into the fields.
    fn put(&self, words: &mut Words<'_>, spec: &mut Value, quiet: bool) -> Result<(), Failure> {
        let wrong = |problem: &str| {
            // What was expected may be told of a secret's value, what was found may not.
            let problem = match problem.split_once(", found ") {
                Some((expected, _)) if quiet => expected,
                _ => problem,
            };
            Failure::usage(format!("--{}: {problem}", self.long), None)
        };
        let pair = |word: &str| {
            let form = "is not of the form NAME=VALUE";
            let pair = word.split_once('=').filter(|(name, _)| !name.is_empty());
            let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
            pair.ok_or_else(|| {
                wrong(&if quiet {
                    format!("it {form}")
                } else {
                    format!("{word:?} {form}")
                })
            })
        };
        for word in words.texts {
            let mut place = &mut *spec;
            for name in &self.path {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                place = &mut place[name.as_str()];
            }
            match self.way {
                Way::Value => *place = self.shape.parse_word(word).map_err(|it| wrong(&it))?,
                Way::File => *place = Value::from(words.files.text(Path::new(word), &self.long)?),
                Way::Entry => {
                    let entry = self.shape.parse_word(word).map_err(|it| wrong(&it))?;
                    match place {
                        Value::Array(list) => list.push(entry),
                        other => *other = Value::Array(vec![entry]),
                    }
                }
                Way::Named => {
                    let (name, value) = pair(word)?;
                    let value = self
                        .shape
                        .parse_word(&value)
                        .map_err(|it| wrong(&format!("{name}: {it}")))?;
                    *place = set_named(Some(place.take()), &name, &value);
                }
                Way::NamedSecret => {
                    let (name, secret) = pair(word)?;
                    let Some((secret, key)) = secret.split_once('/') else {
                        return Err(wrong(&format!("{word:?} is not of the form NAME=SECRET/KEY")));
                    };
                    let entry =
                        serde_json::json!({"name": name, "valueFrom": {"secretRef": {"name": secret, "key": key}}});
                    let mut list = place.as_array().cloned().unwrap_or_default();
                    list.retain(|it| it.get("name") != entry.get("name"));
                    list.push(entry);
                    *place = Value::Array(list);
                }
                Way::Key => {
                    let (key, value) = pair(word)?;
                    let value = keyed(&self.shape, &value).map_err(|it| wrong(&format!("{key}: {it}")))?;
                    insert(place, key, value);
                }
                Way::KeyFile => {
                    let (key, file) = pair(word)?;
                    let text = words.files.text(Path::new(&file), &self.long)?;
                    // A line that an editor or `echo` ended is meant without its end.
                    let text = match text.strip_suffix('\n') {
                        Some(line) if !line.contains('\n') => line.trim_end_matches('\r').to_owned(),
                        _ => text,
                    };
                    insert(place, key, Value::from(text));
                }
            }
        }
        Ok(())
    }
}

fn insert(place: &mut Value, key: String, value: Value) {
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    place[key] = value;
}

/// A value of a mapping. Where texts go, a text is taken as it stands: quotes and brackets may be a part of it.
fn keyed(shape: &Shape, text: &str) -> Result<Value, String> {
    if !admits_text(shape) {
        return shape.parse_word(text);
    }
    let value = shape.parse_word(text)?;
    Ok(if value.is_object() { value } else { Value::from(text) })
}

/// What was said to one flag.
struct Words<'a> {
    texts: &'a [String],
    files: &'a mut Files,
}

/// Reads the files that flags name.
#[derive(Debug)]
struct Files {
    folder: PathBuf,
    stdin: Option<String>,
}

impl Files {
    fn text(&mut self, file: &Path, flag: &str) -> Result<String, Failure> {
        let bytes = if file.as_os_str() == "-" {
            if let Some(first) = &self.stdin {
                return Err(Failure::usage(
                    format!("stdin can be read once only, and --{first} reads it"),
                    "give - once".to_owned(),
                ));
            }
            self.stdin = Some(flag.to_owned());
            input::read_stdin(1 << 20)?
        } else {
            input::read_file(&self.folder.join(file), file)?
        };
        String::from_utf8(bytes).map_err(|_| Failure::Given {
            message: format!("{} is not UTF-8", file.display()),
            hint: None,
        })
    }
}

/// The flags for the fields of a kind, and `--set` for whatever has none.
pub(super) fn arguments(kind: &Kind) -> Vec<Arg> {
    let set = Arg::new("set")
        .long("set")
        .value_name("FIELD=VALUE")
        .action(ArgAction::Append)
        .help("Any field by its dotted path, as patch takes it; may be repeated");
    let flags = flags(kind);
    let arguments = flags.iter().map(Flag::argument);
    arguments.chain([set]).map(|arg| arg.help_heading("Fields")).collect()
}

/// The fields that the flags say, put into `spec`. `folder` is where relative files are looked for.
pub(super) fn put(id: &Id, matches: &ArgMatches, folder: &Path, spec: &mut Value) -> Result<(), Failure> {
    let kind = id.kind();
    let quiet = noun::is_confidential(kind);
    let mut files = Files {
        folder: folder.to_owned(),
        stdin: None,
    };
    let flags = flags(kind);
    // Of two flags for one field the one for files comes second, as it stands in the table.
    for flag in &flags {
        if matches.value_source(&flag.long) != Some(clap::parser::ValueSource::CommandLine) {
            continue;
        }
        let said: Vec<OsString> = matches
            .get_raw(&flag.long)
            .unwrap_or_default()
            .map(OsString::from)
            .collect();
        let texts: Vec<String> = said
            .into_iter()
            .map(|word| text(word, &flag.long))
            .collect::<Result<_, _>>()?;
        // A list that is given takes the place of the one that a template has.
        if flag.way == Way::Entry {
            merge_patch(spec, &at(&flag.path, Value::Null));
        }
        let mut words = Words {
            texts: &texts,
            files: &mut files,
        };
        flag.put(&mut words, spec, quiet)?;
    }
    let set: Vec<String> = matches
        .get_many::<String>("set")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    // What such words say wrong is told with the words, and these may be a secret's value.
    let withheld = |failure| {
        let hint = "as data.KEY=VALUE; --data KEY=VALUE says the same".to_owned();
        let instead = Failure::usage("--set: what is given does not fit", hint);
        if quiet { instead } else { failure }
    };
    let patch = meant(id, spec, &set).map_err(withheld)?;
    merge_patch(spec, &patch);
    Ok(())
}

/// An object that holds a value at a path.
fn at(path: &[String], value: Value) -> Value {
    path.iter()
        .rev()
        .fold(value, |below, name| serde_json::json!({ name.as_str(): below }))
}

fn text(word: OsString, flag: &str) -> Result<String, Failure> {
    word.into_string()
        .map_err(|_| Failure::usage(format!("--{flag}: what is given is not UTF-8"), None))
}

/// The name of the flag for the field that a path begins with, where there is one.
pub(super) fn flag_of(kind: &Kind, path: &str) -> Option<String> {
    let field = path.split(['.', '[']).next()?;
    let flags = flags(kind);
    let flag = flags.iter().find(|flag| flag.path == [field])?;
    Some(format!("--{}", flag.long))
}

#[cfg(test)]
mod tests {
    use clap::Command;
    use serde_json::json;

    use super::*;
    use crate::resource::KINDS;

    fn said(kind: &Kind, words: &[&str]) -> Result<Value, String> {
        let command = Command::new("create").args(arguments(kind));
        let words = std::iter::once("create").chain(words.iter().copied());
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let id: Id = format!("{}/x", kind.name).parse().unwrap();
        let mut spec = json!({});
        let told = |failure: Failure| failure.lines().join("\n");
        put(&id, &matches, Path::new(env!("CARGO_MANIFEST_DIR")), &mut spec).map_err(told)?;
        Ok(spec)
    }

    fn of(kind: &str, words: &[&str]) -> Result<Value, String> {
        said(crate::resource::kind_named(kind).unwrap(), words)
    }

    /// A word that fits a shape.
    fn sample(shape: &Shape) -> String {
        match shape {
            Shape::Text { .. } | Shape::Any => "some text".to_owned(),
            Shape::Integer { min, .. } => min.unwrap_or(1).to_string(),
            Shape::Number { min, .. } => min.unwrap_or(1.0).to_string(),
            Shape::Boolean => "true".to_owned(),
            Shape::Words(words) => words[0].word.clone(),
            Shape::List { items, .. } => format!("[{}]", sample(items)),
            Shape::Map(values) => format!("{{key: {}}}", sample(values)),
            Shape::Fields(fields) => {
                let needed = fields.fields.iter().filter(|field| field.required);
                let needed: Vec<String> = needed
                    .map(|field| format!("{}: {}", field.name, sample(&field.shape)))
                    .collect();
                format!("{{{}}}", needed.join(", "))
            }
            Shape::Either(shapes) => sample(&shapes[0]),
        }
    }

    /// The promise: whatever a kind has can be said by a flag (and by `--set`), and a flag says that and nothing else.
    #[test]
    fn every_field_of_every_kind_has_flags_that_set_it_and_nothing_else() {
        for kind in KINDS {
            let flags = flags(kind);
            for field in kind.shape.fields() {
                let here = format!("{} {}", kind.name, field.name);
                if NOT_WRITTEN.contains(&(kind.name, &field.name)) {
                    continue;
                }
                let own: Vec<&Flag> = flags.iter().filter(|flag| flag.path[0] == field.name).collect();
                let taken = TAKEN.contains(&kebab(&field.name).as_str());
                assert_eq!(own.is_empty(), taken, "{here} has no flag");
                for flag in own {
                    let word = match flag.way {
                        Way::Value | Way::Entry => sample(&flag.shape),
                        Way::File => "Cargo.toml".to_owned(),
                        Way::Named => format!("A={}", sample(&flag.shape)),
                        Way::NamedSecret => "A=secret/key".to_owned(),
                        Way::Key => format!("a={}", sample(&flag.shape)),
                        Way::KeyFile => "a=Cargo.toml".to_owned(),
                    };
                    let spec =
                        said(kind, &[&format!("--{}={word}", flag.long)]).unwrap_or_else(|it| panic!("{here}: {it}"));
                    let fields: Vec<&String> = spec.as_object().unwrap().keys().collect();
                    assert_eq!(fields, [&field.name], "--{}", flag.long);
                    let value = flag.path.iter().fold(&spec, |value, name| &value[name.as_str()]);
                    assert!(!value.is_null(), "--{}: {spec}", flag.long);
                    let problems = field.shape.check(&spec[&field.name]);
                    assert!(
                        flag.path.len() > 1 || problems.is_empty(),
                        "--{}: {problems:?}",
                        flag.long
                    );
                    assert!(!flag.help.is_empty());
                }
                let set = said(kind, &["--set", &format!("{}={}", field.name, sample(&field.shape))]).unwrap();
                assert!(set.get(&field.name).is_some(), "{here}");
            }
        }
    }

    #[test]
    fn words_become_fields() {
        for (kind, words, want) in [
            ("server", vec![], json!({})),
            (
                "server",
                vec![
                    "--package-name",
                    "x",
                    "--replicas=2",
                    "--runtime",
                    "python",
                    "--timeout-seconds",
                    "5",
                ],
                json!({"packageName": "x", "replicas": 2, "runtime": "python", "timeoutSeconds": 5}),
            ),
            // A list is said entry by entry, dashes and commas included.
            (
                "server",
                vec!["--args", "--allow", "--args", "a,b", "--args=-x=1"],
                json!({"args": ["--allow", "a,b", "-x=1"]}),
            ),
            (
                "server",
                vec!["--env", "A=1=2", "--env", "B=", "--env", "A=3"],
                json!({"env": [{"name": "A", "value": "3"}, {"name": "B", "value": ""}]}),
            ),
            (
                "server",
                vec!["--env-from", "T=keys/token"],
                json!({"env": [{"name": "T", "valueFrom": {"secretRef": {"name": "keys", "key": "token"}}}]}),
            ),
            (
                "server",
                vec![
                    "--replicas",
                    "2",
                    "--set",
                    "replicas=3",
                    "--set",
                    "env.A=1",
                    "--set",
                    "command=[a, \"2\"]",
                ],
                json!({"replicas": 3, "env": [{"name": "A", "value": "1"}], "command": ["a", "2"]}),
            ),
            (
                "project",
                vec!["--servers", "a", "--servers", "b"],
                json!({"servers": ["a", "b"]}),
            ),
            (
                "template",
                vec!["--version", "3", "--env", "{name: A, required: true}"],
                json!({"version": "3", "env": [{"name": "A", "required": true}]}),
            ),
            // The text of a secret is what stands there, whatever it looks like; a mapping says where it comes from.
            (
                "secret",
                vec![
                    "--data",
                    "A=\"x\"",
                    "--data",
                    "B=123",
                    "--data",
                    "C={fromEnv: HOME}",
                    "--data",
                    "D=[a",
                    "--data",
                    "E={a: b}",
                ],
                json!({"data": {"A": "\"x\"", "B": "123", "C": {"fromEnv": "HOME"}, "D": "[a", "E": "{a: b}"}}),
            ),
        ] {
            assert_eq!(of(kind, &words), Ok(want), "{kind} {words:?}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the files that flags name")]
    fn a_line_of_a_file_is_meant_without_its_end() {
        let folder = tempfile::tempdir().unwrap();
        for (text, want) in [("x\n", "x"), ("x\r\n", "x"), ("x", "x"), ("a\nb\n", "a\nb\n"), ("", "")] {
            let file = folder.path().join("value");
            std::fs::write(&file, text).unwrap();
            let word = format!("K={}", file.display());
            assert_eq!(
                of("secret", &["--data-file", &word]),
                Ok(json!({"data": {"K": want}})),
                "{text:?}"
            );
        }
        let content = folder.path().join("content");
        std::fs::write(&content, "a line\n").unwrap();
        let said = of("prompt", &["--content-file", content.to_str().unwrap()]);
        assert_eq!(said, Ok(json!({"content": "a line\n"})));
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_flag_and_never_as_a_value() {
        for (kind, words, want) in [
            (
                "server",
                vec!["--replicas", "many"],
                "error: --replicas: expected an integer from 0 to 10, found the text \"many\"",
            ),
            (
                "server",
                vec!["--env", "A"],
                "error: --env: \"A\" is not of the form NAME=VALUE",
            ),
            (
                "server",
                vec!["--env-from", "A=x"],
                "error: --env-from: \"A=x\" is not of the form NAME=SECRET/KEY",
            ),
            (
                "server",
                vec!["--replica", "2"],
                "a similar argument exists: '--replicas'",
            ),
            ("server", vec!["--runtime", "pyton"], "a similar value exists: 'python'"),
            ("server", vec!["--set", "replica=2"], "hint: did you mean \"replicas\"?"),
            (
                "secret",
                vec!["--data", "hunter2"],
                "error: --data: it is not of the form NAME=VALUE",
            ),
            (
                "secret",
                vec!["--data-file", "A=nowhere"],
                "error: nowhere can't be read",
            ),
            (
                "secret",
                vec!["--data-file", "A=-", "--data-file", "B=-"],
                "stdin can be read once only",
            ),
        ] {
            let told = of(kind, &words).unwrap_err();
            assert!(told.contains(want), "{words:?}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
