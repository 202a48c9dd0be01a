//! `requestState` that a client carries from one round to the next: sealed, so that nobody else can use it, nor anybody
//! for another request, nor for longer than it holds (2026-07-28, Multi Round-Trip Requests, server requirements 4 and 5).

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;

/// How long a client has for a round: a person may have to be found first.
pub const HOLDS_SECONDS: i64 = 15 * 60;
/// The longest state of a server that is carried, in bytes.
const LONGEST: usize = 256 << 10;
const NONCE: usize = 12;

/// What a client carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// The call of this number waits here for its answers.
    Held(String),
    /// The server's own state, which goes back to it.
    Server(String),
    /// Nothing is kept: the request is made anew.
    Anew,
}

/// What a sealed state is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Whose it is.
    pub caller: &'a str,
    /// Where it was given out.
    pub endpoint: &'a str,
    /// Which request it belongs to.
    pub subject: &'a str,
}

/// Seals states and opens them.
pub struct Seal(Aes256Gcm);

#[derive(Serialize, Deserialize)]
struct Sealed {
    until: i64,
    state: State,
}

impl Seal {
    /// Seals with a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key)))
    }

    /// Seals a state; nothing where it is too long, or chance can't be had.
    #[must_use]
    pub fn seal(&self, state: State, bound: &Bound<'_>, now: Timestamp) -> Option<String> {
        if matches!(&state, State::Server(text) if text.len() > LONGEST) {
            return None;
        }
        let until = now.as_second() + HOLDS_SECONDS;
        let plain = serde_json::to_vec(&Sealed { until, state }).ok()?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).ok()?;
        let aad = bound.text();
        let payload = Payload {
            msg: &plain,
            aad: aad.as_bytes(),
        };
        let sealed = self.0.encrypt(Nonce::from_slice(&nonce), payload).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens one; nothing where it was not sealed here for this, or holds no longer.
    #[must_use]
    pub fn open(&self, text: &str, bound: &Bound<'_>, now: Timestamp) -> Option<State> {
        if text.len() > 2 * LONGEST {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let aad = bound.text();
        let payload = Payload {
            msg: sealed,
            aad: aad.as_bytes(),
        };
        let plain = self.0.decrypt(Nonce::from_slice(nonce), payload).ok()?;
        let sealed: Sealed = serde_json::from_slice(&plain).ok()?;
        (now.as_second() <= sealed.until).then_some(sealed.state)
    }
}

impl Bound<'_> {
    fn text(&self) -> String {
        serde_json::json!(["mcpctl requestState", self.caller, self.endpoint, self.subject]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANNA: Bound<'static> = Bound {
        caller: "anna",
        endpoint: "projects/demo",
        subject: "x",
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_state_is_its_callers_for_its_request_and_for_a_while() {
        let seal = Seal::new(&[7; 32]);
        let state = State::Server("abc".into());
        let text = seal.seal(state.clone(), &ANNA, at(1_000)).unwrap();
        assert!(!text.contains("abc"));
        assert_eq!(seal.open(&text, &ANNA, at(1_000 + HOLDS_SECONDS)), Some(state));
        assert_eq!(seal.open(&text, &ANNA, at(1_001 + HOLDS_SECONDS)), None, "too late");
        for other in [
            Bound { caller: "bert", ..ANNA },
            Bound {
                endpoint: "projects/other",
                ..ANNA
            },
            Bound { subject: "y", ..ANNA },
        ] {
            assert_eq!(seal.open(&text, &other, at(1_000)), None, "{other:?}");
        }
        assert_eq!(Seal::new(&[8; 32]).open(&text, &ANNA, at(1_000)), None, "another key");
        assert_eq!(seal.seal(State::Server("x".repeat(LONGEST + 1)), &ANNA, at(0)), None);
    }

    proptest! {
        /// Whatever was changed, it does not open.
        #[test]
        fn a_state_that_was_touched_is_worth_nothing(place in 0usize..60, to in "[A-Za-z0-9_-]") {
            let seal = Seal::new(&[7; 32]);
            let text = seal.seal(State::Anew, &ANNA, at(1_000)).unwrap();
            let place = place % text.len();
            // The last character has bits that say nothing.
            prop_assume!(place + 1 < text.len() && text[place..=place] != to);
            let touched = format!("{}{to}{}", &text[..place], &text[place + 1..]);
            prop_assert_eq!(seal.open(&touched, &ANNA, at(1_000)), None);
        }

        #[test]
        fn nothing_panics(text in ".{0,80}") {
            prop_assert_eq!(Seal::new(&[7; 32]).open(&text, &ANNA, at(1_000)), None);
        }
    }
}
