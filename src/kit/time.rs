//! Time as a value. Decisions take `now` as an argument; only the rooms that own tasks ask for it here.

pub use jiff::{SignedDuration, Timestamp};

/// The one place that reads the wall clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one door to the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// "12s", "3m", "5h", "2d": how long ago `then` was, in one unit, as `kubectl` shows ages.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
