//! The files of keys, for real.
#![expect(clippy::disallowed_methods, reason = "tests that make and read files of keys")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::tests::{AGE, AGE_SECRET, RSA_SECRET, SSH, SSH_SECRET, now};
use super::{Identities, IdentityError, Recipient};

fn open(data: &Path, extra: &[&str]) -> Identities {
    let extra: Vec<_> = extra.iter().map(|it| data.join(it)).collect();
    Identities::open(data, &extra, now()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn wrap(to: &str) -> String {
    to.parse::<Recipient>().unwrap().wrap(b"x").unwrap()
}

fn opens(it: &Identities, armored: &str) -> bool {
    it.with_keys(|keys| super::envelope::open(armored, keys)).is_ok()
}

#[test]
fn the_own_key_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    let first = open(folder.path(), &[]);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "# created: 2026-11-24T06:00:00Z");
    assert_eq!(lines[1], format!("# public key: {}", first.own_recipient()));
    assert!(lines[2].starts_with("AGE-SECRET-KEY-1") && lines.len() == 3);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(first.export().reveal(), &text);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let second = open(folder.path(), &[]);
    assert_eq!(second.own_recipient(), first.own_recipient());
    assert_eq!((fs::read_to_string(&path).unwrap(), mode(&path)), (text, 0o600));
    assert!(opens(&second, &wrap(first.own_recipient().as_str())));
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(names, ["identity.txt"]);
}

#[test]
fn what_a_crash_left_is_made_anew() {
    for (name, left) in [("identity.txt.new", ""), ("identity.txt.new", "# created: 20")] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), left).unwrap();
        let it = open(folder.path(), &[]);
        assert_eq!(open(folder.path(), &[]).own_recipient(), it.own_recipient());
    }
}

#[test]
fn a_file_that_is_no_key_is_named_and_left_alone() {
    for (text, line, why) in [
        ("# created: x\nhunter2\n", 2, "neither an age nor an SSH private key"),
        (&format!("\n{}\n", &AGE_SECRET[..60]), 2, "not an age key"),
        (AGE, 1, "a public key"),
        (SSH_SECRET, 1, "an SSH key, and an age key"),
        (&format!("{AGE_SECRET}\n\n{AGE_SECRET}\n"), 3, "a second key"),
        ("# nothing\n", 1, "there is no key"),
        ("", 1, "there is no key"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.txt");
        fs::write(&path, text).unwrap();
        let error = Identities::open(folder.path(), &[], now()).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(&format!("identity.txt:{line}: {why}")), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("GFPYY"), "{said}");
        assert!(matches!(error, IdentityError::Unreadable { .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("identity.txt")).unwrap();
    let error = Identities::open(folder.path(), &[], now()).unwrap_err();
    assert!(error.to_string().contains("identity.txt could not be read"), "{error}");
}

#[test]
fn keys_of_every_kind_open() {
    let folder = tempfile::tempdir().unwrap();
    let all = format!(
        "# mine\n{AGE_SECRET}\n\n{SSH_SECRET}{}",
        RSA_SECRET.replace('\n', "\r\n")
    );
    fs::write(folder.path().join("keys"), all).unwrap();
    let it = open(folder.path(), &["keys"]);
    assert_eq!(it.warnings(), []);
    let rsa = include_str!("../../tests/fixtures/secret/ssh_rsa.pub");
    let rsa: age::ssh::Recipient = rsa.parse().unwrap();
    for armored in [wrap(AGE), wrap(SSH), age::encrypt_and_armor(&rsa, b"x").unwrap()] {
        assert!(opens(&it, &armored));
        assert!(!opens(&open(tempfile::tempdir().unwrap().path(), &[]), &armored));
    }
}

#[test]
fn what_can_not_be_used_is_a_warning_without_a_key_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    file(
        "passphrase",
        include_bytes!("../../tests/fixtures/secret/ssh_passphrase"),
    );
    file("ecdsa", include_bytes!("../../tests/fixtures/secret/ssh_ecdsa"));
    file("cut", &SSH_SECRET.as_bytes()[..100]);
    file("mixed", format!("{AGE_SECRET}\n{AGE}\nhunter2\n").as_bytes());
    file("binary", b"\xff\xfe");
    file("large", &vec![b'#'; 65 * 1024]);
    file("empty", b"");
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (name, warnings) in [
        (
            "passphrase",
            &["passphrase:1: the SSH key has a passphrase", "no key that can be used"][..],
        ),
        ("ecdsa", &["ecdsa:1: ", "no key that can be used"]),
        ("cut", &["cut:1: the SSH key is cut off", "no key that can be used"]),
        ("mixed", &["mixed:2: a public key", "mixed:3: neither"]),
        ("binary", &["binary: can't be read: it is no text"]),
        ("large", &["large: can't be read: it has more than"]),
        ("empty", &["empty: holds no key"]),
        ("folder", &["folder: can't be read: it is no file"]),
        ("missing", &["missing: is not there; it is looked for again"]),
    ] {
        let said: Vec<String> = open(folder.path(), &[name])
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(said.len(), warnings.len(), "{name}: {said:?}");
        for (said, want) in said.iter().zip(warnings) {
            assert!(said.contains(want) && !said.contains("hunter2"), "{name}: {said}");
        }
    }
}

#[test]
fn a_key_that_arrives_later_counts_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let it = open(folder.path(), &["later"]);
    let armored = wrap(AGE);
    assert!(!it.reload() && !opens(&it, &armored));
    let before = it.generation();
    fs::write(folder.path().join("later"), AGE_SECRET).unwrap();
    assert!(!opens(&it, &armored), "not before it is looked at again");
    assert!(it.reload() && opens(&it, &armored));
    assert_eq!((it.generation(), it.warnings()), (before + 1, vec![]));
    assert!(!it.reload());
    assert_eq!(it.generation(), before + 1);
    fs::remove_file(folder.path().join("later")).unwrap();
    assert!(it.reload() && !opens(&it, &armored));
    assert_eq!((it.generation(), it.warnings().len()), (before + 2, 1));
}

#[test]
fn keys_are_bounded_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<String> = (0..40).map(|_| super::key::make().0.reveal().clone()).collect();
    fs::write(folder.path().join("many"), many.join("\n")).unwrap();
    let it = open(folder.path(), &["many"]);
    assert!(it.warnings()[0].to_string().contains("more than 32 keys"));
    assert!(!format!("{it:?} {}", it.export()).contains("SECRET"));
}
