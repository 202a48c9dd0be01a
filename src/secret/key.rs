//! Private keys as files hold them: `AGE-SECRET-KEY-1…` lines and SSH keys in PEM, several a file.

use age::secrecy::ExposeSecret as _;

use crate::kit::{Digest, Redacted};

use super::recipient::Recipient;

/// A private key that can decrypt.
pub(super) struct PrivateKey {
    kind: Kind,
    /// What a value is derived from: the same for the same key.
    material: Redacted<String>,
}

enum Kind {
    Age(age::x25519::Identity),
    Ssh(Box<age::ssh::Identity>),
}

/// Something in a file that is no key. What stands there is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// 1-based.
    pub line: usize,
    pub message: &'static str,
}

impl PrivateKey {
    pub fn as_age(&self) -> &dyn age::Identity {
        match &self.kind {
            Kind::Age(key) => key,
            Kind::Ssh(key) => key.as_ref(),
        }
    }

    /// What a value is derived from.
    pub fn material(&self) -> &Redacted<String> {
        &self.material
    }

    /// Tells keys apart without holding them.
    pub fn digest(&self) -> Digest {
        Digest::of_parts([b"mcpctl/identity".as_slice(), self.material.reveal().as_bytes()])
    }
}

/// A new age key: its text, its public half and itself.
pub(super) fn make() -> (Redacted<String>, Recipient, PrivateKey) {
    let key = age::x25519::Identity::generate();
    let text = key.to_string().expose_secret().to_owned();
    let recipient = key.to_public().into();
    let private = PrivateKey {
        kind: Kind::Age(key),
        material: Redacted::new(text.clone()),
    };
    (Redacted::new(text), recipient, private)
}

/// The one age key of mcpd's own file: its text, its public half and itself.
pub(super) fn read_own(text: &str) -> Result<(Redacted<String>, Recipient, PrivateKey), Fault> {
    let (mut keys, faults) = read(text);
    if let Some(fault) = faults.into_iter().next() {
        return Err(fault);
    }
    let (first, second) = (keys.pop(), keys.pop());
    match (first, second) {
        (Some((line, key)), None) => match &key.kind {
            Kind::Age(age) => Ok((
                Redacted::new(age.to_string().expose_secret().to_owned()),
                age.to_public().into(),
                key,
            )),
            Kind::Ssh(_) => Err(Fault {
                line,
                message: "an SSH key, and an age key is needed here",
            }),
        },
        (Some((line, _)), Some(_)) => Err(Fault {
            line,
            message: "a second key, and this file holds one",
        }),
        (None, _) => Err(Fault {
            line: 1,
            message: "there is no key in it",
        }),
    }
}

/// Keys, each with the line where it begins.
type Keys = Vec<(usize, PrivateKey)>;

/// Reads all keys of a file, and says what else stands in it.
pub(super) fn read(text: &str) -> (Keys, Vec<Fault>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut keys, mut faults) = (vec![], vec![]);
    let mut lines = (1_usize..).zip(text.lines().map(str::trim));
    while let Some((number, line)) = lines.next() {
        let found = if line.is_empty() || line.starts_with('#') {
            continue;
        } else if line.starts_with("-----BEGIN ") && line.ends_with(" PRIVATE KEY-----") {
            let mut pem = format!("{line}\n");
            let mut ended = false;
            for (_, line) in lines.by_ref() {
                pem.push_str(line);
                pem.push('\n');
                if line.starts_with("-----END ") {
                    ended = true;
                    break;
                }
            }
            if ended {
                ssh(&pem)
            } else {
                Err("the SSH key is cut off")
            }
        } else if line.starts_with("AGE-SECRET-KEY-PQ-1") {
            Err("age keys of this kind are not known here")
        } else if line.starts_with("AGE-SECRET-KEY-1") {
            line.parse::<age::x25519::Identity>()
                .map(|key| PrivateKey {
                    material: Redacted::new(key.to_string().expose_secret().to_owned()),
                    kind: Kind::Age(key),
                })
                .map_err(|_| "not an age key: a character is wrong or missing")
        } else if line.starts_with("age1") || line.starts_with("ssh-") {
            Err("a public key, and a private one is needed here")
        } else {
            Err("neither an age nor an SSH private key")
        };
        match found {
            Ok(key) => keys.push((number, key)),
            Err(message) => faults.push(Fault { line: number, message }),
        }
    }
    (keys, faults)
}

fn ssh(pem: &str) -> Result<PrivateKey, &'static str> {
    let key = age::ssh::Identity::from_buffer(pem.as_bytes(), None).map_err(|_| "the SSH key can't be read")?;
    match key {
        age::ssh::Identity::Unencrypted(_) => {}
        age::ssh::Identity::Encrypted(_) => return Err("the SSH key has a passphrase, which nobody could give here"),
        age::ssh::Identity::Unsupported(_) => {
            return Err("an SSH key of this kind can't decrypt; ssh-ed25519 and ssh-rsa can");
        }
    }
    let body = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Ok(PrivateKey {
        kind: Kind::Ssh(Box::new(key)),
        material: Redacted::new(body),
    })
}
