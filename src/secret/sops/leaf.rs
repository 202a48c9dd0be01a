//! One encrypted value: AES-256-GCM with a nonce of 32 bytes, bound to its path, written as `ENC[AES256_GCM,…]`.

use aes_gcm::aead::consts::{U12, U32};
use aes_gcm::aead::generic_array::{ArrayLength, GenericArray};
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{AesGcm, aes::Aes256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kit::Redacted;

use super::error::SealError;
use super::scalar::Scalar;

/// The key of one file. Each recipient finds it encrypted to itself in the file.
pub type DataKey = Redacted<[u8; 32]>;

/// How long a nonce is that `sops` writes, in bytes.
const NONCE: usize = 32;
/// How long the tag is, in bytes.
const TAG: usize = 16;

/// An encrypted value as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf<'t> {
    data: Vec<u8>,
    nonce: Vec<u8>,
    tag: Vec<u8>,
    kind: &'t str,
}

impl<'t> Leaf<'t> {
    /// Reads the form `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
    pub fn parse(text: &'t str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
        let (data, rest) = inner.split_once(",iv:")?;
        let (nonce, rest) = rest.split_once(",tag:")?;
        let (tag, kind) = rest.split_once(",type:")?;
        let leaf = Self {
            data: STANDARD.decode(data).ok()?,
            nonce: STANDARD.decode(nonce).ok()?,
            tag: STANDARD.decode(tag).ok()?,
            kind,
        };
        (matches!(leaf.nonce.len(), 12 | NONCE) && leaf.tag.len() == TAG && !kind.is_empty()).then_some(leaf)
    }

    /// The bytes within, where key, path and tag fit.
    fn bytes(&self, key: &DataKey, path: &str) -> Option<Vec<u8>> {
        let whole = [self.data.as_slice(), self.tag.as_slice()].concat();
        if self.nonce.len() == NONCE {
            decrypt::<U32>(key, &self.nonce, &whole, path)
        } else {
            decrypt::<U12>(key, &self.nonce, &whole, path)
        }
    }

    /// The value within.
    ///
    /// # Errors
    /// What is wrong, in words that go on after the name of the value.
    pub fn open(&self, key: &DataKey, path: &str) -> Result<Scalar, &'static str> {
        let bytes = self
            .bytes(key, path)
            .ok_or("was changed, or moved here from another place, after it was encrypted")?;
        let text = String::from_utf8(bytes).map_err(|_| "holds bytes that are no text")?;
        let odd = "holds a value that does not fit its type";
        Ok(match self.kind {
            "str" | "bytes" | "comment" => Scalar::Text(text),
            "time" => Scalar::Time(text),
            "int" => Scalar::Int(text.parse().map_err(|_| odd)?),
            "float" => Scalar::Float(text.parse().ok().filter(|it: &f64| it.is_finite()).ok_or(odd)?),
            "bool" => Scalar::Bool(match text.as_str() {
                "True" | "true" | "TRUE" | "1" | "t" | "T" => true,
                "False" | "false" | "FALSE" | "0" | "f" | "F" => false,
                _ => return Err(odd),
            }),
            _ => return Err("is of a type that is not known here"),
        })
    }

    /// Whether it is an encrypted comment.
    pub fn is_comment(&self) -> bool {
        self.kind == "comment"
    }
}

/// Encrypts a value. An empty text stays empty and null stays null, as with `sops`.
pub fn seal(scalar: &Scalar, key: &DataKey, path: &str) -> Result<String, SealError> {
    let kind = match scalar {
        Scalar::Null => return Ok("null".to_owned()),
        Scalar::Text(text) if text.is_empty() => return Ok("\"\"".to_owned()),
        Scalar::Text(_) => "str",
        Scalar::Bool(_) => "bool",
        Scalar::Int(_) => "int",
        Scalar::Float(_) => "float",
        Scalar::Time(_) => "time",
    };
    seal_bytes(&scalar.bytes(), kind, key, path)
}

/// Encrypts bytes as a value of a type.
pub fn seal_bytes(bytes: &[u8], kind: &str, key: &DataKey, path: &str) -> Result<String, SealError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|error| SealError::Failed(error.to_string()))?;
    let cipher = AesGcm::<Aes256, U32>::new(GenericArray::from_slice(key.reveal()));
    let payload = Payload {
        msg: bytes,
        aad: path.as_bytes(),
    };
    let whole = cipher
        .encrypt(GenericArray::from_slice(&nonce), payload)
        .map_err(|_| SealError::Failed("a value is too long".into()))?;
    let (data, tag) = whole.split_at(whole.len() - TAG);
    let [data, nonce, tag] = [data, &nonce, tag].map(|it| STANDARD.encode(it));
    Ok(format!("ENC[AES256_GCM,data:{data},iv:{nonce},tag:{tag},type:{kind}]"))
}

fn decrypt<N: ArrayLength<u8>>(key: &DataKey, nonce: &[u8], whole: &[u8], path: &str) -> Option<Vec<u8>> {
    let cipher = AesGcm::<Aes256, N>::new(GenericArray::from_slice(key.reveal()));
    let payload = Payload {
        msg: whole,
        aad: path.as_bytes(),
    };
    cipher.decrypt(GenericArray::from_slice(nonce), payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_opens_at_its_place_alone() {
        let key = DataKey::new([7; 32]);
        for scalar in [
            Scalar::Text("ü\n".into()),
            Scalar::Int(-3),
            Scalar::Float(0.5),
            Scalar::Bool(true),
        ] {
            let text = seal(&scalar, &key, "data:a:").unwrap();
            let leaf = Leaf::parse(&text).unwrap();
            assert_eq!(leaf.open(&key, "data:a:"), Ok(scalar));
            assert!(leaf.open(&key, "data:b:").is_err());
            assert!(leaf.open(&DataKey::new([8; 32]), "data:a:").is_err());
        }
    }

    #[test]
    fn a_leaf_of_another_form_is_none() {
        let good = seal(&Scalar::Int(1), &DataKey::new([7; 32]), "data:").unwrap();
        for bad in [
            "",
            "x",
            "ENC[AES256_GCM,data:,iv:,tag:,type:str]",
            &good[1..],
            &good[..good.len() - 1],
            &good.replace("AES256_GCM", "AES128_GCM"),
            &good.replace(",tag:", ",tug:"),
            &good.replace("iv:", "iv:A"),
        ] {
            assert_eq!(Leaf::parse(bad), None, "{bad}");
        }
    }
}
