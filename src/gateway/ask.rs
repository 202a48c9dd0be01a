//! What a server may ask of a client, and in which words each era has it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::mcp::envelope::{members, text_of};
use crate::mcp::meta;

/// Questions of one answer that are put to a client.
const MOST: usize = 64;

/// What a client can be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four capabilities, each there or not")]
pub struct Can {
    /// `sampling/createMessage`.
    pub sampling: bool,
    /// `roots/list`.
    pub roots: bool,
    /// `elicitation/create` with a form.
    pub form: bool,
    /// `elicitation/create` with a URL.
    pub url: bool,
}

impl Can {
    /// Reads a client's capabilities. Elicitation without a word for its mode means forms, as before there were modes.
    #[must_use]
    pub fn read(capabilities: Option<&RawValue>) -> Self {
        let named = capabilities.and_then(|raw| members(raw.get(), ["sampling", "roots", "elicitation"]).ok());
        let [sampling, roots, elicitation] = named.unwrap_or_default();
        let there = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get().starts_with('{'));
        let modes = elicitation.and_then(|raw| members(raw.get(), ["form", "url"]).ok());
        let [form, url] = modes.unwrap_or_default();
        Self {
            sampling: there(sampling),
            roots: there(roots),
            form: there(elicitation) && (there(form) || !there(url)),
            url: there(url),
        }
    }

    /// The capability that a question needs and the client does not have, as the errors of the modern era say it.
    #[must_use]
    pub fn lacks(self, method: &str, params: Option<&str>) -> Option<Value> {
        match method {
            "sampling/createMessage" => (!self.sampling).then(|| json!({"sampling": {}})),
            "roots/list" => (!self.roots).then(|| json!({"roots": {}})),
            "elicitation/create" if is_url(params) => (!self.url).then(|| json!({"elicitation": {"url": {}}})),
            "elicitation/create" => (!self.form).then(|| json!({"elicitation": {"form": {}}})),
            _ => Some(json!({})),
        }
    }
}

fn is_url(params: Option<&str>) -> bool {
    let mode = params.and_then(|params| members(params, ["mode"]).ok()?[0]);
    mode.and_then(text_of).as_deref() == Some("url")
}

/// One question, as the modern era puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is asked.
    pub method: String,
    /// Its parameters, a JSON text.
    pub params: Option<String>,
}

impl Wanted {
    /// The request that puts it to a legacy client.
    #[must_use]
    pub fn request(&self, id: u64) -> Vec<u8> {
        let mut params = self.params.clone().unwrap_or_else(|| "{}".to_owned());
        if self.method == "elicitation/create" && is_url(Some(&params)) {
            // The legacy era has an id for it, which the modern era dropped.
            let has = members(&params, ["elicitationId"]).is_ok_and(|[id]| id.is_some());
            if let Some(rest) = params.strip_prefix('{').filter(|_| !has) {
                params = format!("{{\"elicitationId\":\"mcpctl-{id}\",{rest}");
            }
        }
        let method = Value::from(&*self.method);
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}}}").into_bytes()
    }
}

/// What an answer asks for, where it is an `input_required` of the modern era.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required {
    /// The questions by their keys.
    pub questions: BTreeMap<String, Wanted>,
    /// The server's `requestState`.
    pub state: Option<String>,
}

/// Reads what a result asks for; nothing where it is complete. The error says what is wrong with it.
pub fn required(result: &[u8]) -> Option<Result<Required, &'static str>> {
    // Most answers are complete and may be long: they are searched, not read.
    memchr::memmem::find(result, b"input_required")?;
    let text = std::str::from_utf8(result).ok()?;
    let [kind, questions, state] = members(text, ["resultType", "inputRequests", "requestState"]).ok()?;
    if kind.and_then(text_of).as_deref() != Some("input_required") {
        return None;
    }
    let read = || {
        const WRONG: &str = "what it asks for makes no sense";
        let mut required = Required::default();
        if let Some(state) = state {
            required.state = Some(text_of(state).ok_or(WRONG)?.into_owned());
        }
        let questions = questions.map(meta::object).transpose().map_err(|_| WRONG)?;
        for (key, question) in questions.unwrap_or_default() {
            let [method, params] = members(question.get(), ["method", "params"]).map_err(|_| WRONG)?;
            let wanted = Wanted {
                method: method.and_then(text_of).ok_or(WRONG)?.into_owned(),
                params: params.map(|params| params.get().to_owned()),
            };
            required.questions.insert(key.into_owned(), wanted);
        }
        if required.questions.len() > MOST {
            return Err("it asks for too much at once");
        }
        Ok(required)
    };
    Some(read())
}

/// The result that asks for these.
#[must_use]
pub fn input_required<'a>(
    questions: impl Iterator<Item = (String, &'a str, Option<&'a str>)>,
    state: Option<&str>,
) -> String {
    let question = |method: &str, params: Option<&str>| {
        let method = Value::from(method).to_string();
        let parts = [("method", Some(&*method)), ("params", params)];
        meta::written(parts.into_iter().filter_map(|(key, value)| Some((key, value?))))
    };
    let questions: Vec<(String, String)> = questions
        .map(|(key, method, params)| (key, question(method, params)))
        .collect();
    let questions = meta::written(questions.iter().map(|(key, text)| (&**key, &**text)));
    let state = state.map(|state| Value::from(state).to_string());
    let parts = [
        ("resultType", Some("\"input_required\"")),
        (
            "inputRequests",
            Some(&*questions).filter(|questions| questions.len() > 2),
        ),
        ("requestState", state.as_deref()),
    ];
    meta::written(parts.into_iter().filter_map(|(key, value)| Some((key, value?))))
}

/// The same result with another `requestState`, all else byte for byte.
#[must_use]
pub fn with_state(result: &str, state: &str) -> Option<String> {
    let [was] = members(result, ["requestState"]).ok()?;
    let place = crate::mcp::envelope::place_of(result, was?.get());
    let state = Value::from(state).to_string();
    Some(format!("{}{state}{}", &result[..place.start], &result[place.end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_client_is_asked_what_it_declared_and_nothing_else() {
        let url = Some(r#"{"mode":"url"}"#);
        for (capabilities, sampling, roots, form, by_url) in [
            ("{}", false, false, false, false),
            (
                r#"{"sampling":{},"roots":{"listChanged":true}}"#,
                true,
                true,
                false,
                false,
            ),
            (r#"{"elicitation":{}}"#, false, false, true, false),
            (r#"{"elicitation":{"form":{}}}"#, false, false, true, false),
            (r#"{"elicitation":{"url":{}}}"#, false, false, false, true),
            (r#"{"elicitation":{"url":{},"form":{}}}"#, false, false, true, true),
            (r#"{"sampling":true,"elicitation":null}"#, false, false, false, false),
        ] {
            let can = Can::read(Some(&raw(capabilities)));
            assert_eq!(
                can.lacks("sampling/createMessage", None).is_none(),
                sampling,
                "{capabilities}"
            );
            assert_eq!(can.lacks("roots/list", None).is_none(), roots, "{capabilities}");
            assert_eq!(can.lacks("elicitation/create", None).is_none(), form, "{capabilities}");
            assert_eq!(can.lacks("elicitation/create", url).is_none(), by_url, "{capabilities}");
        }
        assert_eq!(Can::read(None), Can::default());
    }

    #[test]
    fn what_is_asked_for_is_read_and_written() {
        let questions = [
            ("a".to_owned(), "roots/list", None),
            ("b\"".to_owned(), "elicitation/create", Some(r#"{"mode":"form"}"#)),
        ];
        let text = input_required(questions.into_iter(), Some("s"));
        assert_eq!(
            text,
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b\"":{"method":"elicitation/create","params":{"mode":"form"}}},"requestState":"s"}"#
        );
        let read = required(text.as_bytes()).unwrap().unwrap();
        assert_eq!(read.state.as_deref(), Some("s"));
        assert_eq!(
            read.questions["a"],
            Wanted {
                method: "roots/list".into(),
                params: None
            }
        );
        let with = with_state(&text, "t\"").unwrap();
        assert!(with.ends_with(r#""requestState":"t\""}"#), "{with}");
        for complete in [r#"{"resultType":"complete"}"#, r#"{"content":"input_required"}"#, "[]"] {
            assert_eq!(required(complete.as_bytes()), None, "{complete}");
        }
        for wrong in [
            r#"{"resultType":"input_required","inputRequests":[]}"#,
            r#"{"resultType":"input_required","requestState":1}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":{}}}"#,
        ] {
            assert!(required(wrong.as_bytes()).unwrap().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_legacy_client_gets_the_id_that_its_era_wants() {
        let wanted = |params: &str| Wanted {
            method: "elicitation/create".into(),
            params: Some(params.into()),
        };
        let text = |wanted: &Wanted| String::from_utf8(wanted.request(7)).unwrap();
        assert_eq!(
            text(&wanted(r#"{"mode":"url","url":"https:\/\/x"}"#)),
            r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"elicitationId":"mcpctl-7","mode":"url","url":"https:\/\/x"}}"#
        );
        assert!(!text(&wanted(r#"{"message":"m"}"#)).contains("elicitationId"));
    }
}
