//! Who may do what: the one choke point. Pure: no clock, no files, no network.
//!
//! A door says who asks ([`authenticate`]) and what is asked for ([`Action`]); [`decide`] answers, and no is the default.
//! Whether a request may come in at all, judged by its `Host` and `Origin`, is [`host_allowed`]; whether a git server sent
//! a webhook, [`signed`].

mod bearer;
mod binding;
mod change;
mod decision;
mod host;
mod signature;

pub use bearer::{Tokens, Unauthenticated, authenticate, new_admin_token};
pub use binding::{Binding, Role};
pub use change::{change, naming};
pub use decision::{Action, Denied, Principal, decide};
pub use host::{AllowedHosts, HostRefused, NotAnAuthority, Origin, host_allowed};
pub use signature::{Forge, NotSigned, claimed, signed};
