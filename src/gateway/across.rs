//! A server's answer as its client gets it, where the eras of the two differ.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mcp::Answer;
use crate::mcp::envelope::{code, members, text_of};
use crate::record::Era;

use super::asked::{Ask, Asked};

/// The code of a legacy server that wants a URL to be visited first (2025-11-25).
const URL_FIRST: i64 = -32042;

/// A whole answer with the id that the client knows. A result for a modern client gets what every result of its era has to
/// say, where its server did not say it; what a modern server says a legacy client passes over.
#[must_use]
pub fn result(to: Era, from: Era, asked: &Asked, answer: &Answer) -> Vec<u8> {
    if to == Era::Legacy {
        // A resource that is not there has a code of its own in the legacy era, and that of wrong parameters in the modern.
        let missing = from == Era::Modern && asked.ask == Ask::Read;
        let recoded = answer.outcome().err().filter(|_| missing);
        let recoded =
            recoded.and_then(|error| recoded_as(asked, error, code::INVALID_PARAMS, code::RESOURCE_NOT_FOUND));
        return recoded.unwrap_or_else(|| answer.with_id(asked.id()));
    }
    let result = match answer.outcome() {
        Ok(result) => result,
        Err(_) if from == Era::Modern => return answer.with_id(asked.id()),
        Err(error) => {
            return recoded_as(asked, error, code::RESOURCE_NOT_FOUND, code::INVALID_PARAMS)
                .unwrap_or_else(|| answer.with_id(asked.id()));
        }
    };
    let names = ["resultType", "ttlMs", "cacheScope"];
    // Nobody knows how long it holds, nor for whom.
    let words = [r#""complete""#, "0", r#""private""#];
    let text = std::str::from_utf8(result).unwrap_or_default();
    let maybe = memchr::memmem::find(result, b"\"resultType\"").is_some()
        || memchr::memmem::find(result, b"\"ttlMs\"").is_some()
        || memchr::memmem::find(result, b"\"cacheScope\"").is_some();
    let there = if maybe {
        members(text, names).map_or([true; 3], |there| there.map(|there| there.is_some()))
    } else {
        [false; 3]
    };
    let wanted = if asked.ask == Ask::Read { 3 } else { 1 };
    let missing = (0..wanted).filter(|at| !there[*at]);
    let add: String = missing
        .flat_map(|at| ["\"", names[at], "\":", words[at], ","])
        .collect();
    answer.with_id_and(asked.id(), &add)
}

/// An error with another code, where it has this one.
fn recoded_as(asked: &Asked, error: &[u8], was: i32, is: i32) -> Option<Vec<u8>> {
    if code_of(error) != Some(i64::from(was)) {
        return None;
    }
    let mut said: Value = serde_json::from_slice(error).ok()?;
    said["code"] = is.into();
    let said = said.to_string();
    let id = asked.id();
    Some(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{said}}}").into_bytes())
}

/// The code of an error.
#[must_use]
pub fn code_of(error: &[u8]) -> Option<i64> {
    let [code] = members(std::str::from_utf8(error).ok()?, ["code"]).ok()?;
    code?.get().parse().ok()
}

/// What a legacy server wants to be visited first: the parameters of each elicitation.
#[must_use]
pub fn urls_first(error: &[u8]) -> Option<Vec<Cow<'_, str>>> {
    if code_of(error) != Some(URL_FIRST) {
        return None;
    }
    let text = std::str::from_utf8(error).ok()?;
    let [data] = members(text, ["data"]).ok()?;
    let [elicitations] = members(data?.get(), ["elicitations"]).ok()?;
    let all: Vec<&RawValue> = serde_json::from_str(elicitations?.get()).ok()?;
    let with_mode = |raw: &RawValue| -> Option<String> {
        let [mode] = members(raw.get(), ["mode"]).ok()?;
        match mode.and_then(text_of).as_deref() {
            Some("url") => Some(raw.get().to_owned()),
            None => Some(format!("{{\"mode\":\"url\",{}", raw.get().strip_prefix('{')?)),
            Some(_) => None,
        }
    };
    let all: Vec<Cow<'_, str>> = all.into_iter().filter_map(with_mode).map(Cow::Owned).collect();
    (!all.is_empty()).then_some(all)
}

/// Whether an answer says that something went wrong: an error, or a tool's result that is one.
#[must_use]
pub fn is_failure(answer: &Answer) -> bool {
    let Ok(result) = answer.outcome() else { return true };
    memchr::memmem::find(result, b"\"isError\"").is_some()
        && std::str::from_utf8(result)
            .ok()
            .and_then(|text| members(text, ["isError"]).ok()?[0])
            .is_some_and(|raw| raw.get() == "true")
}

/// The status with which the modern era sends an error over HTTP.
#[must_use]
pub fn status_of(error: i64) -> StatusCode {
    match error {
        -32601 => StatusCode::NOT_FOUND,
        // HeaderMismatch, MissingRequiredClientCapability, UnsupportedProtocolVersion.
        -32022..=-32020 | -32700 | -32600 => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}
