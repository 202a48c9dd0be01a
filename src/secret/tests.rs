//! What the tests of this room share, and the tests of derived values and credentials.
//!
//! The keys in tests/fixtures/secret were made for these tests, and nothing else knows them.
#![expect(clippy::disallowed_methods, reason = "tests that make files of keys")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kit::{Redacted, time::Timestamp};

/// The age key of 32 bytes 0x42, as the tests of other programs use it too. In pieces: it has the form of a key.
pub const AGE_SECRET: &str = concat!(
    "AGE-SECRET",
    "-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
);
pub const AGE: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
pub const SSH_SECRET: &str = include_str!("../../tests/fixtures/secret/ssh_ed25519");
pub const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN9fNncD6+T9yYuYJiRhW3zH377ExAbaLPce1iYWaaMQ";
pub const RSA_SECRET: &str = include_str!("../../tests/fixtures/secret/ssh_rsa");

/// 2026-11-24T06:00:00Z.
pub fn now() -> Timestamp {
    "2026-11-24T06:00:00Z".parse().unwrap()
}

/// A data folder whose own key is [`AGE`].
pub fn identities() -> (tempfile::TempDir, Identities) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("identity.txt"), format!("{AGE_SECRET}\n")).unwrap();
    let identities = Identities::open(folder.path(), &[], now()).unwrap();
    (folder, identities)
}

/// A data folder with a new key, beside files of other keys.
pub fn identities_with(extra: &[(&str, &str)]) -> (tempfile::TempDir, Identities) {
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![];
    for (name, text) in extra {
        files.push(folder.path().join(name));
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let identities = Identities::open(folder.path(), &files, now()).unwrap();
    (folder, identities)
}

#[test]
fn keys_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Identities>();
    shared::<Recipients>();
}

#[test]
fn generated_values_never_change() {
    let (_folder, it) = identities();
    let value = |secret: &str, key: &str, length| generate(&it, secret, key, length).unwrap().reveal().clone();
    // A value that comes out differently one day would lock people out of what they gave it to.
    assert_eq!(value("secret/demo", "password", 32), "3kCRqXDAX9b8sP83KQy0qtrDXM1NjiOI");
    assert_eq!(value("secret/demo", "password", 1), "h");
    assert_eq!(value("secret/demo", "password", 1024).len(), 1024);
    let (_folder, ssh) = identities_with(&[("ssh", SSH_SECRET)]);
    assert_eq!(
        generate(&ssh, "secret/demo", "password", 12).unwrap().reveal(),
        "C6yRTRZ4Y2je"
    );
}

#[test]
fn generated_values_differ_by_everything_that_names_them() {
    let (_folder, it) = identities();
    let (_folder, other) = identities_with(&[]);
    let value = |it: &Identities, secret: &str, key: &str, length| {
        generate(it, secret, key, length).unwrap().reveal()[..16].to_owned()
    };
    let values = BTreeSet::from([
        value(&it, "a", "bc", 16),
        value(&it, "ab", "c", 16),
        value(&it, "a", "bd", 16),
        value(&it, "a", "bc", 17),
        value(&other, "a", "bc", 16),
    ]);
    assert_eq!(values.len(), 5);
}

#[test]
fn generated_values_come_from_the_first_key_of_the_given_files() {
    let (_folder, a) = identities_with(&[("x", &format!("{AGE_SECRET}\n{SSH_SECRET}"))]);
    let (_folder, b) = identities();
    let value = |it: &Identities| generate(it, "s", "k", 20);
    assert_eq!(value(&a), value(&b));
    let folder = tempfile::tempdir().unwrap();
    let missing = Identities::open(folder.path(), &[folder.path().join("missing")], now()).unwrap();
    assert_eq!(value(&missing), Err(DeriveError::NoKey));
    for length in [0, LONGEST_GENERATED + 1, usize::MAX] {
        assert_eq!(generate(&b, "s", "k", length), Err(DeriveError::Length(length)));
    }
}

#[test]
fn generated_characters_are_equally_likely() {
    let (_folder, it) = identities();
    let mut counts = BTreeMap::new();
    for number in 0..200 {
        for c in generate(&it, "s", &number.to_string(), 310).unwrap().reveal().chars() {
            *counts.entry(c).or_insert(0_u32) += 1;
        }
    }
    // 62 000 characters: 1000 of each are expected, with a deviation of 32. A modulo of a byte would give the first
    // eight of the alphabet 1211.
    assert_eq!(counts.len(), 62);
    assert!(counts.values().all(|it| (840..1160).contains(it)), "{counts:?}");
}

#[test]
fn fingerprints_tell_values_apart_and_nothing_else() {
    let of = |salt: &[u8], path: &str, value| fingerprint(salt, path, &value);
    let it = of(b"salt", "secret/a:k", json!("x"));
    assert_eq!(it, of(b"salt", "secret/a:k", json!("x")));
    for other in [
        of(b"sald", "secret/a:k", json!("x")),
        of(b"salt", "secret/b:k", json!("x")),
        of(b"salt", "secret/a:k", json!("y")),
        of(b"salt", "secret/a:", json!("kx")),
        of(b"salt", "secret/a:k", json!(["x"])),
    ] {
        assert_ne!(it, other);
    }
    assert_ne!(of(b"salt", "p", json!("1")), of(b"salt", "p", json!(1)));
    assert_ne!(of(b"salt", "p1", json!(2)), of(b"salt", "p", json!(12)));
}

#[test]
fn blobs_come_back_and_changed_ones_do_not() {
    let (_folder, it) = identities();
    let (_folder, other) = identities_with(&[("x", AGE_SECRET)]);
    let secret = Redacted::new("pä\nss".to_owned());
    let blob = seal_blob(&it, &secret).unwrap();
    assert_eq!(open_blob(&it, &blob), Ok(secret));
    // The own key alone opens it: the blob belongs to the data folder.
    assert_eq!(open_blob(&other, &blob), Err(BlobError::OtherKey));
    for bad in [
        "",
        "x",
        &blob[..blob.len() / 2],
        &blob.replace("AGE", "AGA"),
        &"x".repeat(1 << 20),
    ] {
        assert_eq!(open_blob(&it, bad), Err(BlobError::Broken));
    }
    let long = |length| seal_blob(&it, &Redacted::new("x".repeat(length)));
    assert!(open_blob(&it, &long(8 * 1024).unwrap()).is_ok());
    assert_eq!(long(8 * 1024 + 1), Err(BlobError::TooLong));
}

/// One of each form, made up.
fn examples() -> Vec<(&'static str, String)> {
    let (c, u) = (
        "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3hJ5kL7nP9rS1tV3xZ5",
        "A1B2C3D4E5F6G7H8J9K0",
    );
    let base64 = "MIIEvQIBADANBgkqhkiG9w0B";
    vec![
        ("private-key", format!("-----BEGIN PRIVATE {}-----\n{base64}", "KEY")),
        (
            "private-key",
            format!("-----BEGIN OPENSSH PRIVATE {}-----\\n{base64}", "KEY"),
        ),
        (
            "private-key",
            format!("-----BEGIN RSA PRIVATE {}-----\n  Proc-Type: 4", "KEY"),
        ),
        (
            "private-key",
            format!("-----BEGIN PGP PRIVATE {} BLOCK-----\n\n{base64}", "KEY"),
        ),
        ("age-secret-key", AGE_SECRET.to_owned()),
        ("mcpctl-token", format!("mcpctl_{}_{}", "pat", &c[..43])),
        ("mcpctl-token", format!("mcpctl_{}_{}-_", "admin", &c[..41])),
        ("aws-access-key-id", format!("{}{}", "AKIA", &u[..16])),
        (
            "aws-secret-access-key",
            format!("aws_secret_access_{} = \"{}\"", "key", &c[..40]),
        ),
        (
            "aws-secret-access-key",
            format!("AWS_SECRET_ACCESS_{}: {}", "KEY", &c[..40]),
        ),
        ("github-token", format!("{}{}", "ghp_", &c[..36])),
        ("github-token", format!("{}{}_{c}{}", "github_pat_", &c[..22], &c[..8])),
        ("gitlab-token", format!("{}{}", "glpat-", &c[..20])),
        ("slack-token", format!("{}{}-{}", "xoxb-", "123456789012", &c[..24])),
        (
            "slack-token",
            format!("{}1-{u}-1234567890123-{}", "xapp-", "a1b2c3d4e5f6a7b8c9d0"),
        ),
        (
            "slack-token",
            format!("https://hooks.slack.com/{}/T{u}/B{u}/{}", "services", &c[..24]),
        ),
        (
            "anthropic-api-key",
            format!("{}api03-{}-_{}AA", "sk-ant-", &c[..40], &c[..40]),
        ),
        ("openai-api-key", format!("{}{}", "sk-", &c[..48])),
        ("openai-api-key", format!("{}{}_{}-", "sk-proj-", &c[..40], &c[..40])),
        ("google-credential", format!("{}{}", "AIza", &c[..35])),
        ("google-credential", format!("{}{}", "GOCSPX-", &c[..28])),
        ("google-credential", format!("{}a0_{c}{c}", "ya29.")),
        ("stripe-key", format!("{}{}", "sk_live_", &c[..24])),
        ("stripe-key", format!("{}{}", "whsec_", &c[..32])),
        ("npm-token", format!("{}{}", "npm_", &c[..36])),
        ("pypi-token", format!("{}{c}{c}", "pypi-AgE")),
        ("hugging-face-token", format!("{}{}", "hf_", &c[..34])),
        (
            "json-web-token",
            format!("{}hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.{c}", "eyJ"),
        ),
    ]
}

#[test]
fn every_pattern_is_found_where_it_stands() {
    let mut seen = BTreeSet::new();
    for (name, example) in examples() {
        for (before, after) in [
            ("", ""),
            ("    ü: ", "\n"),
            ("token: \"", "\", x"),
            ("x=", " # y"),
            ("a\nb\r\n- '", "'"),
        ] {
            let text = format!("{before}{example}{after}");
            let found = scan(&text);
            let [it] = &found[..] else {
                panic!("{name} in {text:?}: {found:?}")
            };
            assert_eq!((it.pattern.name, &it.allowed), (name, &None), "{text:?}");
            let line = u32::try_from(before.matches('\n').count() + 1).unwrap();
            let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
            assert_eq!((it.line, it.column as usize), (line, column), "{text:?}");
            assert!(
                it.width as usize <= example.lines().next().unwrap().chars().count() + 1,
                "{text:?}"
            );
        }
        seen.insert(name);
    }
    assert_eq!(seen, PATTERNS.iter().map(|it| it.name).collect());
}

#[test]
fn what_is_no_credential_is_let_be() {
    let (_folder, it) = identities();
    let fields = [("kind".to_owned(), json!("secret")), ("name".to_owned(), json!("x"))];
    let data = Redacted::new(json!({"token": "x".repeat(3000)}));
    let recipients = [AGE.parse().unwrap(), SSH.parse().unwrap()];
    let sealed = sops::seal(&fields, &data, &recipients, now()).unwrap();
    for text in [
        sealed.as_str(),
        AGE,
        SSH,
        seal_blob(
            &it,
            &data
                .reveal()
                .to_string()
                .chars()
                .take(100)
                .collect::<String>()
                .into_secret(),
        )
        .unwrap()
        .as_str(),
        "-----BEGIN PRIVATE KEY----- begins a private key",
        "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUAKIAAAAAAAAAAAAAAAAA\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
        "AKIAIOSFODNN7EXAMPLE",
        "AGE-SECRET-KEY-1…",
        "ghp_xxx sk-… npm_install hf_hub glpat-xxxx whsec_ task-force-of-the-many-words-that-follow",
        "password: hunter2",
        "token: ${GITHUB_TOKEN}",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "https://example.org/disk-0123456789abcdef0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(scan(text), [], "{text}");
    }
}

#[test]
fn what_is_encrypted_or_public_is_exempt() {
    // The form of a key, as it may come about by chance.
    let chance = format!("{}{}", "AKIA", "1234567890ABCDEF");
    assert_eq!(scan(&chance).len(), 1);
    for (before, behind) in [
        ("ENC[AES256_GCM,data:", ",iv:AA==,tag:AA==,type:str]"),
        (
            "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n",
            "\n-----END AGE ENCRYPTED FILE-----",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "\nAAAA\n-----END CERTIFICATE-----",
        ),
        ("ssh-ed25519 AAAA/", "/AA"),
    ] {
        let text = format!("{before}{chance}{behind}");
        assert_eq!(scan(&text), [], "{text}");
        // What stands beside it is not.
        assert_eq!(scan(&format!("{text} {chance}")).len(), 1, "{text}");
    }
}

#[test]
fn a_reason_lets_one_line_through() {
    let (_, token) = examples().swap_remove(10);
    for (comment, allowed) in [
        ("# mcpctl:allow-secret a test token", Some("a test token")),
        ("#mcpctl:allow-secret x\r", Some("x")),
        ("# mcpctl:allow-secret", None),
        ("# mcpctl:allow-secret   ", None),
        ("# mcpctl:allow-secretly x", None),
        ("mcpctl:allow-secret x", None),
        ("# allow-secret x", None),
        ("\n# mcpctl:allow-secret x", None),
    ] {
        let found = scan(&format!("a: {token} {comment}\n"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].allowed.as_deref(), allowed, "{comment}");
    }
    let found = scan(&format!(
        "a: {token} # mcpctl:allow-secret x\nb: {token}\nc: {token}, {token} # mcpctl:allow-secret y"
    ));
    let allowed: Vec<Option<&str>> = found.iter().map(|it| it.allowed.as_deref()).collect();
    assert_eq!(allowed, [Some("x"), None, Some("y"), Some("y")]);
    let long = scan(&format!("{token} # mcpctl:allow-secret {}\u{1b}", "x".repeat(1000)));
    assert_eq!(long[0].allowed, Some("x".repeat(200)));
}

#[test]
fn a_finding_never_carries_what_was_found() {
    for (_, example) in examples() {
        let shown = format!("{:?}", scan(&example));
        let secret: String = example
            .chars()
            .rev()
            .take(16)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        assert!(!shown.contains(&secret), "{shown}");
    }
}

#[test]
fn many_findings_in_one_line_are_bounded() {
    let (_, token) = examples().swap_remove(10);
    let text = format!("{token},").repeat((1 << 20) / (token.len() + 1));
    assert_eq!(scan(&text).len(), 1000);
}

#[test]
fn the_document_shows_every_pattern() {
    let document = include_str!("../../docs/SECRETS.md");
    let shown: Vec<&str> = document
        .lines()
        .skip_while(|it| !it.starts_with("| pattern |"))
        .skip(2)
        .take_while(|it| it.starts_with('|'))
        .collect();
    let want: Vec<String> = PATTERNS
        .iter()
        .map(|it| format!("| `{}` | {} | {} |", it.name, it.what, it.looks_like))
        .collect();
    assert_eq!(shown, want);
}

trait IntoSecret {
    fn into_secret(self) -> Redacted<String>;
}

impl IntoSecret for String {
    fn into_secret(self) -> Redacted<String> {
        Redacted::new(self)
    }
}

proptest! {
    #[test]
    fn any_text_is_scanned(text in "(?s).{0,300}", at in any::<prop::sample::Index>(), example in 0..28_usize) {
        let _ = scan(&text);
        // Wherever a credential stands alone, it is found.
        let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let at = *at.get(&boundaries);
        let (name, example) = examples().swap_remove(example);
        let whole = format!("{}\n{example}\n{}", &text[..at], &text[at..]);
        prop_assert!(scan(&whole).iter().any(|it| it.pattern.name == name));
    }

    #[test]
    fn any_text_is_read_as_recipients(text in "(?s)(age1|ssh-ed25519 |#|\n|[a-z0-9 ]|.){0,100}") {
        let it = Recipients::parse("r", &text);
        prop_assert!(it.known.len() + it.diagnostics.len() <= text.lines().count());
    }

    #[test]
    fn a_changed_recipient_is_refused(at in any::<prop::sample::Index>(), to in "[a-z0-9A-Z/+ ]", ssh in any::<bool>()) {
        let key = if ssh { SSH } else { AGE };
        let mut changed = key.to_owned();
        let at = at.index(key.len());
        changed.replace_range(at..=at, &to);
        // An SSH key has no checksum: another point of the curve is another key, and must then be another text.
        if let Ok(it) = changed.parse::<Recipient>() {
            prop_assert!(it.as_str() == changed.trim() && (ssh || changed == key), "{changed}");
        }
    }
}
