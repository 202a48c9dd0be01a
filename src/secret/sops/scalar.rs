//! What a scalar means to `sops`: its type as Go's YAML reader tells it, and the bytes of it that the MAC covers.
//!
//! The MAC covers unencrypted fields too, so `1.0` or `0x10` must be understood here exactly as `sops` understands it.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// A value without parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// In the form in which `sops` writes it: RFC 3339.
    Time(String),
    Text(String),
}

/// `yamlStyleFloat` of Go's reader.
static FLOAT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$").ok());

/// The forms of times that Go's reader knows.
static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let clock = r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})([.,][0-9]+)?";
    Regex::new(&format!(
        r"^([0-9]{{4}})-([0-9]{{1,2}})-([0-9]{{1,2}})(?:[Tt]{clock}(Z|[-+][0-9]{{2}}:[0-9]{{2}})| {clock})?$"
    ))
    .ok()
});

impl Scalar {
    /// The meaning of a scalar that stands in a file without quotes.
    ///
    /// Nothing for a number that neither JSON nor `sops` has a type for.
    pub fn of_plain(text: &str) -> Option<Self> {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Some(Self::Null),
            "true" | "True" | "TRUE" => return Some(Self::Bool(true)),
            "false" | "False" | "FALSE" => return Some(Self::Bool(false)),
            _ => {}
        }
        match text.as_bytes()[0] {
            b'.' => {}
            b'+' | b'-' | b'0'..=b'9' => {
                if let Some(time) = time(text) {
                    return Some(Self::Time(time));
                }
                let plain = text.replace('_', "");
                match integer(&plain) {
                    Integer::Fits(number) => return Some(Self::Int(number)),
                    Integer::TooLarge => return None,
                    Integer::None => {}
                }
                return float(&plain, &text[1..], text);
            }
            _ => return Some(Self::Text(text.to_owned())),
        }
        float(text, text, text)
    }

    /// Whether a text may stand without quotes and is still read as this text.
    pub fn is_plain_text(text: &str) -> bool {
        Self::of_plain(text) == Some(Self::Text(text.to_owned()))
    }

    /// The scalar of a JSON value; nothing for lists, objects and integers beyond 64 bits with a sign.
    pub fn of_json(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(it) => Self::Bool(*it),
            Value::Number(it) if it.is_f64() => Self::Float(it.as_f64()?),
            Value::Number(it) => Self::Int(it.as_i64()?),
            Value::String(it) => Self::Text(it.clone()),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    /// The same as JSON: a time becomes its text.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(it) => Value::Bool(*it),
            Self::Int(it) => Value::from(*it),
            Self::Float(it) => Value::from(*it),
            Self::Time(it) | Self::Text(it) => Value::String(it.clone()),
        }
    }

    /// What the MAC covers of it, and what is encrypted.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Null => vec![],
            Self::Bool(true) => b"True".to_vec(),
            Self::Bool(false) => b"False".to_vec(),
            Self::Int(it) => it.to_string().into_bytes(),
            Self::Float(it) => it.to_string().into_bytes(),
            Self::Time(it) | Self::Text(it) => it.as_bytes().to_vec(),
        }
    }
}

/// What a text is as an integer.
enum Integer {
    None,
    Fits(i64),
    TooLarge,
}

fn integer(text: &str) -> Integer {
    let (minus, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Integer::None;
    }
    let number = i128::from_str_radix(digits, radix).map(|it| if minus { -it } else { it });
    match number.map(|it| (i64::try_from(it), u64::try_from(it))) {
        Ok((Ok(number), _)) => Integer::Fits(number),
        // Go has a type for it that `sops` does not take.
        Ok((_, Ok(_))) => Integer::TooLarge,
        // What is larger still is a float, where it is written in digits alone.
        _ if radix == 10 => Integer::None,
        _ => Integer::TooLarge,
    }
}

/// A float, or the text itself where it is none. Infinities have no form in JSON.
fn float(plain: &str, rest: &str, text: &str) -> Option<Scalar> {
    if matches!(rest.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
        return None;
    }
    if FLOAT.as_ref().is_some_and(|it| it.is_match(plain)) {
        let number: f64 = plain.parse().ok()?;
        return number.is_finite().then_some(Scalar::Float(number));
    }
    Some(Scalar::Text(text.to_owned()))
}

/// A time in the form in which `sops` writes it.
fn time(text: &str) -> Option<String> {
    let parts = TIME.as_ref()?.captures(text)?;
    let number = |group: usize| parts.get(group).map_or(Some(0), |it| it.as_str().parse::<i8>().ok());
    // The groups of a clock stand at 4 with a zone and at 9 without one.
    let from = if parts.get(4).is_some() { 4 } else { 9 };
    let year: i16 = parts[1].parse().ok()?;
    let date = jiff::civil::Date::new(year, number(2)?, number(3)?).ok()?;
    let clock = jiff::civil::Time::new(number(from)?, number(from + 1)?, number(from + 2)?, 0).ok()?;
    let fraction = parts.get(from + 3).map_or("", |it| it.as_str()).replace(',', ".");
    let fraction = fraction
        .get(..10)
        .unwrap_or(&fraction)
        .trim_end_matches('0')
        .trim_end_matches('.');
    let zone = match parts.get(8).map(|it| it.as_str()) {
        None | Some("Z" | "+00:00" | "-00:00") => "Z",
        Some(zone) => zone,
    };
    Some(format!(
        "{date}T{:02}:{:02}:{:02}{fraction}{zone}",
        clock.hour(),
        clock.minute(),
        clock.second()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_sops_takes_them_for() {
        let text = |it: &str| Some(Scalar::Text(it.to_owned()));
        let time = |it: &str| Some(Scalar::Time(it.to_owned()));
        for (written, means) in [
            ("", Some(Scalar::Null)),
            ("~", Some(Scalar::Null)),
            ("True", Some(Scalar::Bool(true))),
            ("tRUE", text("tRUE")),
            ("yes", text("yes")),
            ("no", text("no")),
            ("12", Some(Scalar::Int(12))),
            ("-1_000", Some(Scalar::Int(-1000))),
            ("010", Some(Scalar::Int(8))),
            ("0o10", Some(Scalar::Int(8))),
            ("0x1F", Some(Scalar::Int(31))),
            ("0b11", Some(Scalar::Int(3))),
            ("089", Some(Scalar::Float(89.0))),
            ("9223372036854775807", Some(Scalar::Int(i64::MAX))),
            ("9223372036854775808", None),
            ("99999999999999999999", Some(Scalar::Float(1e20))),
            ("1.0", Some(Scalar::Float(1.0))),
            (".5", Some(Scalar::Float(0.5))),
            ("1e3", Some(Scalar::Float(1000.0))),
            ("1.2.3", text("1.2.3")),
            (".", text(".")),
            ("-", text("-")),
            (".inf", None),
            ("-.Inf", None),
            (".nan", None),
            ("2001-01-01", time("2001-01-01T00:00:00Z")),
            ("2001-1-2 3:4:5.60", time("2001-01-02T03:04:05.6Z")),
            ("2001-12-14T21:59:43.10-05:00", time("2001-12-14T21:59:43.1-05:00")),
            ("2001-12-14t21:59:43+00:00", time("2001-12-14T21:59:43Z")),
            ("2001-13-01", text("2001-13-01")),
            ("2001-01-01x", text("2001-01-01x")),
            ("mcpctl/v1", text("mcpctl/v1")),
            ("ü", text("ü")),
        ] {
            assert_eq!(Scalar::of_plain(written), means, "{written}");
        }
    }

    #[test]
    fn floats_are_written_without_an_exponent_or_a_padding() {
        for (number, shown) in [
            (2.0, "2"),
            (1e21, "1000000000000000000000"),
            (1.5e-7, "0.00000015"),
            (-0.0, "-0"),
        ] {
            assert_eq!(Scalar::Float(number).bytes(), shown.as_bytes());
        }
    }
}
