//! What of a foreign file is a credential, and what stands for a value that is elsewhere.

use crate::secret::scan;

/// Parts of names whose values are credentials.
const PARTS: &[&str] = &[
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "cred",
    "credential",
    "credentials",
    "creds",
    "dsn",
    "jwt",
    "key",
    "keys",
    "pass",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "pat",
    "pin",
    "private",
    "pw",
    "pwd",
    "secret",
    "secrets",
    "seed",
    "session",
    "token",
    "tokens",
];
/// The same within a part: `accesstoken`.
const WITHIN: &[&str] = &["apikey", "credential", "passw", "secret", "token"];
/// Words that end like a name of a credential and are none.
const HARMLESS: &[&str] = &[
    "bypass", "compass", "donkey", "hotkey", "jockey", "monkey", "surpass", "turkey", "whiskey",
];
/// Addresses that are a right by themselves.
const SECRET_PLACES: &[&str] = &["hooks.slack.com/services/", "/api/webhooks/"];

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
    let confidential = |part: &String| {
        let part = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let ends = (part.ends_with("key") || part.ends_with("pass")) && !HARMLESS.contains(&part);
        ends || PARTS.contains(&part) || WITHIN.iter().any(|word| part.contains(word))
    };
    parts.iter().any(confidential)
}

/// Whether a value looks like a credential, whatever it is called: by the patterns of the gate, as a URL with a password,
/// as a header's, or by a name in it.
pub(super) fn is_credential(value: &str) -> bool {
    let bearer = |scheme: &str| {
        value
            .get(..scheme.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(scheme))
    };
    let place = SECRET_PLACES.iter().any(|place| value.contains(place));
    !scan(value).is_empty() || has_password(value) || place || bearer("bearer ") || bearer("basic ") || assigns(value)
}

/// Whether a text gives a value to a name that is a credential's: in a query, a shell's line, a connection's settings, or
/// an object of JSON.
fn assigns(text: &str) -> bool {
    let text = text.replace(['"', '\''], "");
    let parts = text.split(|c: char| c.is_whitespace() || "?&;,{}|()".contains(c));
    let mut name_before = false;
    for part in parts.filter(|part| !part.is_empty()) {
        let open = |value: &str| !value.is_empty() && !value.starts_with('$') && !value.starts_with("//");
        // `{"password": "x"}`, `Authorization: x`: the value is a part of its own.
        if name_before && open(part) && !part.contains(['=', ':']) {
            return true;
        }
        let named = part.split_once(['=', ':']).filter(|(name, _)| is_confidential(name));
        if named.is_some_and(|(_, value)| open(value)) {
            return true;
        }
        name_before = named.is_some_and(|(_, value)| value.is_empty());
    }
    false
}

/// `scheme://user:password@host`, `scheme://TOKEN@host`.
fn has_password(value: &str) -> bool {
    value.match_indices("://").any(|(at, _)| {
        let rest = &value[at + 3..];
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else {
            return false;
        };
        match user.split_once(':') {
            Some((_, password)) => !password.is_empty() && !password.starts_with("${"),
            // A token instead of a user's name.
            None => user.len() >= 16 && user.bytes().any(|b| b.is_ascii_digit()) && !user.contains("${"),
        }
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
            "DBPASS",
            "DB_PW",
            "ACCESSKEY",
            "OPENAI_KEY2",
            "PASSCODE",
            "LOGIN_CREDS",
            "TOTP_SEED",
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
        for value in [
            token.as_str(),
            "postgres://u:p@h/d",
            "Bearer abc",
            "basic eA==",
            "https://x/mcp?api_key=sk1234",
            "https://x?a=b&token=1",
            "export A=1; API_KEY=abc npx foo",
            "Server=db;Password=abc",
            "{\"password\":\"abc\"}",
            "{\"user\": \"u\", \"password\": \"abc\"}",
            "git+https://0123456789abcdef0123@example.com/a/b",
            "https://hooks.slack.com/services/T0/B0/x",
        ] {
            assert!(is_credential(value), "{value}");
        }
        for value in [
            "postgres://u@h/d",
            "postgres://u:${PW}@h/d",
            "https://h/a:b@c",
            "https://x/mcp?page=1&size=2",
            "https://x?token=${TOKEN}",
            "Server=db;User=u",
            "{\"user\":\"u\"}",
            "key: ",
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
