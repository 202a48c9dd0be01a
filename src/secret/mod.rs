//! Secrets: the keys that open them, the form in which they stand in git, values that are made here, and the words that
//! give a credential away.
//!
//! Knows nothing of repositories, stores and lives: texts and keys come in, texts and values go out. Only
//! [`Identities`] and [`deploy_key`] touch files.
//!
//! # Guarantees
//! Values in the clear are within [`crate::kit::Redacted`]; no error, diagnostic or finding carries one. Whatever bytes
//! come in are answered with a value or an error, in time and memory bounded by their size.

mod credentials;
mod deploy_key;
mod derive;
mod envelope;
mod identity;
mod key;
mod recipient;
pub mod sops;

#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod tests;

pub use credentials::{Found, PATTERNS, Pattern, scan};
pub use deploy_key::deploy_key;
pub use derive::{BlobError, DeriveError, LONGEST_GENERATED, fingerprint, generate, open_blob, seal_blob};
pub use identity::{Identities, IdentityError, IdentityWarning};
pub use recipient::{MOST_RECIPIENTS, NotARecipient, Recipient, Recipients};
