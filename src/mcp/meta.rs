//! `_meta` of a request: what the modern era says there of every request by itself, read and written.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::MODERN;
use super::envelope::{members, place_of, splice, text_of};

/// The version that a request is said in.
pub const PROTOCOL: &str = "io.modelcontextprotocol/protocolVersion";
/// Who says it.
pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// What the client can.
pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The least important log message that the client wants to hear about this request.
pub const LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The `subscriptions/listen` request that a notification belongs to.
pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Who answers.
pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// The `_meta` of what mcpd asks for itself: it can't be asked anything.
#[must_use]
pub fn own() -> Value {
    json!({PROTOCOL: MODERN, CLIENT: ourselves(), CAPABILITIES: {}})
}

/// What mcpd calls itself, towards clients and servers.
#[must_use]
pub fn ourselves() -> Value {
    json!({"name": "mcpctl", "version": env!("CARGO_PKG_VERSION")})
}

/// The `_meta` of a request, as far as it is decided on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meta<'a> {
    /// All of it.
    pub raw: Option<&'a RawValue>,
    /// The progress token.
    pub token: Option<&'a RawValue>,
    /// The version that the request is said in; only the modern era has one here.
    pub version: Option<&'a RawValue>,
    /// Who says it.
    pub client: Option<&'a RawValue>,
    /// What the client can.
    pub capabilities: Option<&'a RawValue>,
    /// The least important log message that is wanted.
    pub level: Option<&'a RawValue>,
}

impl<'a> Meta<'a> {
    /// Reads that of a request's parameters.
    ///
    /// # Errors
    /// It is no object, or says one of these twice.
    pub fn read(params: Option<&'a RawValue>) -> Result<Self, &'static str> {
        const WRONG: &str = "_meta must be an object with one progressToken at most";
        let Some(params) = params.filter(|params| params.get().starts_with('{')) else {
            return Ok(Self::default());
        };
        let [raw] = members(params.get(), ["_meta"]).map_err(|_| WRONG)?;
        Self::of(raw.filter(|raw| raw.get() != "null"))
    }

    /// Reads one that was found already.
    pub fn of(raw: Option<&'a RawValue>) -> Result<Self, &'static str> {
        const WRONG: &str = "_meta must be an object with one progressToken at most";
        let Some(raw) = raw else { return Ok(Self::default()) };
        let names = ["progressToken", PROTOCOL, CLIENT, CAPABILITIES, LEVEL];
        let [token, version, client, capabilities, level] = members(raw.get(), names).map_err(|_| WRONG)?;
        Ok(Self {
            raw: Some(raw),
            token,
            version,
            client,
            capabilities,
            level,
        })
    }

    /// The version that the request says it is said in.
    #[must_use]
    pub fn version(&self) -> Option<Cow<'a, str>> {
        self.version.and_then(text_of)
    }
}

/// The `_meta` of a client's request as a server gets it where the eras of the two differ: without what the modern era
/// alone says in it and without the progress token, and with `add` (members as JSON texts).
///
/// # Errors
/// It is no object.
pub fn rewritten(raw: Option<&RawValue>, add: &[(&str, &str)]) -> Result<String, serde_json::Error> {
    const NOT_KEPT: [&str; 5] = ["progressToken", PROTOCOL, CLIENT, CAPABILITIES, LEVEL];
    let there = raw.map(object).transpose()?.unwrap_or_default();
    let kept = there.iter().filter(|(key, _)| !NOT_KEPT.contains(&&**key));
    let kept = kept.map(|(key, value)| (&**key, value.get()));
    Ok(written(kept.chain(add.iter().copied())))
}

/// A notification without the stream that it belongs to, all else as it was; nothing where it names none.
#[must_use]
pub fn without_subscription(message: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(message).ok()?;
    let [params] = members(text, ["params"]).ok()?;
    let params = params?;
    let all = object(params).ok()?;
    let (_, own) = all.iter().find(|(key, _)| key == "_meta")?;
    let kept = object(own).ok()?;
    let kept: Vec<(&str, &str)> = kept
        .iter()
        .map(|(key, value)| (&**key, value.get()))
        .filter(|(key, _)| *key != SUBSCRIPTION)
        .collect();
    let own = (!kept.is_empty()).then(|| written(kept.into_iter()));
    let all = all.iter().filter_map(|(key, value)| match &**key {
        "_meta" => own.as_deref().map(|own| ("_meta", own)),
        key => Some((key, value.get())),
    });
    let place = place_of(text, params.get());
    Some(splice(message, &[(place, &written(all))], false))
}

/// The members of an object, in their order.
///
/// # Errors
/// It is no object.
pub fn object(raw: &RawValue) -> Result<Vec<(Cow<'_, str>, &RawValue)>, serde_json::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = vec![];
            while let Some(super::envelope::Key(key)) = map.next_key()? {
                all.push((key, map.next_value()?));
            }
            Ok(all)
        }
    }
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Members)
}

/// An object of these members; the values are JSON texts.
#[must_use]
pub fn written<'t>(members: impl Iterator<Item = (&'t str, &'t str)>) -> String {
    let mut text = "{".to_owned();
    for (key, value) in members {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&Value::from(key).to_string());
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_out_and_nothing_else() {
        let with = |params: &str| format!(r#"{{"jsonrpc":"2.0", "method":"m","params":{params} }}"#);
        let own = format!(r#""{SUBSCRIPTION}":7"#);
        for (params, want) in [
            (
                format!(r#"{{"uri":"x","_meta":{{{own}}},"n":1.5e2}}"#),
                Some(r#"{"uri":"x","n":1.5e2}"#),
            ),
            (
                format!(r#"{{"_meta":{{"a" : 1e1,{own}}}}}"#),
                Some(r#"{"_meta":{"a":1e1}}"#),
            ),
            (r#"{"uri":"x"}"#.to_owned(), None),
        ] {
            let cut = without_subscription(with(&params).as_bytes());
            let cut = cut.map(|cut| String::from_utf8(cut).unwrap());
            assert_eq!(cut, want.map(with), "{params}");
        }
        assert_eq!(without_subscription(b"no"), None);
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn meta_is_read_and_told_from_nonsense() {
        let params = raw(&format!(
            r#"{{"name":"x","_meta":{{"progressToken":"a","{PROTOCOL}":"2026-07-28","x/y":1}}}}"#
        ));
        let meta = Meta::read(Some(&params)).unwrap();
        assert_eq!(meta.token.map(RawValue::get), Some("\"a\""));
        assert_eq!(meta.version().as_deref(), Some("2026-07-28"));
        for nothing in [r#"{"name":"x"}"#, r#"{"_meta":null}"#, "[]"] {
            assert!(Meta::read(Some(&raw(nothing))).unwrap().raw.is_none(), "{nothing}");
        }
        for wrong in [
            r#"{"_meta":1}"#,
            r#"{"_meta":{"progressToken":1,"progressToken":2}}"#,
            r#"{"_meta":{},"_meta":{}}"#,
        ] {
            assert!(Meta::read(Some(&raw(wrong))).is_err(), "{wrong}");
        }
    }

    /// Only what the other era can't know goes; everything else crosses, in its order and byte for byte.
    #[test]
    fn what_both_eras_know_crosses() {
        let meta = raw(&format!(
            r#"{{"traceparent":"00-x","{PROTOCOL}":"2026-07-28","a\"b":[1, 2],"{CAPABILITIES}":{{}},"progressToken":7}}"#
        ));
        assert_eq!(
            rewritten(Some(&meta), &[]).unwrap(),
            r#"{"traceparent":"00-x","a\"b":[1, 2]}"#
        );
        assert_eq!(
            rewritten(None, &[("k", "1"), ("l", "{}")]).unwrap(),
            r#"{"k":1,"l":{}}"#
        );
        assert!(rewritten(Some(&raw("[]")), &[]).is_err());
    }
}
