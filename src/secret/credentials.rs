//! What a credential looks like: a published list (docs/SECRETS.md), and a search for it in a text.
//!
//! Each pattern has a prefix or a form that its issuer gave it so that leaks are found; there is none for "something
//! random behind the word password", since a gate that is wrong every week is soon opened for good.

use std::sync::LazyLock;

use regex::Regex;

/// A form of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// Its name, as `github-token`.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// How it begins, or is told otherwise: the table in docs/SECRETS.md shows it.
    pub looks_like: &'static str,
    /// The regular expression.
    form: &'static str,
}

/// A credential in a text. What it is made of is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// In characters, to the end of the line at most.
    pub width: u32,
    /// What it looks like.
    pub pattern: &'static Pattern,
    /// Why it is let through: the reason in `# mcpctl:allow-secret REASON` on its line.
    pub allowed: Option<String>,
}

const fn pattern(name: &'static str, what: &'static str, looks_like: &'static str, form: &'static str) -> Pattern {
    Pattern {
        name,
        what,
        looks_like,
        form,
    }
}

/// All patterns. Where two fit the same place the first is told.
pub const PATTERNS: &[Pattern] = &[
    pattern(
        "private-key",
        "a private key",
        "-----BEGIN … PRIVATE KEY----- with the key below it",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\[nr]|\s)+(?:[A-Za-z0-9+/=]{16}|[A-Z][A-Za-z-]+: )",
    ),
    pattern(
        "age-secret-key",
        "an age identity",
        "AGE-SECRET-KEY-1…",
        r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50,}",
    ),
    pattern(
        "mcpctl-token",
        "a token of mcpctl",
        "mcpctl_pat_…, mcpctl_admin_…",
        r"(?-u:\b)mcpctl_(?:pat|admin)_[A-Za-z0-9_-]{20,}",
    ),
    pattern(
        "aws-access-key-id",
        "an access key of AWS",
        "AKIA…, ASIA…",
        r"(?-u:\b)(?:AKIA|ASIA)[0-9A-Z]{16}(?-u:\b)",
    ),
    pattern(
        "aws-secret-access-key",
        "a secret access key of AWS",
        "40 characters behind aws_secret_access_key",
        r#"(?i-u:aws_?secret_?access_?key)["']?[ \t]{0,8}[:=][ \t]{0,8}["']?[A-Za-z0-9/+]{40}(?:[^A-Za-z0-9/+=]|$)"#,
    ),
    pattern(
        "github-token",
        "a token of GitHub",
        "ghp_…, gho_…, ghu_…, ghs_…, ghr_…, github_pat_…",
        r"(?-u:\b)(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})(?-u:\b)",
    ),
    pattern(
        "gitlab-token",
        "a token of GitLab",
        "glpat-…, gldt-…, glrt-…, glptt-…, glcbt-…, glsoat-…, glft-…, glagent-…",
        r"(?-u:\b)gl(?:pat|dt|rt|ptt|cbt|soat|ft|agent)-[A-Za-z0-9_-]{20,}",
    ),
    pattern(
        "slack-token",
        "a token or webhook of Slack",
        "xoxb-…, xoxp-…, xoxa-…, xoxr-…, xoxs-…, xoxe-…, xapp-…, https://hooks.slack.com/services/…",
        r"(?-u:\b)(?:xox[abeoprs]-[0-9A-Za-z]{8,}-[0-9A-Za-z-]{8,}|xapp-[0-9]-[A-Z0-9]{8,}-[0-9]{8,}-[0-9a-z]{16,}|https://hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,})",
    ),
    pattern(
        "anthropic-api-key",
        "a key of Anthropic",
        "sk-ant-…",
        r"(?-u:\b)sk-ant-[a-z0-9]{3,}-[A-Za-z0-9_-]{32,}",
    ),
    pattern(
        "openai-api-key",
        "a key of OpenAI, or of a service that took over its form",
        "sk-proj-…, sk-svcacct-…, sk-admin-…, sk- and 32 letters and digits",
        r"(?-u:\b)sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}|[A-Za-z0-9]{32,}(?-u:\b))",
    ),
    pattern(
        "google-credential",
        "a key or token of Google",
        "AIza…, GOCSPX-…, ya29.…",
        r"(?-u:\b)(?:AIza[A-Za-z0-9_-]{35}(?:[^A-Za-z0-9_-]|$)|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{60,})",
    ),
    pattern(
        "stripe-key",
        "a key of Stripe",
        "sk_live_…, sk_test_…, rk_live_…, rk_test_…, whsec_…",
        r"(?-u:\b)(?:[sr]k_(?:live|test)_[A-Za-z0-9]{20,}|whsec_[A-Za-z0-9+/]{32,})",
    ),
    pattern(
        "npm-token",
        "a token of npm",
        "npm_…",
        r"(?-u:\b)npm_[A-Za-z0-9]{36}(?-u:\b)",
    ),
    pattern(
        "pypi-token",
        "a token of PyPI",
        "pypi-AgE…",
        r"(?-u:\b)pypi-AgE[A-Za-z0-9_-]{60,}",
    ),
    pattern(
        "hugging-face-token",
        "a token of Hugging Face",
        "hf_…",
        r"(?-u:\b)hf_[A-Za-z0-9]{34,}(?-u:\b)",
    ),
    pattern(
        "json-web-token",
        "a signed JSON web token",
        "eyJ….eyJ….…",
        r"(?-u:\b)eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}",
    ),
];

/// What is never a credential: values that SOPS encrypted, age files, public keys.
const EXEMPT: &str = r"(?x)
    ENC\[AES256_GCM,data:[A-Za-z0-9+/=]*,iv:[A-Za-z0-9+/=]*,tag:[A-Za-z0-9+/=]*,type:[a-z]*\]
    | -----BEGIN\ AGE\ ENCRYPTED\ FILE-----[A-Za-z0-9+/=\s]*-----END\ AGE\ ENCRYPTED\ FILE-----
    | -----BEGIN\ (?:CERTIFICATE|(?:RSA\ |EC\ )?PUBLIC\ KEY)-----[A-Za-z0-9+/=\s]*-----END
    | (?-u:\b)age1[0-9a-z]{58}(?-u:\b)
    | (?-u:\b)(?:ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp[0-9]+)\ AAAA[A-Za-z0-9+/=]+";

/// `# mcpctl:allow-secret REASON`.
const ALLOW: &str = r"#[ \t]*mcpctl:allow-secret[ \t]+([^\r\n]*)";
/// Findings in a text, at most: whoever sees that many needs no more.
const MOST_FOUND: usize = 1000;
/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 200;

struct Forms {
    patterns: Vec<Regex>,
    exempt: Regex,
    allow: Regex,
}

static FORMS: LazyLock<Option<Forms>> = LazyLock::new(|| {
    Some(Forms {
        patterns: PATTERNS
            .iter()
            .map(|it| Regex::new(it.form).ok())
            .collect::<Option<_>>()?,
        exempt: Regex::new(EXEMPT).ok()?,
        allow: Regex::new(ALLOW).ok()?,
    })
});

/// Finds credentials, in the order of the text, each place once. The time grows with the text and not faster.
///
/// A finding whose line says `# mcpctl:allow-secret REASON` is told with the reason; without a reason it is not allowed.
#[must_use]
pub fn scan(text: &str) -> Vec<Found> {
    let Some(forms) = FORMS.as_ref() else {
        unreachable!("the forms are compiled by a test")
    };
    let mut places: Vec<(usize, usize, &'static Pattern)> = vec![];
    for (pattern, form) in PATTERNS.iter().zip(&forms.patterns) {
        places.extend(form.find_iter(text).map(|it| (it.start(), it.end(), pattern)));
    }
    if places.is_empty() {
        return vec![];
    }
    // Of those that begin at one place the first in the table stays in front: the sort is stable.
    places.sort_by_key(|it| it.0);
    let mut exempt = forms.exempt.find_iter(text).map(|it| (it.start(), it.end())).peekable();
    let mut found: Vec<Found> = vec![];
    let mut cursor = Cursor::new(text);
    let mut behind = 0;
    for (start, end, pattern) in places {
        while exempt.next_if(|it| it.1 <= start).is_some() {}
        let is_exempt = exempt.peek().is_some_and(|it| it.0 <= start && end <= it.1);
        if start < behind || is_exempt || is_example(&text[start..end]) {
            continue;
        }
        if found.len() == MOST_FOUND {
            break;
        }
        behind = end;
        let new_line = cursor.go_to(start);
        let allowed = match found.last() {
            Some(last) if !new_line => last.allowed.clone(),
            _ => reason(&forms.allow, cursor.line_text()),
        };
        let width = text[start..end.min(cursor.line_end)].trim_end().chars().count();
        found.push(Found {
            line: cursor.line,
            column: cursor.column,
            width: u32::try_from(width.max(1)).unwrap_or(u32::MAX),
            pattern,
            allowed,
        });
    }
    found
}

/// Walks forward through a text and knows where it is; each character is looked at once.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    column: u32,
    line_start: usize,
    line_end: usize,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            column: 1,
            line_start: 0,
            line_end: text.find('\n').unwrap_or(text.len()),
        }
    }

    /// Goes to a byte further on. Whether it is in another line.
    fn go_to(&mut self, byte: usize) -> bool {
        let before = self.line;
        for (at, c) in self.text[self.at..byte].char_indices() {
            if c == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
                self.line_start = self.at + at + 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.at = byte;
        if self.line != before {
            let rest = &self.text[self.line_start..];
            self.line_end = rest.find('\n').map_or(self.text.len(), |at| self.line_start + at);
        }
        self.line != before
    }

    fn line_text(&self) -> &'t str {
        &self.text[self.line_start..self.line_end]
    }
}

/// The reason for which a line's credentials are let through.
fn reason(allow: &Regex, line: &str) -> Option<String> {
    let reason = allow.captures(line)?.get(1)?.as_str().trim();
    let reason: String = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_REASON)
        .collect();
    (!reason.is_empty()).then_some(reason)
}

/// The key in AWS's own documents.
fn is_example(text: &str) -> bool {
    text.starts_with("AKIA") && text.ends_with("EXAMPLE")
}
