//! The host keys that a person has pinned: `known_hosts`, as OpenSSH writes it. Pure.
//!
//! A host that is not in it is refused, and so is a host that shows another key: there is no trust on first use.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::kit::{Digest, is_like};

/// What the pinned keys say of a host's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pinned {
    /// It is the one.
    Yes,
    /// The host is not pinned by its name; whether by a hash of it, libssh2 can tell.
    No,
    /// Other keys are pinned for this host.
    Other,
    /// It is marked as revoked.
    Revoked,
}

/// How a host is called in `known_hosts`: by its port too, where that is not the usual one.
pub(super) fn name(host: &str, port: Option<u16>) -> String {
    match port {
        None | Some(22) => host.to_ascii_lowercase(),
        Some(port) => format!("[{}]:{port}", host.to_ascii_lowercase()),
    }
}

/// Judges a key, given as it crosses the wire, for a host by its name.
pub(super) fn pinned(known: &str, name: &str, key: &[u8]) -> Pinned {
    let mut found = Pinned::No;
    for line in known.lines() {
        let mut words = line.split_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let (Some(hosts), Some(_), Some(encoded)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if hosts.starts_with('#') || !matches(hosts, name) {
            continue;
        }
        let same = STANDARD.decode(encoded).is_ok_and(|pinned| pinned == key);
        match marker {
            Some("@revoked") if same => return Pinned::Revoked,
            None if same => found = Pinned::Yes,
            None if found == Pinned::No => found = Pinned::Other,
            _ => {}
        }
    }
    found
}

/// Whether a list of patterns names a host; one that begins with `!` takes it out.
fn matches(patterns: &str, name: &str) -> bool {
    let mut named = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if is_like(name, &pattern.to_ascii_lowercase()) => return false,
            Some(_) => {}
            None => named |= is_like(name, &pattern.to_ascii_lowercase()),
        }
    }
    named
}

/// The type of a key, as `ssh-ed25519`: its first field.
pub(super) fn kind(key: &[u8]) -> &str {
    let length = key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
    let field = key.get(4..).and_then(|rest| rest.get(..length.min(64)));
    field
        .and_then(|field| std::str::from_utf8(field).ok())
        .filter(|text| text.chars().all(|c| c.is_ascii_graphic()))
        .unwrap_or("?")
}

/// The line that pins a key.
pub(super) fn line(name: &str, key: &[u8]) -> String {
    format!("{name} {} {}", kind(key), STANDARD.encode(key))
}

/// A key's fingerprint, as `SHA256:…`: what owners of hosts publish.
pub(super) fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Digest::of(key).bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, rest: u8) -> Vec<u8> {
        let length = u32::try_from(kind.len()).unwrap().to_be_bytes();
        [&length[..], kind.as_bytes(), &[rest; 32]].concat()
    }

    #[test]
    fn only_what_is_pinned_is_trusted() {
        let (ours, other) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2));
        let entry = |hosts: &str, key: &[u8]| line(hosts, key) + " a comment\n";
        let plain = name("Git.Example", None);
        let with_port = name("git.example", Some(2222));
        for (known, host, want) in [
            (String::new(), &plain, Pinned::No),
            (entry("git.example", &ours), &plain, Pinned::Yes),
            (entry("git.example", &other), &plain, Pinned::Other),
            (
                entry("git.example", &other) + &entry("GIT.example", &ours),
                &plain,
                Pinned::Yes,
            ),
            (entry("git.example", &ours), &with_port, Pinned::No),
            (entry("[git.example]:2222", &ours), &with_port, Pinned::Yes),
            (entry("x,*.example", &ours), &plain, Pinned::Yes),
            (entry("*.example,!git.example", &ours), &plain, Pinned::No),
            (entry("g?t.example", &other), &plain, Pinned::Other),
            (
                "@revoked ".to_owned() + &entry("*", &ours) + &entry("git.example", &ours),
                &plain,
                Pinned::Revoked,
            ),
            (
                entry("git.example", &ours) + "@revoked " + &entry("*", &ours),
                &plain,
                Pinned::Revoked,
            ),
            ("@cert-authority ".to_owned() + &entry("*", &ours), &plain, Pinned::No),
            (
                "# git.example ssh-ed25519 AAAA\ngit.example\n\n".to_owned(),
                &plain,
                Pinned::No,
            ),
            ("#git.example ssh-ed25519 AAAA\n".to_owned(), &plain, Pinned::No),
            ("|1|c2FsdA==|aGFzaA== ssh-ed25519 AAAA\n".to_owned(), &plain, Pinned::No),
        ] {
            assert_eq!(pinned(&known, host, &ours), want, "{known}");
        }
    }

    #[test]
    fn keys_are_told_by_type_and_fingerprint() {
        let real = STANDARD
            .decode("AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
            .unwrap();
        assert_eq!(kind(&real), "ssh-ed25519");
        assert_eq!(fingerprint(&real), "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        for odd in [&b""[..], b"\0\0\0", b"\xff\xff\xff\xffx", b"\0\0\0\x03a\nb"] {
            assert_eq!(kind(odd), "?");
        }
    }
}
