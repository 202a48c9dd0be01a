//! Writing a SOPS file: a new one, or the next state of one that is there.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::kit::{Redacted, time::Timestamp};
use crate::secret::identity::Identities;
use crate::secret::recipient::Recipient;

use super::comments::{Comments, Path, Step};
use super::error::SealError;
use super::leaf::{self, DataKey, Leaf};
use super::metadata::{RULE, VERSION};
use super::open::{Mac, Sealed, bound_to};
use super::print::{self, Item, Printed};
use super::scalar::Scalar;
use super::tree::{self, DEEPEST, MOST_VALUES};

/// The fields of a file that are not encrypted, in the order in which they are written. `kind` and `name` (and
/// `apiVersion` before them) are written before `data`, everything else behind it.
pub type Fields = [(String, Value)];

/// The fields that stand before `data`, so that nothing can wander between them.
const BEFORE: [&str; 3] = ["apiVersion", "kind", "name"];

/// A new file with a new data key.
///
/// # Errors
/// There is no recipient; a value has no form in a SOPS file; the system has no randomness.
pub fn seal(
    fields: &Fields,
    data: &Redacted<Value>,
    recipients: &[Recipient],
    now: Timestamp,
) -> Result<String, SealError> {
    let key = new_key()?;
    let wrapped = wrap(&key, recipients)?;
    Writer {
        key: &key,
        old: HashMap::new(),
        order: HashMap::new(),
        comments: Comments::default(),
        old_key: None,
        count: 0,
        mac: Mac::new(false),
    }
    .file(fields, data.reveal(), &wrapped, now)
}

/// The next state of a file: values that stay keep their ciphertext byte for byte, and comments stay where they are.
///
/// Where the recipients are others than before there is a new data key, and everything is encrypted anew: whoever was
/// taken out may have kept the old one.
///
/// # Errors
/// As [`seal`], and where the file that is there can't be opened.
pub fn reseal(
    old_text: &str,
    identities: &Identities,
    fields: &Fields,
    data: &Redacted<Value>,
    recipients: &[Recipient],
    now: Timestamp,
) -> Result<String, SealError> {
    let broken = |it| SealError::Old(super::OpenError::Broken(it));
    let root = tree::parse(old_text).map_err(broken)?;
    let sealed = Sealed::of(&root).map_err(broken)?;
    let old_key = sealed.metadata.data_key(identities).map_err(SealError::Old)?;
    let kept = sealed.open(&old_key).map_err(broken)?;
    let comments = Comments::of(old_text, &root);
    let same = sealed.metadata.is_for(recipients);
    let (key, wrapped) = if same {
        let wrapped = sealed.metadata.age.iter();
        let wrapped = wrapped.map(|it| (it.recipient.trim().to_owned(), it.armored.to_owned()));
        (old_key.clone(), wrapped.collect())
    } else {
        let key = new_key()?;
        let wrapped = wrap(&key, recipients)?;
        (key, wrapped)
    };
    let old = if same {
        kept.into_iter().map(|it| (it.path, (it.value, it.written))).collect()
    } else {
        HashMap::new()
    };
    Writer {
        key: &key,
        old,
        order: sealed.order(),
        comments,
        old_key: (!same).then_some(&old_key),
        count: 0,
        mac: Mac::new(false),
    }
    .file(fields, data.reveal(), &wrapped, now)
}

/// A recipient's text and the data key for it.
type WrappedKey = (String, String);

fn new_key() -> Result<DataKey, SealError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| SealError::Failed(error.to_string()))?;
    Ok(DataKey::new(key))
}

fn wrap(key: &DataKey, recipients: &[Recipient]) -> Result<Vec<WrappedKey>, SealError> {
    let mut wrapped: Vec<WrappedKey> = vec![];
    for recipient in recipients {
        if wrapped.iter().any(|(text, _)| text == recipient.as_str()) {
            continue;
        }
        let armored = recipient
            .wrap(key.reveal())
            .map_err(|_| SealError::Failed(format!("the recipient {recipient} can't be used")))?;
        wrapped.push((recipient.as_str().to_owned(), armored));
    }
    if wrapped.is_empty() {
        Err(SealError::NoRecipient)
    } else {
        Ok(wrapped)
    }
}

struct Writer<'k> {
    key: &'k DataKey,
    /// What stands in the old file, for values that stay.
    old: HashMap<Path, (Value, String)>,
    /// The keys of each mapping of the old file, in its order.
    order: HashMap<Path, Vec<String>>,
    comments: Comments,
    /// The key that encrypted comments of the old file are opened with, where it is another.
    old_key: Option<&'k DataKey>,
    count: usize,
    mac: Mac,
}

impl Writer<'_> {
    fn file(
        mut self,
        fields: &Fields,
        data: &Value,
        wrapped: &[WrappedKey],
        now: Timestamp,
    ) -> Result<String, SealError> {
        let Value::Object(_) = data else {
            return Err(SealError::Unfit("data is no object of keys and values".into()));
        };
        let mut entries = vec![];
        let (before, behind): (Vec<_>, Vec<_>) = fields.iter().partition(|(key, _)| BEFORE.contains(&key.as_str()));
        for (key, value) in before {
            entries.push(self.plain(key, value)?);
        }
        let path = vec![Step::Key("data".into())];
        let value = self.encrypted(data, &path)?;
        entries.push(("data".into(), self.item(&path, value)?));
        let below = std::mem::take(&mut self.comments.below_data);
        let below = self.in_data(&below, "data:")?;
        let mut rest = vec![];
        for (key, value) in behind {
            rest.push(self.plain(key, value)?);
        }
        let mut out = print::mapping(&entries, 0);
        for line in below {
            let _ = writeln!(out, "    {line}");
        }
        out.push_str(&print::mapping(&rest, 0));
        for line in self.comments.above(&[Step::Key("sops".into())]) {
            let _ = writeln!(out, "{line}");
        }
        let second = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mac = leaf::seal_bytes(self.mac.hex().as_bytes(), "str", self.key, &second)?;
        out.push_str("sops:\n    age:\n");
        for (recipient, armored) in wrapped {
            let _ = writeln!(out, "        - recipient: {recipient}\n          enc: |");
            for line in armored.lines() {
                let _ = writeln!(out, "            {line}");
            }
        }
        let _ = writeln!(out, "    lastmodified: \"{second}\"\n    mac: {mac}");
        let _ = writeln!(out, "    encrypted_regex: {RULE}\n    version: {VERSION}");
        for line in &self.comments.last {
            let _ = writeln!(out, "{line}");
        }
        Ok(out)
    }

    /// A field that is not encrypted.
    fn plain(&mut self, key: &str, value: &Value) -> Result<(String, Item), SealError> {
        if key == "data" || key == "sops" || holds_data(value) {
            return Err(SealError::Unfit(
                "a field that is not encrypted can't be called data or sops".into(),
            ));
        }
        print::check_key(key)?;
        self.covers(value)?;
        let comments = self.comments.above(&[Step::Key(key.to_owned())]).to_vec();
        let value = print::plain(value)?;
        Ok((key.to_owned(), Item { comments, value }))
    }

    fn covers(&mut self, value: &Value) -> Result<(), SealError> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|it| self.covers(it)),
            Value::Object(entries) => entries.values().try_for_each(|it| self.covers(it)),
            value => {
                let scalar = Scalar::of_json(value).ok_or_else(too_large)?;
                self.mac.covers(&scalar.bytes(), false);
                Ok(())
            }
        }
    }

    /// A value below `data`.
    fn encrypted(&mut self, value: &Value, path: &Path) -> Result<Printed, SealError> {
        self.count += 1;
        if path.len() >= DEEPEST {
            return Err(SealError::Unfit(format!("data has more than {} levels", DEEPEST - 1)));
        }
        if self.count > MOST_VALUES / 2 {
            return Err(SealError::Unfit(format!(
                "data has more than {} values",
                MOST_VALUES / 2
            )));
        }
        let below = |step: Step| [path.as_slice(), &[step]].concat();
        match value {
            Value::Array(items) => {
                let mut out = vec![];
                for (number, item) in items.iter().enumerate() {
                    let path = below(Step::Index(number));
                    let value = self.encrypted(item, &path)?;
                    out.push(self.item(&path, value)?);
                }
                Ok(Printed::List(out))
            }
            Value::Object(entries) => {
                let mut out = vec![];
                // Keys stay where they are; new ones come behind them.
                let old = self.order.remove(path).unwrap_or_default();
                let stay = old.iter().filter_map(|key| entries.get_key_value(key));
                let new = entries.iter().filter(|(key, _)| !old.contains(key));
                for (key, value) in stay.chain(new) {
                    print::check_key(key)?;
                    let path = below(Step::Key(key.clone()));
                    let value = self.encrypted(value, &path)?;
                    out.push((key.clone(), self.item(&path, value)?));
                }
                Ok(Printed::Mapping(out))
            }
            value => {
                let scalar = Scalar::of_json(value).ok_or_else(too_large)?;
                self.mac.covers(&scalar.bytes(), true);
                if let Some((old, written)) = self.old.get(path)
                    && old == value
                    && !written.is_empty()
                {
                    return Ok(Printed::Scalar(written.clone()));
                }
                leaf::seal(&scalar, self.key, &bound_to(path)).map(Printed::Scalar)
            }
        }
    }

    /// A part with the comments that stood above it.
    fn item(&self, path: &Path, value: Printed) -> Result<Item, SealError> {
        let lines = self.comments.above(path);
        let comments = match path.split_last() {
            Some((_, container)) if !container.is_empty() => self.in_data(lines, &bound_to(container))?,
            _ => lines.to_vec(),
        };
        Ok(Item { comments, value })
    }

    /// Comments below `data`: encrypted ones are encrypted anew where the key is another.
    fn in_data(&self, lines: &[String], bound_to: &str) -> Result<Vec<String>, SealError> {
        let Some(old) = self.old_key else {
            return Ok(lines.to_vec());
        };
        let mut out = vec![];
        for line in lines {
            match Leaf::parse(line.trim_start_matches('#')) {
                None => out.push(line.clone()),
                Some(leaf) => {
                    // One that can't be opened says nothing to anybody.
                    if let Ok(Scalar::Text(text)) = leaf.open(old, bound_to) {
                        let anew = leaf::seal_bytes(text.as_bytes(), "comment", self.key, bound_to)?;
                        out.push(format!("#{anew}"));
                    }
                }
            }
        }
        Ok(out)
    }
}

fn too_large() -> SealError {
    SealError::Unfit("a number is beyond the 64 bits that sops has for it".into())
}

fn holds_data(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_data),
        Value::Object(entries) => entries.iter().any(|(key, value)| key == "data" || holds_data(value)),
        _ => false,
    }
}
