//! Values that come from keys: generated secrets, digests that tell values apart, and small texts kept encrypted.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use serde_json::Value;

use crate::kit::{Digest, Redacted};

use super::envelope::{self, Closed};
use super::identity::Identities;
use super::key::PrivateKey;

/// The longest value that is generated, in characters.
pub const LONGEST_GENERATED: usize = 1024;
/// The longest text that [`seal_blob`] takes, in bytes, so that the armored form is one that [`open_blob`] reads.
const LONGEST_BLOB: usize = 8 * 1024;
/// What generated values are made of.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Names what is derived, and its version: with another text every generated value would be another.
const GENERATE: &[u8] = b"mcpctl/generate/v1";

/// Why a value was not generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// The length is 0 or too large.
    #[error("the length of a generated value is 1 to {LONGEST_GENERATED}, not {0}")]
    Length(usize),
    /// Files of identities are given, and none of them has a key now: a value made from another key would not come back
    /// on another host.
    #[error("a value is generated from the first key of MCPD_IDENTITY_FILE, and there is none yet")]
    NoKey,
}

/// Makes the value of `{generate: {length}}`: the same for the same key, secret, key within it and length, so that a
/// wiped host with the same identity comes to the same value.
///
/// It is derived by HKDF-SHA-256 from the first key of `MCPD_IDENTITY_FILE`, or from mcpd's own where none is given,
/// and is `length` characters of `[A-Za-z0-9]`, each equally likely.
pub fn generate(
    identities: &Identities,
    secret: &str,
    key: &str,
    length: usize,
) -> Result<Redacted<String>, DeriveError> {
    if !(1..=LONGEST_GENERATED).contains(&length) {
        return Err(DeriveError::Length(length));
    }
    let made = identities.with_first(|first| derive(first, secret, key, length));
    made.ok_or(DeriveError::NoKey)
}

fn derive(from: &PrivateKey, secret: &str, key: &str, length: usize) -> Redacted<String> {
    let hkdf = Hkdf::<Sha256>::new(Some(GENERATE), from.material().reveal().as_bytes());
    let mut info = vec![];
    for part in [secret.as_bytes(), key.as_bytes(), &(length as u64).to_be_bytes()] {
        info.extend((part.len() as u64).to_be_bytes());
        info.extend(part);
    }
    let mut out = String::with_capacity(length);
    let mut block = 0_u32;
    while out.len() < length {
        // A block is a derivation of its own, so there are always more bytes.
        let mut bytes = [0; 256];
        let label = [info.as_slice(), &block.to_be_bytes()].concat();
        if hkdf.expand(&label, &mut bytes).is_err() {
            unreachable!("HKDF-SHA-256 gives up to 8160 bytes");
        }
        // 248 is the largest multiple of 62 in a byte; what is above would make some characters likelier.
        let fair = bytes.iter().filter(|it| **it < 248);
        out.extend(
            fair.map(|it| char::from(ALPHABET[usize::from(it % 62)]))
                .take(length - out.len()),
        );
        block += 1;
    }
    Redacted::new(out)
}

/// A digest of a value that is of use only beside others with the same salt: HMAC-SHA-256, so that short values can't be
/// found by trying. `path` names the value, as `secret/github:token`.
#[must_use]
pub fn fingerprint(salt: &[u8], path: &str, value: &Value) -> Digest {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt) else {
        unreachable!("HMAC takes keys of any length");
    };
    mac.update(&(path.len() as u64).to_be_bytes());
    mac.update(path.as_bytes());
    mac.update(value.to_string().as_bytes());
    Digest::of(mac.finalize().into_bytes())
}

/// Why a kept text was not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It was encrypted for the key of another data folder.
    #[error("it was encrypted for another key than the one in identity.txt")]
    OtherKey,
    /// It was changed or cut off, or is nothing that was sealed here.
    #[error("it was changed or cut off")]
    Broken,
    /// It is too long.
    #[error("it has more than {LONGEST_BLOB} bytes")]
    TooLong,
    /// age could not encrypt.
    #[error("encrypting failed: {0}")]
    Failed(String),
}

/// Encrypts a small text to mcpd's own key, armored: a generated value in the store, say.
pub fn seal_blob(identities: &Identities, text: &Redacted<String>) -> Result<String, BlobError> {
    if text.reveal().len() > LONGEST_BLOB {
        return Err(BlobError::TooLong);
    }
    let recipient = identities.own_recipient();
    recipient
        .wrap(text.reveal().as_bytes())
        .map_err(|error| BlobError::Failed(error.to_string()))
}

/// The text that [`seal_blob`] took.
pub fn open_blob(identities: &Identities, armored: &str) -> Result<Redacted<String>, BlobError> {
    match envelope::open(armored, std::iter::once(identities.own_key())) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Redacted::new)
            .map_err(|_| BlobError::Broken),
        Err(Closed::NoKey) => Err(BlobError::OtherKey),
        Err(Closed::Broken) => Err(BlobError::Broken),
    }
}
