//! Values that settings are made of.

use std::time::Duration;

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
