//! Time as a value. Decisions take `now` as an argument; only the rooms that own tasks ask for it here.

pub use jiff::{SignedDuration, Timestamp};

/// The one place that reads the wall clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one door to the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The moment that `10m`, `1h30m` or `2d` before `now` is, or the one that `2026-11-24T06:00:00Z` names.
///
/// # Errors
/// The text is neither; the message says what is needed.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let needed = || "a duration like 10m, 1h30m or 2d, or a time like 2026-11-24T06:00:00Z is needed".to_owned();
    // A sign would say something else than "before now", and the ISO form of a duration nobody types.
    if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(needed());
    }
    let span: jiff::Span = text.parse().map_err(|_| needed())?;
    let before = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| needed())?;
    now.checked_sub(before).map_err(|_| needed())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ago_or_named() {
        let now: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        for (text, want) in [
            ("10s", Some("2026-11-24T05:59:50Z")),
            ("10m", Some("2026-11-24T05:50:00Z")),
            ("1h30m", Some("2026-11-24T04:30:00Z")),
            ("2d", Some("2026-11-22T06:00:00Z")),
            ("2026-01-01T00:00:00Z", Some("2026-01-01T00:00:00Z")),
            ("2026-01-01T02:00:00+02:00", Some("2026-01-01T00:00:00Z")),
            ("0s", Some("2026-11-24T06:00:00Z")),
            ("-10m", None),
            ("10", None),
            ("yesterday", None),
            ("10m ago", None),
            ("999999999999h", None),
            ("2026-01-01", None),
            ("1y", None),
            ("", None),
        ] {
            let want = want.map(|want| want.parse().unwrap());
            assert_eq!(moment(text, now).ok(), want, "{text}");
        }
    }
}
