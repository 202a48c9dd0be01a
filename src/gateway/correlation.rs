//! The id by which a client, its person and our log speak of one request.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, on a request where the client has one of its own and on every answer.
pub const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
/// How many characters a client's own may have.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=64;

/// The id of one request: the client's own where it sent one that is well-formed, else 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation(Box<str>);

impl Correlation {
    /// The id of a request with these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let own = headers.get(&CORRELATION).and_then(|value| value.to_str().ok());
        match own.filter(|own| is_well_formed(own)) {
            Some(own) => Self(own.into()),
            None => Self::mint(),
        }
    }

    /// A new one: unique, and no secret.
    #[must_use]
    pub fn mint() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| getrandom::u64().unwrap_or_default());
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // Spread over all digits (an odd factor keeps them apart), so that nobody takes it for a count of requests.
        let spread = (next ^ *PROCESS).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(format!("{:016x}{spread:016x}", *PROCESS).into())
    }

    /// The header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("none"))
    }

    /// What went wrong, with the id at its end.
    #[must_use]
    pub fn told(&self, message: &str) -> String {
        format!("{message} (correlation id {self})")
    }
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_well_formed(text: &str) -> bool {
    LENGTH.contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_clients_own_is_kept_where_it_is_well_formed() {
        let long = "x".repeat(64);
        let longer = "x".repeat(65);
        for (own, kept) in [
            ("abcd-EF_9", true),
            (&*long, true),
            (&*longer, false),
            ("short-1", false),
            ("with space", false),
            ("quoted\"id\"", false),
            ("newline\tid", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CORRELATION, HeaderValue::from_str(own).unwrap())]);
            let correlation = Correlation::of(&headers);
            assert_eq!(correlation.to_string() == own, kept, "{own}");
            assert_eq!(correlation.header().to_str().unwrap(), correlation.to_string());
        }
        let bytes = HeaderMap::from_iter([(
            CORRELATION,
            HeaderValue::from_bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff").unwrap(),
        )]);
        assert_eq!(Correlation::of(&bytes).to_string().len(), 32);
    }

    #[test]
    fn minted_ones_are_32_hex_digits_and_differ() {
        let all: HashSet<String> = (0..1_000)
            .map(|_| Correlation::of(&HeaderMap::new()).to_string())
            .collect();
        assert_eq!(all.len(), 1_000);
        assert!(
            all.iter()
                .all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        );
    }
}
