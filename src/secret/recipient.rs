//! For whom secrets are encrypted: public keys of age and SSH, and the file `.mcpctl/recipients`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::kit::{Diagnostic, Position, nearest};

/// Recipients of one repository, at most.
pub const MOST_RECIPIENTS: usize = 64;

/// A public key that secrets are encrypted to. Two are equal where their keys are; a comment behind one is not kept.
#[derive(Clone)]
pub struct Recipient {
    text: String,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Age(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

/// Why a text is no recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotARecipient(String);

impl Recipient {
    /// The key as text, as `sops` writes it: `age1…` or `ssh-ed25519 AAAA…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Encrypts a small text to this recipient alone, armored.
    pub(super) fn wrap(&self, plain: &[u8]) -> Result<String, age::EncryptError> {
        match &self.key {
            Key::Age(key) => age::encrypt_and_armor(key, plain),
            Key::Ssh(key) => age::encrypt_and_armor(key, plain),
        }
    }
}

impl From<age::x25519::Recipient> for Recipient {
    fn from(key: age::x25519::Recipient) -> Self {
        Self {
            text: key.to_string(),
            key: Key::Age(key),
        }
    }
}

impl FromStr for Recipient {
    type Err = NotARecipient;

    fn from_str(text: &str) -> Result<Self, NotARecipient> {
        let refuse = |why: &str| Err(NotARecipient(why.to_owned()));
        let mut words = text.split_whitespace();
        let (kind, key) = (words.next().unwrap_or_default(), words.next());
        if kind.starts_with("AGE-SECRET-KEY-") || text.contains("PRIVATE KEY") {
            return refuse("this is a private key: whoever reads the repository could open every secret");
        }
        if kind.starts_with("age1") {
            return match (kind.parse::<age::x25519::Recipient>(), key) {
                (Ok(key), None) => Ok(key.into()),
                (Ok(_), Some(_)) => refuse("something stands behind the age key"),
                (Err(_), _)
                    if ["age1pq1", "age1tag1", "age1tagpq1"]
                        .iter()
                        .any(|it| kind.starts_with(it)) =>
                {
                    refuse("age keys of this kind are not known here")
                }
                (Err(_), _) => refuse("not an age key: a character is wrong or missing"),
            };
        }
        match (kind, key) {
            ("ssh-ed25519", Some(key)) => {
                let text = format!("{kind} {key}");
                match text.parse::<age::ssh::Recipient>() {
                    // What is parsed must be all that stands there.
                    Ok(key @ age::ssh::Recipient::SshEd25519(..)) if key.to_string() == text => Ok(Self {
                        text,
                        key: Key::Ssh(key),
                    }),
                    _ => refuse("not an ssh-ed25519 key: a character is wrong or missing"),
                }
            }
            ("ssh-ed25519", None) => refuse("the key behind ssh-ed25519 is missing"),
            ("ssh-rsa", _) => refuse("ssh-rsa keys are not accepted as recipients"),
            ("", _) => refuse("the key is missing"),
            _ => refuse("neither an age key (age1…) nor an SSH key (ssh-ed25519 …)"),
        }
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What `.mcpctl/recipients` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipients {
    /// Those that can be used, in the order of the file, each once.
    pub known: Vec<Recipient>,
    /// What is wrong, line by line. The caller refuses a file that has any: a recipient that is left out by mistake
    /// would be noticed on the day when it is needed.
    pub diagnostics: Vec<Diagnostic>,
}

impl Recipients {
    /// Reads the file: a key a line; empty lines and those that begin with `#` are passed over.
    ///
    /// No line is shown in a diagnostic, since what was pasted by mistake may be a private key.
    #[must_use]
    pub fn parse(file: &str, text: &str) -> Self {
        let mut it = Self::default();
        let mut seen = BTreeSet::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1_u32..).zip(text.lines()) {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            let before = line.len() - line.trim_start().len();
            let at = Position {
                line: number,
                column: u32::try_from(line[..before].chars().count() + 1).unwrap_or(u32::MAX),
            };
            let complain = |message: &str| {
                let mut diagnostic = Diagnostic::at(file, text, at, key.chars().count(), message);
                diagnostic.excerpt = None;
                diagnostic
            };
            match key.parse::<Recipient>() {
                Ok(_) if it.known.len() >= MOST_RECIPIENTS => {
                    it.diagnostics
                        .push(complain(&format!("more than {MOST_RECIPIENTS} recipients")));
                    break;
                }
                Ok(recipient) => {
                    if seen.insert(recipient.text.clone()) {
                        it.known.push(recipient);
                    }
                }
                Err(error) if it.diagnostics.len() < MOST_RECIPIENTS => {
                    it.diagnostics.push(complain(&error.to_string()).hint(hint(key)));
                }
                Err(_) => break,
            }
        }
        it
    }
}

/// The way out for a line that is no recipient.
fn hint(line: &str) -> String {
    let kind = line.split_whitespace().next().unwrap_or_default();
    if kind.starts_with("AGE-SECRET-KEY-") {
        return "write its public half instead (age-keygen -y FILE), and make a new key: this one is known now".into();
    }
    if line.contains("PRIVATE KEY") {
        return "write its public half instead (the .pub file), and make a new key: this one is known now".into();
    }
    match nearest(kind, ["ssh-ed25519"]) {
        Some(near) if near != kind => format!("did you mean \"{near}\"?"),
        _ => "a line is one public key: age1…, or ssh-ed25519 AAAA…".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::tests::{AGE, SSH};

    #[test]
    fn keys_and_comments_are_read() {
        let text = format!("# us\n\n{AGE}\r\n  {SSH} anna@laptop\n{AGE}\n");
        let it = Recipients::parse(".mcpctl/recipients", &text);
        assert_eq!(it.diagnostics, []);
        assert_eq!(it.known.iter().map(Recipient::as_str).collect::<Vec<_>>(), [AGE, SSH]);
    }

    #[test]
    fn what_is_no_public_key_is_pointed_at_and_not_shown() {
        for (line, column, message, hint) in [
            ("age1qqqq", 1, "not an age key", "age1…"),
            (&format!("{AGE} x"), 1, "behind the age key", "age1…"),
            ("  ssh-ed25519", 3, "missing", "age1…"),
            ("ssh-ed25519 AAAA", 1, "not an ssh-ed25519 key", "age1…"),
            (&format!("{SSH}AAAA"), 1, "not an ssh-ed25519 key", "age1…"),
            ("ssh-ed2519 AAAA", 1, "neither", "did you mean \"ssh-ed25519\"?"),
            ("ssh-rsa AAAA", 1, "ssh-rsa", "age1…"),
            ("AGE-SECRET-KEY-1QQ", 1, "private key", "age-keygen -y"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", 1, "private key", ".pub"),
        ] {
            let it = Recipients::parse("r", &format!("# a\n{line}\n"));
            let [diagnostic] = &it.diagnostics[..] else {
                panic!("{line}: {it:?}")
            };
            assert_eq!((diagnostic.line, diagnostic.column), (2, column), "{line}");
            assert!(diagnostic.message.contains(message), "{line}: {diagnostic}");
            assert!(
                diagnostic.hint.as_ref().is_some_and(|it| it.contains(hint)),
                "{line}: {diagnostic}"
            );
            assert!(
                it.known.is_empty() && !diagnostic.to_string().contains("1QQ"),
                "{diagnostic}"
            );
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let key = || age::x25519::Identity::generate().to_public().to_string();
        let many: Vec<String> = (0..100).map(|_| key()).collect();
        let it = Recipients::parse("r", &many.join("\n"));
        assert_eq!((it.known.len(), it.diagnostics.len()), (MOST_RECIPIENTS, 1));
        let it = Recipients::parse("r", &"x\n".repeat(1000));
        assert_eq!(it.diagnostics.len(), MOST_RECIPIENTS);
    }
}
