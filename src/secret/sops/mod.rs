//! Files in the format of SOPS, with age recipients: opened, made, and written again with as little change as can be.
//!
//! Only what is below `data` is encrypted, each value by itself and bound to its path. A MAC over all values, the
//! unencrypted ones included, keeps them together.
//!
//! # What the MAC is worth
//! It covers values one after another, without their keys and their boundaries: characters may wander from the end of
//! one unencrypted value to the begin of the next. A file in which `kind`, `name` and `data` follow each other, as we
//! write it, leaves no room for that, and [`Opened::bound`] says whether a file is of this kind.

mod comments;
mod error;
mod leaf;
mod metadata;
mod open;
mod print;
mod scalar;
mod seal;
mod tree;

#[cfg(test)]
mod laws_tests;
#[cfg(test)]
mod real_tests;

pub use error::{Broken, OpenError, SealError};
pub use open::{Opened, is_sops, is_sops_value, open, recipients_of};
pub use seal::{Fields, reseal, seal};
