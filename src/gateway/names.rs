//! The names that a project shows: a pure function of the server and its tool, so that no name changes when another
//! server joins.

use crate::kit::{Digest, Name};

/// The longest name that clients take.
const LONGEST: usize = 128;
/// What is kept of a name that needs a digest: with `_` and 8 digits it is [`LONGEST`] at most.
const KEPT: usize = 119;

/// How names are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// As the server has them, at the endpoints of one server.
    Own,
    /// As the server has them, in a project (`toolPrefix: none`); two servers may have the same.
    Plain,
    /// [`shown`].
    Prefixed,
}

impl Naming {
    /// The name that is shown for a server's tool or prompt.
    #[must_use]
    pub fn of(self, server: &Name, tool: &str) -> String {
        match self {
            Self::Own => tool.to_owned(),
            Self::Plain => fit(tool.to_owned()),
            Self::Prefixed => shown(server, tool),
        }
    }
}

/// `server__tool`. Where that is too long or holds a character outside `[A-Za-z0-9_.-]`: its first 119 characters with
/// those as `_`, then `_` and 8 hex digits of the full name's SHA-256.
#[must_use]
pub fn shown(server: &Name, tool: &str) -> String {
    fit(format!("{server}__{tool}"))
}

fn fit(full: String) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if full.len() <= LONGEST && full.chars().all(fits) {
        return full;
    }
    let kept: String = full.chars().take(KEPT).map(|c| if fits(c) { c } else { '_' }).collect();
    format!("{kept}_{}", Digest::of(&full).short(8))
}

/// The server that a shown name belongs to. Names of servers have no underscore, so the first one ends them.
#[must_use]
pub fn server_of(shown: &str) -> Option<&str> {
    shown.split_once("__").map(|(server, _)| server)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_follow_the_rule() {
        let long = "x".repeat(200);
        for (tool, want) in [
            ("get_time", "time__get_time".to_owned()),
            ("a.b-c", "time__a.b-c".to_owned()),
            (&long[..122], format!("time__{}", &long[..122])),
            (
                &long[..123],
                format!(
                    "time__{}_{}",
                    &long[..113],
                    Digest::of(format!("time__{}", &long[..123])).short(8)
                ),
            ),
            ("a b", format!("time__a_b_{}", Digest::of("time__a b").short(8))),
            (
                "zeit/für",
                format!("time__zeit_f_r_{}", Digest::of("time__zeit/für").short(8)),
            ),
        ] {
            assert_eq!(shown(&name("time"), tool), want);
        }
    }

    proptest! {
        /// pitfalls.md, Upstreams: "tool names that change when a second server joins". A name depends on its own server
        /// and tool alone, is always one that clients take, and always tells its server.
        #[test]
        fn names_are_usable_and_tell_their_server(server in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", tool in ".{1,300}") {
            let shown = shown(&name(&server), &tool);
            prop_assert!(shown.len() <= LONGEST);
            prop_assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)));
            prop_assert_eq!(server_of(&shown), Some(&*server));
            let plain = Naming::Plain.of(&name(&server), &tool);
            prop_assert!(plain.len() <= LONGEST);
            prop_assert!(plain.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)));
            prop_assert_eq!(Naming::Own.of(&name(&server), &tool), tool);
        }

        #[test]
        fn different_tools_have_different_names(a in ".{1,200}", b in ".{1,200}") {
            prop_assume!(a != b);
            prop_assert_ne!(shown(&name("s"), &a), shown(&name("s"), &b));
        }
    }
}
