//! The ground floor: values that every room may name and that know nothing of MCP, git or containers.

mod diagnostic;
mod digest;
#[cfg(test)]
pub mod fuzz;
mod glob;
mod masks;
mod name;
mod pipes;
#[cfg(test)]
pub mod proof;
mod redacted;
mod suggest;
pub mod time;

pub use diagnostic::{Diagnostic, Position, count};
pub use digest::{Digest, NotADigest};
pub use glob::is_like;
pub use masks::{MASK, Masks};
pub use name::{Name, NotAName};
pub use pipes::{HttpTransport, Link, Pipes};
pub use redacted::Redacted;
pub use suggest::nearest;
