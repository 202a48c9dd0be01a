//! age around small texts: the data key of a file, and values that are kept in the store.

use std::io::Read as _;

use age::DecryptError;
use age::armor::ArmoredReader;

use super::key::PrivateKey;

/// The longest armored text that is looked at, in bytes: what is within is a key, or one short value.
pub(super) const LONGEST: usize = 16 * 1024;

/// Why an armored text was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// None of the keys is meant.
    NoKey,
    /// It is no age file, cut off or changed.
    Broken,
}

/// What is within an armored text, where one of the keys opens it.
pub(super) fn open<'k>(armored: &str, keys: impl Iterator<Item = &'k PrivateKey>) -> Result<Vec<u8>, Closed> {
    if armored.len() > LONGEST {
        return Err(Closed::Broken);
    }
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(armored.as_bytes())).map_err(|_| Closed::Broken)?;
    let mut reader = decryptor
        .decrypt(keys.map(PrivateKey::as_age))
        .map_err(|error| match error {
            DecryptError::NoMatchingKeys => Closed::NoKey,
            _ => Closed::Broken,
        })?;
    let mut plain = vec![];
    reader.read_to_end(&mut plain).map_err(|_| Closed::Broken)?;
    Ok(plain)
}
