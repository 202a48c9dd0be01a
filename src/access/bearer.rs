//! Who shows which token. Only digests of tokens are held.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use crate::kit::{Digest, Redacted};

use super::decision::Principal;

/// The longest `Authorization` header that is looked at, in bytes.
const LONGEST: usize = 4_096;

/// What each token begins with, so that a leaked one is recognised.
const ADMIN: &str = "mcpctl_admin_";

/// The tokens that are known, as digests, each with whom it stands for.
#[derive(Debug, Clone)]
pub struct Tokens(Vec<(Redacted<Digest>, Principal)>);

impl Tokens {
    /// These tokens and no others.
    #[must_use]
    pub fn of(known: impl IntoIterator<Item = (Redacted<String>, Principal)>) -> Self {
        let digest = |token: &Redacted<String>| Redacted::new(Digest::of(token.reveal()));
        Self(known.into_iter().map(|(token, who)| (digest(&token), who)).collect())
    }

    /// The admin token of a daemon.
    #[must_use]
    pub fn admin(token: Redacted<String>) -> (Redacted<String>, Principal) {
        let name = "admin".to_owned();
        (token, Principal::Admin { name })
    }
}

/// Why nobody is known behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// There is no credential.
    #[error("a token is needed")]
    Missing,
    /// The header can't be understood.
    #[error("the Authorization header is neither `Bearer TOKEN` nor `Basic` with a token as the password")]
    Malformed,
    /// Nobody has that token.
    #[error("the token is not valid")]
    Unknown,
}

/// A fresh admin token: `mcpctl_admin_` and 32 random bytes.
///
/// # Errors
/// The system gave no random bytes.
pub fn new_admin_token() -> Result<Redacted<String>, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(Redacted::new(format!("{ADMIN}{}", URL_SAFE_NO_PAD.encode(random))))
}

/// The principal behind an `Authorization` header. git sends a token as the password of `Basic`, beside any user name.
///
/// # Errors
/// There is no header, it can't be understood, or nobody has that token. An error is never taken for anonymous.
pub fn authenticate(header: Option<&str>, tokens: &Tokens) -> Result<Principal, Unauthenticated> {
    let header = header.ok_or(Unauthenticated::Missing)?;
    if header.len() > LONGEST {
        return Err(Unauthenticated::Malformed);
    }
    let (scheme, rest) = header.split_once(' ').ok_or(Unauthenticated::Malformed)?;
    let rest = rest.trim_matches(' ');
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let bytes = STANDARD.decode(rest).map_err(|_| Unauthenticated::Malformed)?;
        let text = String::from_utf8(bytes).map_err(|_| Unauthenticated::Malformed)?;
        let (_, password) = text.split_once(':').ok_or(Unauthenticated::Malformed)?;
        password.to_owned()
    } else {
        return Err(Unauthenticated::Malformed);
    };
    if token.is_empty() {
        return Err(Unauthenticated::Missing);
    }
    // Digests are compared, in constant time: neither a common beginning nor the length shows in the time taken.
    let shown = Digest::of(token);
    let mut found = None;
    // To the end of the list whoever it is, so that the place in it does not show either.
    for (known, principal) in &tokens.0 {
        if bool::from(shown.bytes().ct_eq(known.reveal().bytes())) {
            found = Some(principal);
        }
    }
    found.cloned().ok_or(Unauthenticated::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_random_and_of_one_form() {
        let token = || new_admin_token().expect("random bytes").reveal().clone();
        let one = token();
        let random = one.strip_prefix("mcpctl_admin_").expect("the prefix");
        assert_eq!(random.len(), 43);
        assert!(
            random
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert_ne!(one, token());
    }

    #[test]
    fn headers() {
        let token = "mcpctl_admin_abc";
        let known = Redacted::new(token.to_owned());
        let ann = Principal::Bound {
            name: "ann".to_owned(),
            bindings: [].into(),
        };
        let other = (Redacted::new("of-ann".to_owned()), ann.clone());
        let tokens = Tokens::of([Tokens::admin(known), other]);
        assert!(!format!("{tokens:?}").contains(&Digest::of(token).short(4)));
        let admin = Ok(Principal::Admin {
            name: "admin".to_owned(),
        });
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let long = format!("Bearer {}", "x".repeat(LONGEST));
        for (header, want) in [
            (format!("Bearer {token}"), admin.clone()),
            (format!("bearer   {token} "), admin.clone()),
            (basic(&format!("git:{token}")), admin.clone()),
            (basic(&format!(":{token}")), admin.clone()),
            (basic(&format!("{token}:{token}")), admin),
            ("Bearer of-ann".to_owned(), Ok(ann.clone())),
            (basic("admin:of-ann"), Ok(ann)),
            (basic(&format!("{token}:")), Err(Unauthenticated::Missing)),
            (basic(token), Err(Unauthenticated::Malformed)),
            (basic(&format!("git:{token}:")), Err(Unauthenticated::Unknown)),
            (basic("git:\u{0}"), Err(Unauthenticated::Unknown)),
            ("Basic %%%".to_owned(), Err(Unauthenticated::Malformed)),
            ("Basic /////w==".to_owned(), Err(Unauthenticated::Malformed)),
            (format!("Bearer {token}x"), Err(Unauthenticated::Unknown)),
            ("Bearer mcpctl_admin_ab".to_owned(), Err(Unauthenticated::Unknown)),
            (format!("Bearer {}", Digest::of(token)), Err(Unauthenticated::Unknown)),
            ("Bearer ".to_owned(), Err(Unauthenticated::Missing)),
            ("Bearer".to_owned(), Err(Unauthenticated::Malformed)),
            (token.to_owned(), Err(Unauthenticated::Malformed)),
            (format!("Digest {token}"), Err(Unauthenticated::Malformed)),
            (String::new(), Err(Unauthenticated::Malformed)),
            (long, Err(Unauthenticated::Malformed)),
        ] {
            assert_eq!(authenticate(Some(&header), &tokens), want, "{header:.80}");
        }
        assert_eq!(authenticate(None, &tokens), Err(Unauthenticated::Missing));
    }
}
