//! The block `sops` of a file: for whom it is, its MAC, and which rule it was encrypted by.

use crate::kit::Position;
use crate::secret::envelope::{self, Closed};
use crate::secret::identity::Identities;
use crate::secret::recipient::{MOST_RECIPIENTS, Recipient};

use super::error::{Broken, OpenError};
use super::leaf::DataKey;
use super::scalar::Scalar;
use super::tree::{Data, Node, shown};

/// What is encrypted: everything below a key that is `data`.
pub const RULE: &str = "^data$";
/// Whose form we write.
pub const VERSION: &str = "3.11.0";
/// The longest armored key of one recipient, in bytes.
const LONGEST_KEY: usize = 4 * 1024;

/// The block `sops`.
pub struct Metadata<'t> {
    pub age: Vec<Wrapped<'t>>,
    /// Whether the data key is also there for others than age keys.
    pub others: bool,
    pub last_modified: &'t str,
    pub mac: (&'t str, Position),
    pub mac_only_encrypted: bool,
}

/// The data key as one recipient finds it.
pub struct Wrapped<'t> {
    pub recipient: &'t str,
    /// The data key, encrypted to it.
    pub armored: &'t str,
    at: Position,
}

impl<'t> Metadata<'t> {
    /// Reads the block of a file, and judges whether it is of the one form that is understood here.
    pub fn read(root: &'t Node) -> Result<Self, Broken> {
        let Some(entry) = root.entries().iter().find(|it| it.key == "sops") else {
            return Err(Broken::whole(
                "this is no file that sops encrypted: it has no block \"sops\"",
            ));
        };
        let block = &entry.value;
        let Data::Mapping(_) = block.data else {
            return Err(Broken::at(block.at, "the block \"sops\" is no mapping"));
        };
        let text = |key: &str| {
            let node = block
                .get(key)
                .ok_or_else(|| Broken::at(entry.at, format!("the block \"sops\" has no \"{key}\"")))?;
            node.text()
                .map(|text| (text, node.at))
                .ok_or_else(|| Broken::at(node.at, format!("\"{key}\" is no text")))
        };
        let (version, at) = text("version")?;
        if !version.starts_with("3.") {
            let found = shown(version);
            return Err(Broken::at(
                at,
                format!("written by sops {found}; the versions 3.* are known here"),
            ));
        }
        for key in ["key_groups", "shamir_threshold"] {
            if let Some(node) = block.get(key).filter(|it| !is_nothing(it)) {
                return Err(Broken::at(
                    node.at,
                    format!("\"{key}\" is not supported: each age recipient must open it alone"),
                ));
            }
        }
        Self::rule(block, entry.at)?;
        let mac_only_encrypted = match block.get("mac_only_encrypted").map(|it| (&it.data, it.at)) {
            None | Some((Data::Scalar(Scalar::Null | Scalar::Bool(false)), _)) => false,
            Some((Data::Scalar(Scalar::Bool(true)), _)) => true,
            Some((_, at)) => return Err(Broken::at(at, "\"mac_only_encrypted\" is neither true nor false")),
        };
        let others = ["kms", "gcp_kms", "azure_kv", "hc_vault", "hckms", "pgp"];
        Ok(Self {
            age: Self::age(block, entry.at)?,
            others: others
                .iter()
                .any(|key| block.get(key).is_some_and(|it| !is_nothing(it))),
            last_modified: text("lastmodified")?.0,
            mac: text("mac")?,
            mac_only_encrypted,
        })
    }

    /// The rule that the file was encrypted by must be ours.
    fn rule(block: &Node, at: Position) -> Result<(), Broken> {
        let hint = format!("decrypt it with sops, and encrypt it with --encrypted-regex '{RULE}'");
        let rules = [
            "encrypted_suffix",
            "unencrypted_suffix",
            "unencrypted_regex",
            "encrypted_comment_regex",
            "unencrypted_comment_regex",
        ];
        if let Some((key, node)) = rules
            .iter()
            .find_map(|key| Some((key, block.get(key).filter(|it| !is_nothing(it))?)))
        {
            let said = format!("encrypted by the rule \"{key}\", and a secret needs encrypted_regex: {RULE}");
            return Err(Broken::at(node.at, said).hint(hint));
        }
        match block.get("encrypted_regex") {
            Some(node) if node.text() == Some(RULE) => Ok(()),
            found => {
                let at = found.map_or(at, |it| it.at);
                Err(Broken::at(
                    at,
                    format!("a secret is encrypted with encrypted_regex: {RULE}, and nothing else"),
                )
                .hint(hint))
            }
        }
    }

    fn age(block: &'t Node, at: Position) -> Result<Vec<Wrapped<'t>>, Broken> {
        let nobody = || {
            Broken::at(at, "no age recipient is named in the block \"sops\"")
                .hint("sops updatekeys, or sops encrypt --age, with the recipients of this repository")
        };
        let node = block.get("age").ok_or_else(nobody)?;
        let Data::List(items) = &node.data else {
            return Err(if is_nothing(node) {
                nobody()
            } else {
                Broken::at(node.at, "\"age\" is no list")
            });
        };
        if items.len() > MOST_RECIPIENTS {
            return Err(Broken::at(node.at, format!("more than {MOST_RECIPIENTS} recipients")));
        }
        let read = |item: &'t Node| {
            let (recipient, armored) = (item.get("recipient"), item.get("enc"));
            let (Some(recipient), Some(armored)) = (recipient.and_then(Node::text), armored.and_then(Node::text))
            else {
                return Err(Broken::at(item.at, "a recipient needs \"recipient\" and \"enc\""));
            };
            if armored.len() > LONGEST_KEY {
                return Err(Broken::at(item.at, "the key in \"enc\" is too long"));
            }
            Ok(Wrapped {
                recipient,
                armored,
                at: item.at,
            })
        };
        let wrapped = items.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if wrapped.is_empty() { Err(nobody()) } else { Ok(wrapped) }
    }

    /// For whom the file is.
    pub fn recipients(&self) -> Vec<String> {
        self.age.iter().map(|it| it.recipient.trim().to_owned()).collect()
    }

    /// Whether it is for these and nobody else.
    pub fn is_for(&self, recipients: &[Recipient]) -> bool {
        let canonical = |text: &str| {
            text.parse()
                .map_or_else(|_| text.trim().to_owned(), |it: Recipient| it.as_str().to_owned())
        };
        let mut here: Vec<String> = self.age.iter().map(|it| canonical(it.recipient)).collect();
        let mut there: Vec<&str> = recipients.iter().map(Recipient::as_str).collect();
        here.sort_unstable();
        there.sort_unstable();
        there.dedup();
        !self.others && here == there
    }

    /// The data key, where one of the identities is meant.
    pub fn data_key(&self, identities: &Identities) -> Result<DataKey, OpenError> {
        let mut broken = None;
        for wrapped in &self.age {
            match identities.with_keys(|keys| envelope::open(wrapped.armored, keys)) {
                Ok(bytes) => match <[u8; 32]>::try_from(bytes) {
                    Ok(key) => return Ok(DataKey::new(key)),
                    Err(_) => broken = Some(wrapped.at),
                },
                Err(Closed::NoKey) => {}
                Err(Closed::Broken) => broken = Some(wrapped.at),
            }
        }
        match broken {
            Some(at) => Err(Broken::at(at, "the key in \"enc\" was changed or cut off").into()),
            None => Err(OpenError::NoIdentity {
                recipients: self.recipients(),
            }),
        }
    }
}

/// Null, an empty text, an empty list: as if it were not there.
fn is_nothing(node: &Node) -> bool {
    match &node.data {
        Data::Scalar(scalar) => *scalar == Scalar::Null || *scalar == Scalar::Text(String::new()),
        Data::List(items) => items.is_empty(),
        Data::Mapping(entries) => entries.is_empty(),
    }
}
