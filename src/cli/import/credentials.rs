//! What of a foreign file is a credential, and what stands for a value that is elsewhere.

use crate::secret::scan;

/// Parts of names whose values are credentials.
const PARTS: &[&str] = &[
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "dsn",
    "jwt",
    "key",
    "keys",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "pat",
    "private",
    "pwd",
    "secret",
    "secrets",
    "session",
    "token",
    "tokens",
];
/// The same within a part: `accesstoken`.
const WITHIN: &[&str] = &["apikey", "credential", "passw", "secret", "token"];

/// Whether a name says that its value is a credential. One too many is encrypted rather than one too few.
pub(super) fn is_confidential(name: &str) -> bool {
    let mut parts: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && before.is_ascii_lowercase()) {
            parts.push(String::new());
        }
        if c.is_ascii_alphanumeric() {
            parts
                .last_mut()
                .into_iter()
                .for_each(|part| part.push(c.to_ascii_lowercase()));
        }
        before = c;
    }
    let confidential = |part: &String| PARTS.contains(&part.as_str()) || WITHIN.iter().any(|word| part.contains(word));
    parts.iter().any(confidential)
}

/// Whether a value looks like a credential, whatever it is called: by the patterns of the gate, as a URL with a password,
/// or as a header's.
pub(super) fn is_credential(value: &str) -> bool {
    let bearer = |scheme: &str| {
        value
            .get(..scheme.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(scheme))
    };
    !scan(value).is_empty() || has_password(value) || bearer("bearer ") || bearer("basic ")
}

/// `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    value.match_indices("://").any(|(at, _)| {
        let rest = &value[at + 3..];
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        user.and_then(|user| user.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with("${"))
    })
}

/// Whether one of several words is a credential, by itself, by its name in it (`--token=x`, `TOKEN=x`, `Authorization: x`) or
/// by the flag before it. The place of the first one.
pub(super) fn among<'w>(words: impl IntoIterator<Item = &'w str>) -> Option<usize> {
    let mut flag = false;
    for (at, word) in words.into_iter().enumerate() {
        let open = |value: &str| !value.is_empty() && !value.trim().starts_with("${");
        let named = word
            .split_once(['=', ':'])
            .is_some_and(|(name, value)| is_confidential(name) && open(value) && !value.starts_with("//"));
        if is_credential(word) || named || (flag && !word.starts_with('-') && open(word)) {
            return Some(at);
        }
        flag = word.starts_with('-') && !word.contains(['=', ':']) && is_confidential(word);
    }
    None
}

/// What a value stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    /// Itself.
    Literal,
    /// A variable of the environment, with what is used where it is not set.
    Variable(String, Option<String>),
    /// What an editor asks for.
    Input(String),
    /// Something with a part that stands for something else.
    Mixed,
}

/// What a value stands for: `${NAME}`, `${NAME:-default}`, `${env:NAME}`, `${input:id}`.
pub(super) fn stands_for(value: &str) -> Stands {
    let Some(inside) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return if value.contains("${") {
            Stands::Mixed
        } else {
            Stands::Literal
        };
    };
    if inside.contains("${") || inside.contains('}') {
        return Stands::Mixed;
    }
    if let Some(id) = inside.strip_prefix("input:") {
        return Stands::Input(id.to_owned());
    }
    let inside = inside.strip_prefix("env:").unwrap_or(inside);
    let (name, default) = match inside.split_once(":-").or_else(|| inside.split_once('-')) {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (inside, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit());
    // An editor's own words are no variables.
    if !is_name || name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Stands::Mixed;
    }
    Stands::Variable(name.to_owned(), default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        for name in [
            "GITHUB_TOKEN",
            "api-key",
            "apiKey",
            "OPENAI_APIKEY",
            "Authorization",
            "DB_PASSWORD",
            "PGPASSWORD",
            "x-api-key",
            "ACCESSTOKEN",
            "clientSecret",
            "AWS_SECRET_ACCESS_KEY",
            "SENTRY_DSN",
            "GITHUB_PAT",
        ] {
            assert!(is_confidential(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "LOG_LEVEL",
            "MONKEY",
            "COMPASS",
            "PATTERN",
            "AUTHOR",
            "TZ",
        ] {
            assert!(!is_confidential(name), "{name}");
        }
    }

    #[test]
    fn values_tell() {
        let token = format!("ghp_{}", "16C7e42F292c6912E7710c838347Ae178B4a");
        for value in [token.as_str(), "postgres://u:p@h/d", "Bearer abc", "basic eA=="] {
            assert!(is_credential(value), "{value}");
        }
        for value in [
            "postgres://u@h/d",
            "postgres://u:${PW}@h/d",
            "https://h/a:b@c",
            "info",
            "8080",
        ] {
            assert!(!is_credential(value), "{value}");
        }
        for (line, want) in [
            ("--api-key abc", Some(1)),
            ("--api-key=abc", Some(0)),
            ("-v --header Authorization:abc", Some(2)),
            ("--header Authorization:${AUTH}", None),
            ("--token ${TOKEN} x", None),
            ("--verbose --port 80 key", None),
            ("https://example.com/key", None),
            ("--password --next", None),
        ] {
            assert_eq!(among(line.split(' ')), want, "{line}");
        }
    }

    #[test]
    fn placeholders_tell() {
        let variable = |name: &str, default: Option<&str>| Stands::Variable(name.into(), default.map(str::to_owned));
        for (value, want) in [
            ("x", Stands::Literal),
            ("${TOKEN}", variable("TOKEN", None)),
            ("${env:TOKEN}", variable("TOKEN", None)),
            ("${TOKEN:-x}", variable("TOKEN", Some("x"))),
            ("${input:key}", Stands::Input("key".into())),
            ("${workspaceFolder}", Stands::Mixed),
            ("Bearer ${TOKEN}", Stands::Mixed),
            ("${A}${B}", Stands::Mixed),
        ] {
            assert_eq!(stands_for(value), want, "{value}");
        }
    }
}
