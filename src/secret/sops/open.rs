//! Opening a SOPS file: its structure is judged first, then one of the identities must fit, then every value and the MAC.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use crate::kit::Redacted;
use crate::secret::identity::Identities;

use super::comments::{Path, Step};
use super::error::{Broken, OpenError};
use super::leaf::{DataKey, Leaf};
use super::metadata::Metadata;
use super::scalar::Scalar;
use super::tree::{self, Data, Node, shown};

/// What a file's MAC begins with where it covers encrypted values alone: SHA-256 of `sops`.
const ENCRYPTED_ALONE: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// A file that was opened; everything in it is as it was written by somebody who had the data key.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The fields that are not encrypted, in the order of the file, without `sops`.
    pub fields: Vec<(String, Value)>,
    /// What `data` holds, in the clear.
    pub data: Redacted<Value>,
    /// For whom the file is.
    pub recipients: Vec<String>,
    /// Whether `kind` and `name` are beyond doubt those that `data` was written for. Not so where the MAC covers the
    /// encrypted values alone (`mac_only_encrypted`), or where other fields stand before or between `kind`, `name` and
    /// `data` (`apiVersion` may stand first).
    pub bound: bool,
}

/// A file as far as it is understood without a key.
pub(super) struct Sealed<'t> {
    pub metadata: Metadata<'t>,
    pub data: &'t Node,
    root: &'t Node,
}

/// An encrypted value of an opened file.
pub(super) struct Kept {
    pub path: Path,
    pub value: Value,
    /// As it stands in the file.
    pub written: String,
}

/// Whether a text is, or claims to be, a file that `sops` encrypted. A text that can't be read at all is not.
#[must_use]
pub fn is_sops(text: &str) -> bool {
    text.contains("sops") && tree::parse(text).is_ok_and(|root| is_sops_value(&root.to_json()))
}

/// Whether a document is, or claims to be, a file that `sops` encrypted.
#[must_use]
pub fn is_sops_value(document: &Value) -> bool {
    document.get("sops").is_some_and(|it| it.get("mac").is_some())
}

/// For whom a file is encrypted, as it says itself.
pub fn recipients_of(text: &str) -> Result<Vec<String>, Broken> {
    Ok(Metadata::read(&tree::parse(text)?)?.recipients())
}

/// Opens a file of at most 1 MiB (the caller sees to that).
pub fn open(text: &str, identities: &Identities) -> Result<Opened, OpenError> {
    let root = tree::parse(text)?;
    let sealed = Sealed::of(&root)?;
    let key = sealed.metadata.data_key(identities)?;
    let kept = sealed.open(&key)?;
    Ok(Opened {
        fields: sealed.fields(),
        data: Redacted::new(rebuild(sealed.data, &mut kept.into_iter())),
        recipients: sealed.metadata.recipients(),
        bound: sealed.bound(),
    })
}

impl<'t> Sealed<'t> {
    /// Judges a file without a key: a file that is sealed has the right form, and nothing in `data` is in the clear.
    pub fn of(root: &'t Node) -> Result<Self, Broken> {
        let metadata = Metadata::read(root)?;
        let Some(data) = root.get("data") else {
            return Err(Broken::whole("the file has no \"data\""));
        };
        if !matches!(data.data, Data::Mapping(_)) {
            return Err(Broken::at(data.at, "\"data\" is no mapping of keys to values"));
        }
        for entry in root.entries().iter().filter(|it| it.key != "data" && it.key != "sops") {
            if let Some(inner) = inner_data(&entry.value) {
                let key = shown(&entry.key);
                return Err(Broken::at(
                    inner,
                    format!("\"data\" stands at the top of the file alone, not within {key}"),
                ));
            }
        }
        let it = Self { metadata, data, root };
        it.each_leaf(&mut |path, node, text| {
            if !text.is_empty() && Leaf::parse(text).is_none_or(|leaf| leaf.is_comment()) {
                return Err(Broken::at(node.at, format!("{} is not encrypted", named(path)))
                    .hint("change an encrypted file with: sops edit FILE"));
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Every scalar below `data` but null, as text, in the order of the file.
    fn each_leaf(&self, look: &mut impl FnMut(&Path, &Node, &str) -> Result<(), Broken>) -> Result<(), Broken> {
        fn walk(
            node: &Node,
            path: &mut Path,
            look: &mut impl FnMut(&Path, &Node, &str) -> Result<(), Broken>,
        ) -> Result<(), Broken> {
            match &node.data {
                Data::Scalar(Scalar::Null) => Ok(()),
                Data::Scalar(Scalar::Text(text)) => look(path, node, text),
                Data::Scalar(other) => look(path, node, &String::from_utf8_lossy(&other.bytes())),
                Data::List(items) => items.iter().enumerate().try_for_each(|(number, item)| {
                    path.push(Step::Index(number));
                    walk(item, path, look)?;
                    path.pop();
                    Ok(())
                }),
                Data::Mapping(entries) => entries.iter().try_for_each(|entry| {
                    path.push(Step::Key(entry.key.clone()));
                    walk(&entry.value, path, look)?;
                    path.pop();
                    Ok(())
                }),
            }
        }
        walk(self.data, &mut vec![Step::Key("data".into())], look)
    }

    /// Decrypts everything and verifies the MAC.
    pub fn open(&self, key: &DataKey) -> Result<Vec<Kept>, Broken> {
        let mut kept = vec![];
        let mut encrypted = vec![];
        self.each_leaf(&mut |path, node, text| {
            let scalar = match Leaf::parse(text) {
                Some(leaf) => leaf
                    .open(key, &bound_to(path))
                    .map_err(|why| Broken::at(node.at, format!("{} {why}", named(path))))?,
                None => Scalar::Text(String::new()),
            };
            encrypted.extend(scalar.bytes());
            kept.push(Kept {
                path: path.clone(),
                value: scalar.to_json(),
                written: text.to_owned(),
            });
            Ok(())
        })?;
        let mut mac = Mac::new(self.metadata.mac_only_encrypted);
        for entry in self.root.entries().iter().filter(|it| it.key != "sops") {
            if entry.key == "data" {
                mac.covers(&encrypted, true);
            } else {
                covers_plain(&mut mac, &entry.value);
            }
        }
        let (written, at) = self.metadata.mac;
        let found = Leaf::parse(written).map(|leaf| leaf.open(key, self.metadata.last_modified));
        let Some(Ok(Scalar::Text(found))) = found else {
            return Err(Broken::at(
                at,
                "the MAC, or the time of the last change that belongs to it, was changed or cut off",
            ));
        };
        if bool::from(found.as_bytes().ct_eq(mac.hex().as_bytes())) {
            return Ok(kept);
        }
        Err(Broken::at(
            at,
            "the MAC does not fit: a value that is not encrypted (the name, say) was changed without sops, or one that \
             is encrypted was taken out",
        )
        .hint("undo the change, or make it with: sops edit FILE"))
    }

    /// The keys of each mapping below `data`, in the order of the file.
    pub fn order(&self) -> HashMap<Path, Vec<String>> {
        fn walk(node: &Node, path: &mut Path, order: &mut HashMap<Path, Vec<String>>) {
            let steps: Vec<(Step, &Node)> = match &node.data {
                Data::Scalar(_) => return,
                Data::List(items) => items
                    .iter()
                    .enumerate()
                    .map(|(number, it)| (Step::Index(number), it))
                    .collect(),
                Data::Mapping(entries) => {
                    order.insert(path.clone(), entries.iter().map(|it| it.key.clone()).collect());
                    entries
                        .iter()
                        .map(|it| (Step::Key(it.key.clone()), &it.value))
                        .collect()
                }
            };
            for (step, value) in steps {
                path.push(step);
                walk(value, path, order);
                path.pop();
            }
        }
        let mut order = HashMap::new();
        walk(self.data, &mut vec![Step::Key("data".into())], &mut order);
        order
    }

    fn fields(&self) -> Vec<(String, Value)> {
        let entries = self.root.entries().iter();
        entries
            .filter(|it| it.key != "data" && it.key != "sops")
            .map(|it| (it.key.clone(), it.value.to_json()))
            .collect()
    }

    fn bound(&self) -> bool {
        let mut keys = self.root.entries().iter().map(|it| it.key.as_str()).peekable();
        keys.next_if_eq(&"apiVersion");
        !self.metadata.mac_only_encrypted && keys.take(3).eq(["kind", "name", "data"])
    }
}

/// SHA-512 over values, as `sops` writes it.
pub(super) struct Mac {
    hash: Sha512,
    encrypted_alone: bool,
}

impl Mac {
    pub fn new(encrypted_alone: bool) -> Self {
        let mut hash = Sha512::new();
        if encrypted_alone {
            hash.update(ENCRYPTED_ALONE);
        }
        Self { hash, encrypted_alone }
    }

    /// Takes a value's bytes in.
    pub fn covers(&mut self, bytes: &[u8], encrypted: bool) {
        if encrypted || !self.encrypted_alone {
            self.hash.update(bytes);
        }
    }

    pub fn hex(self) -> String {
        self.hash.finalize().iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02X}");
            out
        })
    }
}

fn covers_plain(mac: &mut Mac, node: &Node) {
    match &node.data {
        Data::Scalar(scalar) => mac.covers(&scalar.bytes(), false),
        Data::List(items) => items.iter().for_each(|it| covers_plain(mac, it)),
        Data::Mapping(entries) => entries.iter().for_each(|it| covers_plain(mac, &it.value)),
    }
}

/// Where a key `data` stands within a field that is not encrypted: `sops` would encrypt what is below it.
fn inner_data(node: &Node) -> Option<crate::kit::Position> {
    match &node.data {
        Data::Scalar(_) => None,
        Data::List(items) => items.iter().find_map(inner_data),
        Data::Mapping(entries) => entries.iter().find_map(|it| {
            if it.key == "data" {
                Some(it.at)
            } else {
                inner_data(&it.value)
            }
        }),
    }
}

/// What a value is bound to: the keys on the way to it. The places in lists are not among them.
pub(super) fn bound_to(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        if let Step::Key(key) = step {
            out.push_str(key);
            out.push(':');
        }
    }
    out
}

/// A path for people: `data.a[0]`.
fn named(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) if out.is_empty() => out.push_str(key),
            Step::Key(key) => {
                out.push('.');
                out.extend(key.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }));
            }
            Step::Index(number) => {
                let _ = write!(out, "[{number}]");
            }
        }
    }
    out
}

/// The tree of `data` with its values in the clear, taken in the order of the file.
fn rebuild(node: &Node, values: &mut impl Iterator<Item = Kept>) -> Value {
    match &node.data {
        Data::Scalar(Scalar::Null) => Value::Null,
        Data::Scalar(_) => values.next().map_or(Value::Null, |it| it.value),
        Data::List(items) => Value::Array(items.iter().map(|it| rebuild(it, values)).collect()),
        Data::Mapping(entries) => {
            let mut object = serde_json::Map::new();
            for entry in entries {
                object.insert(entry.key.clone(), rebuild(&entry.value, values));
            }
            Value::Object(object)
        }
    }
}
