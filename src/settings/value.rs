//! Values that settings are made of.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Reads `127.0.0.1:3100`, `[::1]:3100` or `localhost:3100`.
///
/// # Errors
/// It is none of these.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        format!("\"{shown}\" is not an address with a port")
    })
}

/// A URL that can be shown: what stands before an `@` may be a password.
pub(super) fn without_password(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
    format!("{scheme}***@{after}")
}

/// Reads `30s`, `5m` or `2h`.
///
/// # Errors
/// It is none of these, or longer than a day.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let fault = || {
        format!(
            "\"{}\" is not a duration as 30s, 5m or 2h",
            text.chars().take(40).collect::<String>()
        )
    };
    let unit = text.chars().last().ok_or_else(fault)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(fault()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault());
    }
    let number: u64 = digits.parse().map_err(|_| fault())?;
    let seconds = number.saturating_mul(seconds);
    if seconds > 86_400 {
        return Err(format!("{text} is longer than a day"));
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("[::1]:1", Some("[::1]:1")),
            ("localhost:1", Some("127.0.0.1:1")),
            ("0.0.0.0:1", Some("0.0.0.0:1")),
            ("localhost", None),
            ("localhost:99999", None),
            ("127.0.0.1", None),
            ("1", None),
        ] {
            let read = parse_address(text).map(|address| address.to_string());
            assert_eq!(read.ok().as_deref(), want, "{text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (text, want) in [
            ("http://x", "http://x"),
            ("http://u:p@x", "http://***@x"),
            ("http://u:p@q/r@x", "http://***@x"),
            ("u:p@x", "***@x"),
            ("", ""),
        ] {
            assert_eq!(without_password(text), want);
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("1s", 1),
            ("30s", 30),
            ("5m", 300),
            ("2h", 7_200),
            ("24h", 86_400),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for bad in [
            "",
            "s",
            "30",
            "30 s",
            "-1s",
            "+1s",
            "1.5s",
            "1d",
            "25h",
            "99999999999999999999s",
            "5é",
            "1s1s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
