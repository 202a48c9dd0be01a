//! The settings of a repository that lives elsewhere: where it is, what of it counts, and what mcpd shows there.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::kit::{MASK, Redacted};

use super::desk::{Desk, absolute};
use super::mcpd::at_least_a_second;
use super::{Origin, SettingsError};

#[derive(Debug, Args)]
pub(super) struct RemoteFlags {
    /// Repository in place of the hosted one: an ssh or https URL, or a folder of this machine [MCPD_REPO]
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Folder within that repository that holds the declarations [MCPD_REPO_PATH; default all of it]
    #[arg(long, value_name = "DIR")]
    repo_path: Option<String>,
    /// Branch of that repository that is applied and written to [MCPD_BRANCH; default main]
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// How often that repository is looked at, as 30s or 5m [MCPD_SYNC_INTERVAL; default 30s]
    #[arg(long, value_name = "DURATION")]
    sync_interval: Option<String>,
    /// Token for https; others can see a flag, so better the variable or a file [MCPD_REPO_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    repo_token: Option<String>,
    /// File that holds the token for https, read anew each time [MCPD_REPO_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    repo_token_file: Option<String>,
}

/// How a remote is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A folder of this machine.
    Path,
    /// SSH, with mcpd's own key.
    Ssh,
    /// HTTP over TLS, or plain HTTP on this machine.
    Http,
}

/// Where a remote is. What may be a password is kept apart from what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoUrl {
    /// How it is spoken to.
    pub kind: RepoKind,
    /// What is connected to; it holds no password.
    pub address: String,
    /// How it is shown and told from others: the address without the user of https.
    pub location: String,
    /// The host's name; empty for a folder.
    pub host: String,
    /// The port, where one is named.
    pub port: Option<u16>,
    /// Who logs in.
    pub user: String,
    /// What stood behind the user in an https URL.
    pub password: Redacted<Option<String>>,
}

/// Where the token for https comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoToken {
    /// There is none.
    None,
    /// It was given.
    Given(Redacted<String>),
    /// It stands in this file, and may change there.
    File(PathBuf),
}

/// A repository that lives elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Where it is.
    pub url: RepoUrl,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The folder within it that holds the declarations, without slashes at its ends; empty for all of it.
    pub within: String,
    /// How often it is looked at.
    pub interval: Duration,
    /// What opens it over https.
    pub token: RepoToken,
}

impl RemoteSettings {
    /// What tells this source from others, credentials aside.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("remote:{} {} {}", self.url.location, self.branch, self.within)
    }

    /// The settings, and how the repository was named; nothing where it is hosted.
    pub(super) fn resolve(flags: RemoteFlags, desk: &mut Desk<'_>) -> Result<Option<(Self, Origin)>, SettingsError> {
        let text = desk.take("MCPD_REPO", "--repo", flags.repo, "")?;
        let named = desk.named();
        let origin = desk.origin();
        let url = if text.is_empty() {
            None
        } else {
            let folder = |path: &str| absolute(desk.around, path);
            let url = RepoUrl::parse(&text, folder)?
                .map_err(|(problem, hint)| SettingsError::value(named.as_str(), problem, Some(hint)));
            // Also where it can't be used: it may hold a password.
            desk.shows_instead(
                url.as_ref()
                    .map_or_else(|_| MASK.to_owned(), |url| url.location.clone()),
            );
            Some(url?)
        };
        let within = desk.take("MCPD_REPO_PATH", "--repo-path", flags.repo_path, "")?;
        let within = desk.read(
            &within,
            folder_within,
            "give a folder from the repository's root, as deploy/mcp",
        )?;
        let branch = desk.take("MCPD_BRANCH", "--branch", flags.branch, "main")?;
        let branch = desk.read(&branch, branch_name, "give a branch, as main")?;
        let interval = desk.take("MCPD_SYNC_INTERVAL", "--sync-interval", flags.sync_interval, "30s")?;
        let interval = desk.read(&interval, at_least_a_second, "")?;
        let given = desk.take("MCPD_REPO_TOKEN", "--repo-token", flags.repo_token, "")?;
        let given = given.trim().to_owned();
        let token_named = desk.named();
        if !given.is_empty() {
            desk.shows_instead(MASK.to_owned());
        }
        let file = desk.take("MCPD_REPO_TOKEN_FILE", "--repo-token-file", flags.repo_token_file, "")?;
        let file_named = desk.named();
        let fault = |named: &str, problem: &str, hint| Err(SettingsError::value(named, problem, Some(hint)));
        let token = match (given.is_empty(), file.is_empty()) {
            (true, true) => RepoToken::None,
            (false, true) if given.chars().any(char::is_control) => {
                return fault(&token_named, "a token is one line", "give the token alone");
            }
            (false, true) => RepoToken::Given(Redacted::new(given)),
            (true, false) => {
                let file = absolute(desk.around, &file)?;
                desk.shows(&file);
                RepoToken::File(file)
            }
            (false, false) => {
                let problem = format!("the token is given twice, here and by {token_named}");
                return fault(&file_named, &problem, "keep one of them");
            }
        };
        let Some(url) = url else { return Ok(None) };
        let has_token = token != RepoToken::None;
        let token_named = if file.is_empty() { token_named } else { file_named };
        if has_token && url.kind != RepoKind::Http {
            return fault(
                &token_named,
                "a token is for https, and MCPD_REPO is not",
                "over ssh mcpd shows its own key: mcpctl backup key",
            );
        }
        if has_token && url.password.reveal().is_some() {
            return fault(
                &token_named,
                "MCPD_REPO holds a password already",
                "keep the token, and only the user's name in MCPD_REPO",
            );
        }
        let settings = Self {
            url,
            branch,
            within,
            interval,
            token,
        };
        Ok(Some((settings, origin)))
    }
}

/// What is wrong, and a way out. Neither quotes what may be a password.
type Fault = (String, &'static str);

const FORMS: &str = "give https://HOST/PATH, ssh://git@HOST/PATH, git@HOST:PATH or a folder of this machine";

impl RepoUrl {
    /// Reads a URL, or a path as it is meant by `absolute`.
    fn parse(
        text: &str,
        absolute: impl Fn(&str) -> Result<PathBuf, SettingsError>,
    ) -> Result<Result<Self, Fault>, SettingsError> {
        if text.chars().any(|c| c.is_control() || c == '\\') || text.trim() != text {
            return Ok(Err(("it holds characters that no URL has".to_owned(), FORMS)));
        }
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(if path.starts_with('/') {
                Ok(Self::path(Path::new(path)))
            } else {
                Err(("file:// is followed by a path that begins with /".to_owned(), FORMS))
            });
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Ok(Self::with_scheme(&scheme.to_ascii_lowercase(), rest));
        }
        let colon = text.find(':');
        let slash = text.find('/').unwrap_or(text.len());
        match colon {
            Some(colon) if colon < slash => Ok(Self::short_form(&text[..colon], &text[colon + 1..])),
            _ => Ok(Ok(Self::path(&absolute(text)?))),
        }
    }

    fn path(path: &Path) -> Self {
        let shown = path.display().to_string();
        Self {
            kind: RepoKind::Path,
            address: shown.clone(),
            location: shown,
            host: String::new(),
            port: None,
            user: String::new(),
            password: Redacted::new(None),
        }
    }

    /// `git@host:path`.
    fn short_form(before: &str, path: &str) -> Result<Self, Fault> {
        let (user, host) = before.rsplit_once('@').unwrap_or(("git", before));
        check_host(host)?;
        check_user(user)?;
        if path.is_empty() || path.starts_with(['-', ':']) {
            return Err(("it names no repository".to_owned(), FORMS));
        }
        // A URL that lost its scheme may hold a password there, and this form is shown as it stands.
        if path.contains(['@', ':']) {
            return Err(("a path behind HOST: has no @ and no colon".to_owned(), FORMS));
        }
        let address = format!("{user}@{host}:{path}");
        Ok(Self {
            kind: RepoKind::Ssh,
            location: address.clone(),
            address,
            host: host.to_owned(),
            port: None,
            user: user.to_owned(),
            password: Redacted::new(None),
        })
    }

    fn with_scheme(scheme: &str, rest: &str) -> Result<Self, Fault> {
        let kind = match scheme {
            "ssh" | "git+ssh" | "ssh+git" => RepoKind::Ssh,
            "https" | "http" => RepoKind::Http,
            _ => return Err(("mcpd speaks https, ssh and file there".to_owned(), FORMS)),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        if path.trim_matches('/').is_empty() || path.contains(['?', '#']) {
            return Err(("it names no repository".to_owned(), "give HOST/PATH, without ? and #"));
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let port = port.parse().ok().filter(|port: &u16| *port > 0);
                (host, Some(port.ok_or(("its port is no number".to_owned(), FORMS))?))
            }
            _ => (place, None),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        check_host(host)?;
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (decoded(user), Some(decoded(password)).filter(|text| !text.is_empty())),
            None => ("git".to_owned(), None),
        };
        check_user(&user)?;
        let shown_host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let shown_port = port.map_or_else(String::new, |port| format!(":{port}"));
        let plain = format!("{scheme}://{shown_host}{shown_port}/{path}");
        let (address, location) = match kind {
            RepoKind::Ssh if password.is_some() => {
                return Err((
                    "a password is of no use over ssh".to_owned(),
                    "mcpd shows its own key there: mcpctl backup key",
                ));
            }
            RepoKind::Ssh => {
                let address = format!("ssh://{user}@{shown_host}{shown_port}/{path}");
                (address.clone(), address)
            }
            _ if scheme == "http" && !is_loopback(host) => {
                return Err((
                    "plain http is only for this machine: everybody on the way could change what runs".to_owned(),
                    "give an https URL",
                ));
            }
            _ => (plain.clone(), plain),
        };
        Ok(Self {
            kind,
            address,
            location,
            host: host.to_owned(),
            port,
            user,
            password: Redacted::new(password),
        })
    }
}

fn check_host(host: &str) -> Result<(), Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.starts_with('-') || !host.chars().all(good) {
        return Err(("it names no host".to_owned(), FORMS));
    }
    Ok(())
}

fn check_user(user: &str) -> Result<(), Fault> {
    if user.is_empty() || user.starts_with('-') || user.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(("the user's name can't be used".to_owned(), FORMS));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `%40` and the like resolved; what is no such escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn folder_within(text: &str) -> Result<String, String> {
    let path = text.trim_matches('/');
    let bad = |part: &str| matches!(part, "" | "." | ".." | ".git") || part.chars().any(char::is_control);
    if path.contains('\\') || (!path.is_empty() && path.split('/').any(bad)) {
        return Err(format!("\"{}\" is no folder of a repository", text.escape_debug()));
    }
    Ok(path.to_owned())
}

/// What git takes for a branch (`git check-ref-format`), without `refs/heads/`.
fn branch_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("refs/heads/").unwrap_or(text);
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    // git's rule is about lower case.
    let locks = |part: &str| part.strip_suffix(".lock").is_some();
    let part = |part: &str| part.is_empty() || part.starts_with('.') || locks(part);
    let bad = name.chars().any(odd)
        || name.contains("..")
        || name.contains("@{")
        || name.starts_with('-')
        || name.ends_with('.')
        || name == "@"
        || name.split('/').any(part);
    if bad {
        return Err(format!("\"{}\" is no branch", text.escape_debug()));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RepoUrl, String> {
        RepoUrl::parse(text, |path| Ok(Path::new("/here").join(path)))
            .unwrap()
            .map_err(|(problem, _)| problem)
    }

    #[test]
    fn places_of_repositories() {
        for (text, kind, address, location, host, port, user) in [
            (
                "../r.git",
                RepoKind::Path,
                "/here/../r.git",
                "/here/../r.git",
                "",
                None,
                "",
            ),
            ("/srv/r.git", RepoKind::Path, "/srv/r.git", "/srv/r.git", "", None, ""),
            ("./a:b", RepoKind::Path, "/here/./a:b", "/here/./a:b", "", None, ""),
            ("file:///srv/r", RepoKind::Path, "/srv/r", "/srv/r", "", None, ""),
            (
                "git@h.example:o/r",
                RepoKind::Ssh,
                "git@h.example:o/r",
                "git@h.example:o/r",
                "h.example",
                None,
                "git",
            ),
            (
                "h.example:o/r",
                RepoKind::Ssh,
                "git@h.example:o/r",
                "git@h.example:o/r",
                "h.example",
                None,
                "git",
            ),
            (
                "ssh://h.example:2222/o/r.git",
                RepoKind::Ssh,
                "ssh://git@h.example:2222/o/r.git",
                "ssh://git@h.example:2222/o/r.git",
                "h.example",
                Some(2222),
                "git",
            ),
            (
                "ssh://ada@[::1]/r",
                RepoKind::Ssh,
                "ssh://ada@[::1]/r",
                "ssh://ada@[::1]/r",
                "::1",
                None,
                "ada",
            ),
            (
                "https://h.example/o/r.git",
                RepoKind::Http,
                "https://h.example/o/r.git",
                "https://h.example/o/r.git",
                "h.example",
                None,
                "git",
            ),
            (
                "HTTP://localhost:80/r",
                RepoKind::Http,
                "http://localhost:80/r",
                "http://localhost:80/r",
                "localhost",
                Some(80),
                "git",
            ),
        ] {
            let url = parse(text).unwrap();
            let (is, want) = (
                (url.kind, url.address.as_str(), url.location.as_str()),
                (kind, address, location),
            );
            assert_eq!(is, want, "{text}");
            assert_eq!(
                (url.host.as_str(), url.port, url.user.as_str()),
                (host, port, user),
                "{text}"
            );
            assert_eq!(url.password.reveal(), &None);
        }
    }

    /// What opens a repository is never part of what is shown.
    #[test]
    fn passwords_are_kept_apart() {
        let url = parse("https://ada%40x:p%3Aw@h.example:8443/r").unwrap();
        assert_eq!(
            (url.user.as_str(), url.password.reveal().as_deref()),
            ("ada@x", Some("p:w"))
        );
        assert_eq!(url.address, "https://h.example:8443/r");
        assert!(!format!("{url:?}").contains("p:w"), "{url:?}");
        for text in [
            "ssh://u:hunter2@h/r",
            "u:hunter2@h/r",
            "u:hunter2@h.example:o/r",
            "https:/u:hunter2@h/r",
            "https://u:hunter2@/r",
            "https://u:hunter2@h:x/r",
            "https://u:hunter2@h",
            "http://u:hunter2@h.example/r",
            "ftp://u:hunter2@h/r",
            "https://u:hunter2@h/r?x",
            "https://u:hunter2@h/\u{7}",
        ] {
            let problem = parse(text).unwrap_err();
            assert!(!problem.contains("hunter2"), "{text}: {problem}");
        }
    }

    #[test]
    fn what_is_no_place() {
        for text in [
            "git://h/r",
            "ext::sh -c x",
            "http://h.example/r",
            "http://10.0.0.1/r",
            "https:///r",
            "https://-h/r",
            "-h:r",
            "git@h:",
            "git@h:-r",
            "file://r",
            "https://h:0/r",
            " /r",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("http://127.0.0.2/r").is_ok() && parse("http://[::1]:3/r").is_ok());
    }

    #[test]
    fn branches_and_folders() {
        for (text, want) in [
            ("main", Some("main")),
            ("refs/heads/a/b", Some("a/b")),
            ("", None),
            ("a b", None),
            ("a..b", None),
            ("-a", None),
            ("a/", None),
            ("a.lock", None),
            ("a:b", None),
            ("a/.b", None),
            ("@", None),
        ] {
            assert_eq!(branch_name(text).ok().as_deref(), want, "{text}");
        }
        for (text, want) in [
            ("", Some("")),
            ("/", Some("")),
            ("deploy/mcp/", Some("deploy/mcp")),
            (".config/mcp", Some(".config/mcp")),
            ("a//b", None),
            ("../a", None),
            ("a/./b", None),
            ("a\\b", None),
        ] {
            assert_eq!(folder_within(text).ok().as_deref(), want, "{text}");
        }
    }
}
