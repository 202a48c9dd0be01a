//! The CLI's settings: which mcpd it talks to, and as whom. This file reads files: contexts, tokens, a `dev` folder.
//!
//! The URL comes from the first that says one: `--url`, `--context`, `MCPCTL_URL`, the current context of the
//! configuration, the `.mcpctl/local` folder of a running `mcpctl dev` here or above, `http://127.0.0.1:3100`. The token
//! comes from `--token`, then (where no `--context` chose another) `MCPCTL_TOKEN`, then from where the URL came from.
//!
//! # Guarantees
//! A token that is stored beside a URL goes to that URL and to no other. A URL that another user wrote gets none.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::access;
use crate::kit::{Redacted, nearest};

use super::value::without_password;
use super::{Origin, SettingsError, Surroundings};

/// Where mcpd listens when nobody says anything.
const DEFAULT_URL: &str = "http://127.0.0.1:3100";

/// The folder that a running `mcpctl dev` keeps, from the watched folder.
const DEV_FOLDER: &str = ".mcpctl/local";

/// The longest configuration that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 4_000;

/// What the configuration looks like.
pub(super) const FORM: &str = "the file has `current-context: NAME` and `contexts: [{name, url, token or tokenFile}]`";

/// The flags that choose an mcpd.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClientFlags {
    /// URL of mcpd [MCPCTL_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub url: Option<String>,
    /// Token to show to mcpd [MCPCTL_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Connection", value_parser = secret)]
    pub token: Option<Redacted<String>>,
    /// Context of ~/.config/mcpctl/config.yaml to use
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Connection",
        conflicts_with = "url"
    )]
    pub context: Option<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "clap asks for a Result")]
fn secret(text: &str) -> Result<Redacted<String>, std::convert::Infallible> {
    Ok(Redacted::new(text.to_owned()))
}

/// Which mcpd, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The URL, without a slash at its end.
    pub url: String,
    /// Where the URL comes from.
    pub url_origin: Origin,
    /// The token, where there is one.
    pub token: Option<Redacted<String>>,
    /// Where the token comes from.
    pub token_origin: Option<Origin>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    #[serde(default, rename = "current-context")]
    current: Option<String>,
    #[serde(default)]
    contexts: Vec<Context>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Context {
    name: String,
    url: String,
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    token_file: Option<PathBuf>,
}

/// A token in a file: it must not be shown by an error or a `Debug`.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Secret(Redacted<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Redacted::new(text))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A URL with the token that is stored beside it.
struct Place {
    url: String,
    origin: Origin,
    token: Option<(Redacted<String>, Origin)>,
}

impl ClientSettings {
    /// Resolves the settings.
    ///
    /// # Errors
    /// A value can't be used, a file can't be read, or the context does not exist.
    pub fn resolve(flags: &ClientFlags, around: &Surroundings) -> Result<Self, SettingsError> {
        let place = place(flags, around)?;
        let said = |text: &str, named: &str, origin: Origin| -> Result<_, SettingsError> {
            Ok(Some((token(text, named)?, origin)))
        };
        let from_environment = match &flags.context {
            Some(_) => None,
            None => around.text("MCPCTL_TOKEN")?,
        };
        let chosen = match (&flags.token, &from_environment) {
            (Some(text), _) => said(text.reveal(), "--token", Origin::Flag("--token".to_owned()))?,
            (None, Some(text)) => said(text, "MCPCTL_TOKEN", Origin::Environment("MCPCTL_TOKEN".to_owned()))?,
            (None, None) => place.token,
        };
        let (token, token_origin) = chosen.unzip();
        Ok(Self {
            url: place.url,
            url_origin: place.origin,
            token,
            token_origin,
        })
    }
}

fn place(flags: &ClientFlags, around: &Surroundings) -> Result<Place, SettingsError> {
    let plain = |text: &str, named: &str, origin: Origin| {
        Ok(Place {
            url: url(text, named)?,
            origin,
            token: None,
        })
    };
    if let Some(text) = &flags.url {
        return plain(text, "--url", Origin::Flag("--url".to_owned()));
    }
    let from_environment = around.text("MCPCTL_URL")?;
    if let (None, Some(text)) = (&flags.context, &from_environment) {
        return plain(text, "MCPCTL_URL", Origin::Environment("MCPCTL_URL".to_owned()));
    }
    if let Some(place) = configured(flags.context.as_deref(), around)? {
        return Ok(place);
    }
    if let Some(place) = developed(around)? {
        return Ok(place);
    }
    plain(DEFAULT_URL, "", Origin::Default)
}

/// The chosen or the current context.
fn configured(chosen: Option<&str>, around: &Surroundings) -> Result<Option<Place>, SettingsError> {
    let path = around
        .base_folder("XDG_CONFIG_HOME", ".config")
        .map(|folder| folder.join("mcpctl/config.yaml"));
    let text = path.as_deref().map(read).transpose()?.flatten();
    let (Some(path), Some(text)) = (path, text) else {
        return match chosen {
            Some(name) => Err(no_context("--context", name, &[])),
            None => Ok(None),
        };
    };
    let configuration: Option<Configuration> = serde_yaml::from_str(&text).map_err(|error| SettingsError::Form {
        path: path.clone(),
        place: error
            .location()
            .map_or(String::new(), |at| format!(":{}:{}", at.line(), at.column())),
    })?;
    let (current, contexts) = configuration.map_or((None, vec![]), |it| (it.current, it.contexts));
    let current = current.filter(|name| !name.is_empty());
    let Some(name) = chosen.or(current.as_deref()) else {
        return Ok(None);
    };
    let asked = match chosen {
        Some(_) => "--context".to_owned(),
        None => format!("current-context of {}", path.display()),
    };
    let context = contexts
        .iter()
        .find(|context| context.name == name)
        .ok_or_else(|| no_context(&asked, name, &contexts))?;
    let named = format!("context {name} of {}", path.display());
    let origin = Origin::File(named.clone());
    let token = match (&context.token, &context.token_file) {
        (Some(_), Some(_)) => {
            let hint = Some("leave one of them out");
            return Err(SettingsError::value(named, "it has both token and tokenFile", hint));
        }
        (Some(text), None) => Some(token(text.0.reveal(), &named)?),
        (None, Some(file)) => Some(token_of(&beside(&path, file, around))?),
        (None, None) => None,
    };
    Ok(Some(Place {
        url: url(&context.url, &named)?,
        token: token.map(|token| (token, origin.clone())),
        origin,
    }))
}

fn no_context(asked: &str, name: &str, contexts: &[Context]) -> SettingsError {
    let names: Vec<&str> = contexts.iter().map(|context| context.name.as_str()).collect();
    let hint = match (nearest(name, names.iter().copied()), names.is_empty()) {
        (Some(meant), _) => format!("did you mean \"{meant}\"?"),
        (None, false) => format!("the contexts are: {}", names.join(", ")),
        (None, true) => "no context is configured in ~/.config/mcpctl/config.yaml".to_owned(),
    };
    let shown: String = name.chars().take(80).collect();
    SettingsError::value(asked, format!("there is no context \"{shown}\""), Some(&hint))
}

/// A file that a configuration names: `~/`, absolute, or from the configuration's folder.
fn beside(configuration: &Path, file: &Path, around: &Surroundings) -> PathBuf {
    match (file.strip_prefix("~"), around.home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => configuration.parent().unwrap_or(Path::new("")).join(file),
    }
}

/// What a running `mcpctl dev` wrote here or in a folder above.
fn developed(around: &Surroundings) -> Result<Option<Place>, SettingsError> {
    for folder in around.folder.ancestors() {
        let folder = folder.join(DEV_FOLDER);
        let at = folder.join("url");
        let Some((text, owner)) = read_with_owner(&at)? else {
            continue;
        };
        let named = at.display().to_string();
        // Whoever can write a folder above must not lead tokens to a port of their own.
        if owner != around.user {
            let hint = Some("choose with --url or --context");
            return Err(SettingsError::value(named, "it belongs to another user", hint));
        }
        let url = url(text.trim(), &named)?;
        // Nor away from this machine.
        if !url.parse::<access::Origin>().is_ok_and(|origin| origin.is_loopback()) {
            let hint = Some("remove the file, or choose with --url or --context");
            return Err(SettingsError::value(
                named,
                "mcpctl dev never listens beyond loopback",
                hint,
            ));
        }
        let origin = Origin::File(folder.display().to_string());
        let file = folder.join("admin.token");
        let token = read(&file)?
            .map(|text| token(text.trim(), &file.display().to_string()))
            .transpose()?
            .map(|token| (token, origin.clone()));
        return Ok(Some(Place { url, origin, token }));
    }
    Ok(None)
}

/// A file's text; nothing where there is no file.
fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    Ok(read_with_owner(path)?.map(|(text, _)| text))
}

/// A file's text with the user whose file it is; nothing where there is no file.
fn read_with_owner(path: &Path) -> Result<Option<(String, u32)>, SettingsError> {
    let text = || -> io::Result<(String, u32)> {
        let mut text = String::new();
        let file = File::open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        file.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LONGEST_FILE {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        Ok((text, about.uid()))
    };
    match text() {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(SettingsError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn token_of(path: &Path) -> Result<Redacted<String>, SettingsError> {
    let missing = || SettingsError::File {
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    };
    let text = read(path)?.ok_or_else(missing)?;
    token(text.trim(), &path.display().to_string())
}

/// A token that fits into a header; a fault never shows it.
fn token(text: &str, named: &str) -> Result<Redacted<String>, SettingsError> {
    let fits = (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(Redacted::new(text.to_owned()))
    } else {
        let hint = Some("a token is one word of printable ASCII");
        Err(SettingsError::value(named, "this is not a token", hint))
    }
}

fn url(text: &str, named: &str) -> Result<String, SettingsError> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.parse::<access::Origin>().is_ok() {
        return Ok(trimmed.to_owned());
    }
    let shown: String = without_password(text).chars().take(80).collect();
    let hint = Some("give scheme and host, as https://mcp.example.com or http://127.0.0.1:3100");
    Err(SettingsError::value(
        named,
        format!("\"{shown}\" is not the URL of an mcpd"),
        hint,
    ))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests make the files that are read")]
mod tests {
    use std::fs;

    use super::*;

    const CONTEXTS: &str = "\
current-context: prod
contexts:
- name: prod
  url: https://prod.example.com/
  token: tp
- {name: lab, url: 'http://lab.example.com:3100', tokenFile: lab.token}
- {name: home, url: 'http://home.example.com:3100', tokenFile: ~/home.token}
- {name: bare, url: 'http://bare.example.com'}
- {name: both, url: 'http://both.example.com', token: a, tokenFile: b}
- {name: lost, url: 'http://lost.example.com', tokenFile: nowhere}
";

    /// A home with contexts (or not), and a folder of `mcpctl dev` (or not) two levels above the current one.
    fn machine(contexts: Option<&str>, dev: Option<&str>) -> (tempfile::TempDir, Surroundings) {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("home/.config/mcpctl")).expect("a home");
        fs::create_dir_all(at("repo/servers/deep")).expect("a repository");
        if let Some(text) = contexts {
            fs::write(at("home/.config/mcpctl/config.yaml"), text).expect("contexts");
            fs::write(at("home/.config/mcpctl/lab.token"), "tl\n").expect("a token");
            fs::write(at("home/home.token"), "th\n").expect("a token");
        }
        if let Some(url) = dev {
            fs::create_dir_all(at("repo/.mcpctl/local")).expect("a folder");
            fs::write(at("repo/.mcpctl/local/url"), format!("{url}\n")).expect("a url");
            fs::write(at("repo/.mcpctl/local/admin.token"), "td\n").expect("a token");
        }
        let around = Surroundings {
            environment: vec![("HOME".into(), at("home").into())],
            folder: at("repo/servers/deep"),
            is_root: false,
            user: rustix::process::geteuid().as_raw(),
        };
        (folder, around)
    }

    fn flags(words: &[&str]) -> ClientFlags {
        let mut flags = ClientFlags::default();
        for word in words {
            let (flag, value) = word.split_once('=').expect("a flag");
            let value = Some(value.to_owned());
            match flag {
                "url" => flags.url = value,
                "token" => flags.token = value.map(Redacted::new),
                _ => flags.context = value,
            }
        }
        flags
    }

    #[test]
    fn the_first_that_says_something() {
        const DEV: Option<&str> = Some("http://127.0.0.1:3111");
        let (prod, lab) = ("https://prod.example.com", "http://lab.example.com:3100");
        let (u, t) = (("MCPCTL_URL", "http://env.example.com"), ("MCPCTL_TOKEN", "te"));
        let from_environment = "http://env.example.com";
        for (words, variables, contexts, dev, url, token) in [
            (vec![], vec![], None, None, DEFAULT_URL, None),
            (vec![], vec![], None, DEV, "http://127.0.0.1:3111", Some("td")),
            (vec![], vec![], Some(CONTEXTS), DEV, prod, Some("tp")),
            (
                vec![],
                vec![],
                Some("contexts: []"),
                DEV,
                "http://127.0.0.1:3111",
                Some("td"),
            ),
            (vec![], vec![], Some(""), None, DEFAULT_URL, None),
            (vec![], vec![u], Some(CONTEXTS), DEV, from_environment, None),
            (vec![], vec![u, t], Some(CONTEXTS), DEV, from_environment, Some("te")),
            (vec![], vec![t], Some(CONTEXTS), DEV, prod, Some("te")),
            (
                vec![],
                vec![("MCPCTL_URL", "")],
                None,
                DEV,
                "http://127.0.0.1:3111",
                Some("td"),
            ),
            (
                vec!["url=http://f.example.com/"],
                vec![u],
                Some(CONTEXTS),
                DEV,
                "http://f.example.com",
                None,
            ),
            (
                vec!["url=http://f.example.com"],
                vec![u, t],
                Some(CONTEXTS),
                DEV,
                "http://f.example.com",
                Some("te"),
            ),
            (
                vec!["token=tf"],
                vec![u, t],
                Some(CONTEXTS),
                DEV,
                from_environment,
                Some("tf"),
            ),
            (vec!["token=tf"], vec![], None, DEV, "http://127.0.0.1:3111", Some("tf")),
            (vec!["context=lab"], vec![], Some(CONTEXTS), DEV, lab, Some("tl")),
            (vec!["context=lab"], vec![u, t], Some(CONTEXTS), DEV, lab, Some("tl")),
            (
                vec!["context=lab", "token=tf"],
                vec![u, t],
                Some(CONTEXTS),
                DEV,
                lab,
                Some("tf"),
            ),
            (
                vec!["context=home"],
                vec![],
                Some(CONTEXTS),
                None,
                "http://home.example.com:3100",
                Some("th"),
            ),
            (
                vec!["context=bare"],
                vec![t],
                Some(CONTEXTS),
                DEV,
                "http://bare.example.com",
                None,
            ),
            (
                vec!["url=http://f.example.com"],
                vec![],
                Some("not: [it"),
                None,
                "http://f.example.com",
                None,
            ),
        ] {
            let (_folder, mut around) = machine(contexts, dev);
            around
                .environment
                .extend(variables.iter().map(|(k, v)| (k.into(), v.into())));
            let found = ClientSettings::resolve(&flags(&words), &around).expect("settings");
            let told = found.token.as_ref().map(|token| token.reveal().as_str());
            assert_eq!((found.url.as_str(), told), (url, token), "{words:?} {variables:?}");
            assert_eq!(found.token.is_some(), found.token_origin.is_some());
        }
    }

    #[test]
    fn a_folder_of_another_user_gets_no_token() {
        let (_folder, mut around) = machine(None, Some("http://127.0.0.1:3111"));
        around.environment.push(("MCPCTL_TOKEN".into(), "te".into()));
        around.user += 1;
        let error = ClientSettings::resolve(&ClientFlags::default(), &around).expect_err("another user's");
        let told = error.to_string();
        assert!(
            told.ends_with(".mcpctl/local/url: it belongs to another user"),
            "{told}"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("--url")));
        let chosen = ClientSettings::resolve(&flags(&["url=http://127.0.0.1:1"]), &around).expect("settings");
        assert_eq!(chosen.url, "http://127.0.0.1:1");
    }

    #[test]
    fn origins_are_told() {
        let (_folder, around) = machine(Some(CONTEXTS), None);
        let found = ClientSettings::resolve(&ClientFlags::default(), &around).expect("settings");
        let origin = found.url_origin.to_string();
        assert!(
            origin.starts_with("context prod of ") && origin.ends_with(".config/mcpctl/config.yaml"),
            "{origin}"
        );
        let found = ClientSettings::resolve(&flags(&["url=http://a.example", "token=tf"]), &around).expect("settings");
        assert_eq!(found.url_origin.to_string(), "flag --url");
        assert_eq!(found.token_origin, Some(Origin::Flag("--token".to_owned())));
        assert!(!format!("{found:?}").contains("tf"));
    }

    #[test]
    fn faults_are_clear_and_show_no_token() {
        for (words, contexts, dev, want, hint) in [
            (
                vec!["url=ftp://x"],
                None,
                None,
                "--url: \"ftp://x\" is not the URL of an mcpd",
                "scheme and host",
            ),
            (
                vec!["url=http://x/api"],
                None,
                None,
                "--url: \"http://x/api\" is not the URL of an mcpd",
                "scheme",
            ),
            (
                vec!["url=http://u:p@x"],
                None,
                None,
                "--url: \"http://***@x\" is not the URL of an mcpd",
                "scheme",
            ),
            (
                vec!["token=s3 cret"],
                None,
                None,
                "--token: this is not a token",
                "one word",
            ),
            (vec!["token="], None, None, "--token: this is not a token", "one word"),
            (
                vec!["context=lap"],
                Some(CONTEXTS),
                None,
                "--context: there is no context \"lap\"",
                "did you mean \"lab\"?",
            ),
            (
                vec!["context=zzzzzz"],
                Some(CONTEXTS),
                None,
                "--context: there is no context \"zzzzzz\"",
                "prod, lab, home",
            ),
            (
                vec!["context=a"],
                None,
                None,
                "--context: there is no context \"a\"",
                "no context is configured",
            ),
            (
                vec![],
                Some("current-context: gone"),
                None,
                "config.yaml: there is no context \"gone\"",
                "no context",
            ),
            (
                vec!["context=both"],
                Some(CONTEXTS),
                None,
                "it has both token and tokenFile",
                "leave one",
            ),
            (vec!["context=lost"], Some(CONTEXTS), None, "can't read ", ""),
            (
                vec![],
                Some("contexts: 3"),
                None,
                "can't be understood",
                "current-context",
            ),
            (
                vec![],
                Some("contexts: [{name: a, uri: s3cret}]"),
                None,
                "can't be understood",
                "current-context",
            ),
            (
                vec![],
                None,
                Some("http://evil.example"),
                "mcpctl dev never listens beyond loopback",
                "--url",
            ),
            (vec![], None, Some("s3cret"), "is not the URL of an mcpd", "scheme"),
        ] {
            let (_folder, around) = machine(contexts, dev);
            let error = ClientSettings::resolve(&flags(&words), &around).expect_err(want);
            assert!(error.to_string().contains(want), "{error}");
            assert!(
                error.hint().unwrap_or_default().contains(hint),
                "{want}: {:?}",
                error.hint()
            );
        }
        for (text, want) in [
            (
                "contexts:\n- name: a\n  url: http://a\n  token: [s3cret]\n",
                "config.yaml:",
            ),
            ("contexts:\n- s3cret\n", "config.yaml:"),
            ("token: !!binary s3cret: x: {\n", "config.yaml:"),
        ] {
            let (_folder, around) = machine(Some(text), None);
            let error = ClientSettings::resolve(&ClientFlags::default(), &around).expect_err(text);
            let told = format!(
                "{error} {error:?} {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            );
            assert!(told.contains(want) && !told.contains("s3cret"), "{told}");
        }
        let (folder, around) = machine(Some(CONTEXTS), None);
        let long = File::create(folder.path().join("home/.config/mcpctl/config.yaml")).expect("a file");
        long.set_len(LONGEST_FILE + 1).expect("a length");
        assert!(matches!(
            ClientSettings::resolve(&ClientFlags::default(), &around),
            Err(SettingsError::File { .. })
        ));
    }

    #[test]
    fn a_context_and_a_url_exclude_each_other() {
        #[derive(Debug, clap::Parser)]
        struct Program {
            #[command(flatten)]
            client: ClientFlags,
        }
        let parse = |words: &[&str]| <Program as clap::Parser>::try_parse_from(words);
        assert!(parse(&["mcpctl", "--url", "http://x", "--context", "y"]).is_err());
        let program = parse(&["mcpctl", "--context", "y", "--token", "z"]).expect("flags");
        assert_eq!(program.client.context.as_deref(), Some("y"));
    }
}
