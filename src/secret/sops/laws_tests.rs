//! Laws of sealed files: what goes in comes out, what was changed does not, and what stays is not written again.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kit::Redacted;
use crate::secret::tests::{AGE, AGE_SECRET, SSH, SSH_SECRET, identities, identities_with, now};
use crate::secret::{Identities, Recipient};

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,20}",
        2 => "\\PC{0,12}",
        1 => "[ \\t\\n#:'\"|>&*!%@`,\\[\\]{}?-]{0,12}",
        1 => any::<String>(),
        1 => prop::sample::select(vec![
            "", "true", "no", "null", "~", "123", "0x1f", "1e3", "-", "---", "<<", "=", "\u{2028}", "\u{85}", "\u{feff}",
            "a\r\nb", " a", "a\n", "# x", "a: b", "😀", "\u{7f}", "0o17", "1_000", "2024-01-01", ".inf", "ENC[AES256_GCM,]",
        ]).prop_map(str::to_owned),
    ]
}

/// A tree of everything that JSON has, as far as `sops` has it too.
pub fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => prop_oneof![any::<f64>(), Just(2.0), Just(-0.0), Just(1e300)]
            .prop_filter("finite", |it| it.is_finite())
            .prop_map(Value::from),
        4 => text().prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(|it| json!(it)),
        ]
    });
    prop::collection::btree_map(key(), tree, 0..4).prop_map(|it| json!(it))
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z_]{1,8}", text()].prop_filter("a merge key", |it| it != "<<")
}

fn fields(name: &str) -> Vec<(String, Value)> {
    vec![("kind".into(), json!("secret")), ("name".into(), json!(name))]
}

fn recipient(text: &str) -> Recipient {
    text.parse().unwrap()
}

fn sample() -> (String, Value) {
    let data = json!({"token": "hunter2", "empty": "", "n": 7, "deep": {"list": ["a", "b", true], "f": 0.5}});
    let text = seal(
        &fields("github"),
        &Redacted::new(data.clone()),
        &[recipient(AGE)],
        now(),
    )
    .unwrap();
    (text, data)
}

fn broken(text: &str, identities: &Identities) -> Broken {
    match open(text, identities) {
        Err(OpenError::Broken(broken)) => broken,
        other => panic!("{other:?} of {text}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_sealed_opens(data in tree(), name in text(), extra in text()) {
        let (_folder, it) = identities();
        let mut fields = fields(&name);
        fields.push(("description".into(), json!(extra)));
        let sealed = seal(&fields, &Redacted::new(data.clone()), &[recipient(AGE)], now()).unwrap();
        let opened = open(&sealed, &it).unwrap();
        prop_assert_eq!(opened.data.reveal(), &data);
        prop_assert_eq!(opened.fields, fields);
        prop_assert_eq!(opened.recipients, vec![AGE.to_owned()]);
        prop_assert!(opened.bound && is_sops(&sealed));
    }

    #[test]
    fn what_stays_keeps_its_ciphertext(old in tree(), new in tree(), both in tree()) {
        let (_folder, it) = identities();
        let join = |a: &Value, b: &Value| {
            let mut all = a.as_object().unwrap().clone();
            all.extend(b.as_object().unwrap().clone());
            Value::Object(all)
        };
        let (before, after) = (join(&old, &both), join(&new, &both));
        let sealed = seal(&fields("x"), &Redacted::new(before), &[recipient(AGE)], now()).unwrap();
        let again = reseal(&sealed, &it, &fields("x"), &Redacted::new(after.clone()), &[recipient(AGE)], now()).unwrap();
        prop_assert_eq!(open(&again, &it).unwrap().data, Redacted::new(after.clone()));
        let (old_leaves, new_leaves) = (leaves(&sealed), leaves(&again));
        let opened = open(&sealed, &it).unwrap();
        for (path, written) in &old_leaves {
            let value = |data: &Value| path.iter().try_fold(data.clone(), |it, step| match step {
                comments::Step::Key(key) => it.get(key).cloned(),
                comments::Step::Index(number) => it.get(number).cloned(),
            });
            let stays = value(opened.data.reveal()).is_some() && value(opened.data.reveal()) == value(&after);
            prop_assert_eq!(stays, new_leaves.get(path) == Some(written), "{:?}", path);
        }
    }

    #[test]
    fn mutated_files_are_answered(cut in any::<prop::sample::Index>(), to in any::<char>(), more in "(?s).{0,20}", kind in 0..4) {
        let (_folder, it) = identities();
        let (text, data) = sample();
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = *cut.get(&places);
        let next = at + text[at..].chars().next().unwrap().len_utf8();
        let changed = match kind {
            0 => format!("{}{to}{}", &text[..at], &text[next..]),
            1 => text[..at].to_owned(),
            2 => format!("{}{more}{}", &text[..at], &text[at..]),
            _ => format!("{}{}", &text[..at], &text[next..]),
        };
        let _ = (is_sops(&changed), recipients_of(&changed));
        if let Ok(opened) = open(&changed, &it) {
            // What still opens says the same, but for keys without a value, which nothing covers.
            prop_assert_eq!(filled(opened.data.reveal()), filled(&data));
        }
    }

    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}") {
        let (_folder, it) = identities();
        let claims = format!("{text}\nsops:\n  mac: x\n");
        prop_assert!(open(&text, &it).is_err());
        prop_assert!(open(&claims, &it).is_err());
    }
}

/// A tree without what is empty.
fn filled(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) if !items.is_empty() => Some(items.iter().filter_map(filled).collect()),
        Value::Object(entries) if !entries.is_empty() => {
            let kept = entries
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), filled(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) if text.is_empty() => None,
        value => Some(value.clone()),
    }
}

/// The encrypted values of a file, as they stand there, by their path below `data`.
fn leaves(text: &str) -> BTreeMap<comments::Path, String> {
    fn walk(node: &tree::Node, path: &mut comments::Path, out: &mut BTreeMap<comments::Path, String>) {
        match &node.data {
            tree::Data::Scalar(scalar) => {
                let text = String::from_utf8(scalar.bytes()).unwrap();
                if !text.is_empty() {
                    out.insert(path.clone(), text);
                }
            }
            tree::Data::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    path.push(comments::Step::Index(number));
                    walk(item, path, out);
                    path.pop();
                }
            }
            tree::Data::Mapping(entries) => {
                for entry in entries {
                    path.push(comments::Step::Key(entry.key.clone()));
                    walk(&entry.value, path, out);
                    path.pop();
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(tree::parse(text).unwrap().get("data").unwrap(), &mut vec![], &mut out);
    out
}

#[test]
fn every_single_changed_byte_of_a_value_is_refused() {
    let (_folder, it) = identities();
    let (text, _) = sample();
    let block = text.find("sops:").unwrap();
    let mut tried = 0;
    let value = |line: &str| {
        line.find(": ")
            .map(|it| it + 2)
            .or_else(|| line.find("- ").map(|it| it + 2))
    };
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let is_mac = line.trim_start().starts_with("mac:") || line.trim_start().starts_with("lastmodified:");
        let encrypted = line.contains("ENC[") && start < block;
        let named = line.starts_with("name:") || line.starts_with("kind:");
        if (is_mac || encrypted || named) && value(line).is_some() {
            for at in start + value(line).unwrap()..start + line.len() - 1 {
                for to in [text.as_bytes()[at] ^ 1, b'A', b' ', b'"'] {
                    let mut bytes = text.clone().into_bytes();
                    if bytes[at] == to {
                        continue;
                    }
                    bytes[at] = to;
                    let changed = String::from_utf8(bytes).unwrap();
                    assert!(
                        open(&changed, &it).is_err(),
                        "{:?} became {:?} in {line}",
                        text.as_bytes()[at] as char,
                        to as char
                    );
                    tried += 1;
                }
            }
        }
        start += line.len();
    }
    assert!(tried > 3000, "{tried}");
}

#[test]
fn values_can_not_be_exchanged_left_out_or_added() {
    let (_folder, it) = identities();
    let (text, _) = sample();
    let (other, _) = sample();
    let line = |text: &str, key: &str| {
        text.lines()
            .find(|it| it.trim_start().starts_with(key))
            .unwrap()
            .to_owned()
    };
    let token = line(&text, "token:");
    for (changed, why) in [
        (text.replace("token:", "tokem:"), "moved here"),
        (text.replace(&token, &line(&other, "token:")), "moved here"),
        (text.replace(&format!("{token}\n"), ""), "does not fit"),
        (text.replace(&token, "    token: \"\""), "does not fit"),
        (
            text.replace(&token, "    token: hunter2"),
            "data.token is not encrypted",
        ),
        (text.replace(&token, "    token: 7"), "data.token is not encrypted"),
        (text.replace("name: github", "name: gitlab"), "does not fit"),
        (text.replace("kind: secret", "kind: secrets"), "does not fit"),
        (
            text.replace("name: github", "name: github\ndescription: x"),
            "does not fit",
        ),
        (
            text.replace("    version:", "    mac_only_encrypted: true\n    version:"),
            "does not fit",
        ),
        (text.replace(&line(&text, "mac:"), &line(&other, "mac:")), "MAC"),
        (text.replace("06:00:00Z", "06:00:01Z"), "MAC"),
    ] {
        let said = broken(&changed, &it).to_string();
        assert!(said.contains(why), "{why}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    // List items have one path, so their order is the MAC's to keep.
    let items: Vec<&str> = text.lines().filter(|it| it.trim_start().starts_with("- ENC")).collect();
    let swapped = text
        .replace(items[0], "#")
        .replace(items[1], items[0])
        .replace('#', items[1]);
    assert!(broken(&swapped, &it).to_string().contains("does not fit"));
}

#[test]
fn other_forms_are_refused_with_words() {
    let (_folder, it) = identities();
    let (text, _) = sample();
    let rule = "    encrypted_regex: ^data$\n";
    for (changed, why) in [
        (String::new(), "empty"),
        (
            "kind: secret\nname: x\ndata: {a: b}\n".into(),
            "no file that sops encrypted",
        ),
        (text.replace(rule, ""), "encrypted_regex: ^data$"),
        (text.replace("^data$", "^(data)$"), "encrypted_regex: ^data$"),
        (
            text.replace(rule, &format!("{rule}    unencrypted_suffix: _x\n")),
            "unencrypted_suffix",
        ),
        (text.replace("version: 3.", "version: 4."), "4.11.0"),
        (
            text.replace("sops:\n", "sops:\n    shamir_threshold: 2\n"),
            "shamir_threshold",
        ),
        (
            text.replace("sops:\n", "sops:\n    key_groups: [{age: []}]\n"),
            "key_groups",
        ),
        (text.replace("    age:", "    pgp:"), "no age recipient"),
        (text.replace("data:\n", "date:\n"), "no \"data\""),
        (text.replace("name: github", "x: {data: 1}"), "at the top"),
        (text.replace("lastmodified", "lastmodifie"), "no \"lastmodified\""),
        (text.replace("BEGIN AGE", "BEGIN ACE"), "\"enc\" was changed or cut off"),
        (format!("{text}---\nkind: server\n"), "second document"),
        (
            text.replace(
                "          enc: |",
                &format!("          enc: |\n            {}", "x".repeat(5000)),
            ),
            "too long",
        ),
    ] {
        let said = broken(&changed, &it);
        assert!(said.to_string().contains(why), "{why}: {said}");
        let shown = said.diagnostic("secrets/github.yaml", &changed).to_string();
        assert!(shown.starts_with("error: secrets/github.yaml"), "{shown}");
    }
}

#[test]
fn without_an_identity_a_file_is_sealed_and_says_for_whom() {
    let (_folder, stranger) = identities_with(&[]);
    let data = Redacted::new(json!({"a": "x"}));
    let sealed = seal(&fields("x"), &data, &[recipient(AGE), recipient(SSH)], now()).unwrap();
    let error = open(&sealed, &stranger).unwrap_err();
    assert_eq!(
        error,
        OpenError::NoIdentity {
            recipients: vec![AGE.into(), SSH.into()]
        }
    );
    assert_eq!(
        error.to_string(),
        "no identity here opens it; it is for age1zvkyg2lq…3equnujwj, ssh-ed25519 AAAAC3NzaC1l…iYWaaMQ"
            .replace("3equnujwj", "equnujwj")
            .replace("…iYWaaMQ", "…1iYWaaMQ")
    );
    assert_eq!(recipients_of(&sealed).unwrap(), [AGE, SSH]);
    // Anybody sees what is not encrypted in it.
    let open_value = sealed.replace("a: ENC", "b: x\n    a: ENC");
    assert!(
        broken(&open_value, &stranger)
            .to_string()
            .contains("data.b is not encrypted")
    );
    for key in [AGE_SECRET, SSH_SECRET] {
        let (_folder, it) = identities_with(&[("key", key)]);
        assert_eq!(open(&sealed, &it).unwrap().data, data);
    }
}

#[test]
fn other_recipients_mean_a_new_key_for_everything() {
    let (_folder, it) = identities();
    let data = Redacted::new(json!({"a": "x", "b": [1, true]}));
    let both = [recipient(AGE), recipient(SSH)];
    let first = seal(&fields("x"), &data, &both, now()).unwrap();
    let reversed = [recipient(SSH), recipient(AGE), recipient(AGE)];
    let same = reseal(&first, &it, &fields("x"), &data, &reversed, now()).unwrap();
    assert_eq!(leaves(&first), leaves(&same));
    let fewer = reseal(&first, &it, &fields("x"), &data, &both[..1], now()).unwrap();
    assert_eq!(open(&fewer, &it).unwrap().data, data);
    let (before, after) = (leaves(&first), leaves(&fewer));
    assert!(before.len() == 3 && before.iter().all(|(path, it)| after[path] != *it));
    let (_folder, ssh) = identities_with(&[("key", SSH_SECRET)]);
    assert!(open(&first, &ssh).is_ok());
    assert!(matches!(open(&fewer, &ssh), Err(OpenError::NoIdentity { .. })));
    // Whoever can open it otherwise than by age is another recipient too.
    let others = first.replace("sops:\n", "sops:\n    kms:\n        - arn: x\n");
    let without = reseal(&others, &it, &fields("x"), &data, &both, now()).unwrap();
    assert!(!without.contains("kms") && leaves(&without) != before);
    assert_eq!(seal(&fields("x"), &data, &[], now()), Err(SealError::NoRecipient));
    let error = reseal(&first, &identities_with(&[]).1, &fields("x"), &data, &both, now()).unwrap_err();
    assert!(matches!(error, SealError::Old(OpenError::NoIdentity { .. })));
}

#[test]
fn comments_and_the_order_of_keys_stay() {
    let (_folder, it) = identities();
    // The values of a and b are the same, so that the MAC still fits when the two change places.
    let data = json!({"b": "1", "a": "1", "l": ["x", {"y": "z"}]});
    let sealed = seal(&fields("x"), &Redacted::new(data), &[recipient(AGE)], now()).unwrap();
    let at = |text: &str, key: &str| text.find(key).unwrap();
    // As if somebody had put them there: b first, and comments everywhere.
    let a = sealed.lines().find(|it| it.starts_with("    a:")).unwrap();
    let by_hand = sealed
        .replace(&format!("{a}\n"), "")
        .replace(
            "    l:\n",
            &format!("    # above a\n{a}\n    # above l\n    l:\n        # above x\n"),
        )
        .replace("name: x", "# above name\nname: x # behind")
        .replace("sops:\n", "    # below\n# above sops\nsops:\n")
        + "# last\n";
    let opened = open(&by_hand, &it).unwrap();
    let mut data = opened.data.reveal().clone();
    data["c"] = json!("new");
    for recipients in [vec![recipient(AGE)], vec![recipient(AGE), recipient(SSH)]] {
        let again = reseal(
            &by_hand,
            &it,
            &fields("x"),
            &Redacted::new(data.clone()),
            &recipients,
            now(),
        )
        .unwrap();
        assert_eq!(open(&again, &it).unwrap().data.reveal(), &data);
        let lines: Vec<&str> = again.lines().map(str::trim).take_while(|it| *it != "age:").collect();
        let shape: Vec<&str> = lines.iter().map(|it| it.split("ENC[").next().unwrap()).collect();
        assert_eq!(
            shape,
            [
                "kind: secret",
                "# above name",
                "# behind",
                "name: x",
                "data:",
                "b: ",
                "# above a",
                "a: ",
                "# above l",
                "l:",
                "# above x",
                "- ",
                "- \"y\": ",
                "c: ",
                "# below",
                "# above sops",
                "sops:"
            ]
        );
        assert!(again.ends_with("# last\n") && at(&again, "    b:") < at(&again, "    a:"));
    }
}

#[test]
fn a_file_is_bound_where_nothing_can_wander() {
    let (_folder, it) = identities();
    let data = Redacted::new(json!({"a": "x"}));
    let mut all = vec![
        ("apiVersion".to_owned(), json!("mcpctl/v1")),
        ("description".to_owned(), json!("hub")),
    ];
    all.extend(fields("git"));
    let sealed = seal(&all, &data, &[recipient(AGE)], now()).unwrap();
    assert!(open(&sealed, &it).unwrap().bound);
    // Here is what the MAC alone does not see.
    let moved = sealed
        .replace("description: hub\n", "")
        .replace("name: git\n", "name: git\ndescription: hub\n");
    assert!(open(&moved, &it).is_err());
    let before = seal(&fields("git"), &Redacted::new(json!({})), &[recipient(AGE)], now()).unwrap();
    let wandered = before.replace("name: git\n", "name: gi\nx: t\n");
    assert!(!open(&wandered, &it).unwrap().bound);
}

#[test]
fn what_sops_has_no_form_for_is_not_written() {
    let nested = |levels: usize| (0..levels).fold(json!("x"), |it, _| json!({ "k": it }));
    let write = |fields: &[(String, Value)], data: Value| seal(fields, &Redacted::new(data), &[recipient(AGE)], now());
    for (data, why) in [
        (json!("x"), "no object"),
        (json!({"a": u64::MAX}), "64 bits"),
        (json!({"<<": 1}), "<<"),
        (json!({"k".repeat(1001): 1}), "1000 bytes"),
        (nested(40), "levels"),
        (json!({"l": vec![0; 6000]}), "values"),
    ] {
        let error = write(&fields("x"), data).unwrap_err();
        assert!(
            matches!(&error, SealError::Unfit(said) if said.contains(why)),
            "{error}"
        );
    }
    for key in ["data", "sops"] {
        assert!(matches!(
            write(&[(key.into(), json!(1))], json!({})),
            Err(SealError::Unfit(_))
        ));
        let inner = write(&[("x".into(), json!([{"data": 1}]))], json!({}));
        assert!(matches!(inner, Err(SealError::Unfit(_))));
    }
    // What may be written may be read.
    let (_folder, it) = identities();
    for data in [nested(30), json!({"l": vec![0; 4900]}), json!({"\u{1}".repeat(160): 1})] {
        let sealed = write(&fields("x"), data.clone()).unwrap();
        assert_eq!(open(&sealed, &it).unwrap().data.reveal(), &data);
    }
}

#[test]
fn large_and_odd_files_are_answered() {
    let (_folder, it) = identities();
    let fill = |part: &str| part.repeat((1 << 20) / part.len());
    let (text, _) = sample();
    let enc = text.lines().find(|it| it.contains("ENC[")).unwrap();
    let many: Vec<String> = (0..20_000).map(|n| format!("    k{n}: \"\"")).collect();
    for odd in [
        fill("["),
        fill("{"),
        fill("- "),
        fill("? "),
        fill("a: "),
        fill("a:\n"),
        fill("\"\n"),
        fill("#\n"),
        fill("&a "),
        fill("!a "),
        fill("- a\n"),
        fill("\n"),
        fill("'"),
        fill("%"),
        format!("a: |\n{}", fill(" x\n")),
        text.replace(enc, &many.join("\n")),
        text.replace(
            enc,
            &format!("    token: ENC[AES256_GCM,data:{},iv:,tag:,type:str]", fill("A")),
        ),
        text.replace(
            "          enc: |",
            &format!("          enc: |\n{}", fill("            AAAA\n")),
        ),
        text.replace(
            "        - recipient:",
            &fill("        - recipient: x\n          enc: y\n"),
        ),
    ] {
        assert!(open(&odd, &it).is_err());
        let _ = (is_sops(&odd), recipients_of(&odd));
    }
}
