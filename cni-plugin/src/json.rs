//! Reading JSON the way every Go plugin does: key names match in any case.
//!
//! containerd depends on it: its capability structs have no tags, so it sends `PortMappings` and `HostPort` where the
//! specification writes `portMappings` and `hostPort`. As in Go, `null` means the key is not there, and unknown keys
//! are ignored.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::error::CniError;

/// A JSON object with its place in the configuration, for messages as `ipam.ranges[0][1].subnet`.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The object `value`, which stands at `path` (empty for the outermost).
    pub fn of(value: &'a Value, path: impl Into<String>) -> Result<Self, CniError> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(mismatch(&path, "an object", other)),
        }
    }

    /// The outermost object.
    pub fn root(map: &'a Map<String, Value>) -> Self {
        Self { map, path: String::new() }
    }

    /// Where `key` of this object stands.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`: the key in exactly this spelling, else the last one that differs only in case.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        let value = self.map.get(key).or_else(|| {
            self.map.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
        });
        value.filter(|value| !value.is_null())
    }

    /// True if `key` is there, be it `null`.
    pub fn has(&self, key: &str) -> bool {
        self.map.keys().any(|name| name.eq_ignore_ascii_case(key))
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, CniError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(mismatch(&self.path_of(key), "a text", other)),
        }
    }

    /// A text; a missing one is empty.
    pub fn text_or_empty(&self, key: &str) -> Result<&'a str, CniError> {
        Ok(self.text(key)?.unwrap_or_default())
    }

    /// A path; a missing or empty one is `None`.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, CniError> {
        let text = self.text_or_empty(key)?;
        if text.contains('\0') {
            return Err(CniError::config(format!("{}: {text:?} is no path", self.path_of(key))));
        }
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    /// `true` or `false`; a missing one is `false`.
    pub fn flag(&self, key: &str) -> Result<bool, CniError> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(mismatch(&self.path_of(key), "true or false", other)),
        }
    }

    /// A whole number from 0 to `most`.
    pub fn number(&self, key: &str, most: u32) -> Result<Option<u32>, CniError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // A Go program may write a whole number as 1.5e3; its peers read that as an integer too.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and in range"
        )]
        let number = value.as_u64().or_else(|| {
            let float = value.as_f64()?;
            (float.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&float)).then_some(float as u64)
        });
        match number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= most) {
            Some(number) => Ok(Some(number)),
            None => Err(mismatch(&self.path_of(key), &format!("a whole number from 0 to {most}"), value)),
        }
    }

    /// A whole number of up to 64 bits, as bits a second are.
    pub fn big_number(&self, key: &str) -> Result<Option<u64>, CniError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and in the range where a float is exact"
        )]
        let number = value.as_u64().or_else(|| {
            let float = value.as_f64()?;
            (float.fract() == 0.0 && (0.0..=9e15).contains(&float)).then_some(float as u64)
        });
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(mismatch(&self.path_of(key), "a whole number, 0 or more", value)),
        }
    }

    /// A text that `T` can read. Missing and empty are both `None`, because Go programs send empty texts for unset
    /// fields.
    pub fn parsed<T>(&self, key: &str) -> Result<Option<T>, CniError>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.text(key)? {
            None | Some("") => Ok(None),
            Some(text) => parse_text(&self.path_of(key), text).map(Some),
        }
    }

    /// Every key with its text, in order; `null` is left out.
    pub fn all_texts(&self) -> Result<Vec<(&'a str, &'a str)>, CniError> {
        let text = |(key, value): (&'a String, &'a Value)| match value {
            Value::String(text) => Ok((key.as_str(), text.as_str())),
            other => Err(mismatch(&self.path_of(key), "a text", other)),
        };
        self.map.iter().filter(|(_, value)| !value.is_null()).map(text).collect()
    }

    /// A list; a missing one is empty.
    pub fn list(&self, key: &str) -> Result<&'a [Value], CniError> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(mismatch(&self.path_of(key), "a list", other)),
        }
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, CniError> {
        let path = self.path_of(key);
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(mismatch(&format!("{path}[]"), "a text", other)),
        };
        self.list(key)?.iter().map(text).collect()
    }

    /// A list of objects.
    pub fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>, CniError> {
        let path = self.path_of(key);
        let object = |(index, value)| Fields::of(value, format!("{path}[{index}]"));
        self.list(key)?.iter().enumerate().map(object).collect()
    }

    /// An object.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>, CniError> {
        self.get(key).map(|value| Fields::of(value, self.path_of(key))).transpose()
    }
}

/// Reads `text`, which stands at `path`, as a `T`.
pub fn parse_text<T>(path: &str, text: &str) -> Result<T, CniError>
where
    T: FromStr,
    T::Err: Display,
{
    text.trim().parse().map_err(|error| CniError::config(format!("{path}: {text:?} cannot be read: {error}")))
}

/// The error for a value of the wrong kind.
pub fn mismatch(path: &str, expected: &str, found: &Value) -> CniError {
    let mut shown = found.to_string();
    if shown.len() > 60 {
        shown = format!("{}…", shown.chars().take(60).collect::<String>());
    }
    let place = if path.is_empty() { "the configuration" } else { path };
    CniError::config(format!("{place} must be {expected}, but is {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use serde_json::json;

    #[test]
    fn keys_match_in_any_case_and_the_exact_spelling_wins() {
        let value = json!({"HostPort": 8080, "MTU": 1, "mtu": 2, "HostIP": "", "x": null});
        let fields = Fields::of(&value, "").unwrap();
        assert_eq!(fields.number("hostPort", 65535).unwrap(), Some(8080));
        assert_eq!(fields.number("mtu", 65535).unwrap(), Some(2));
        assert_eq!(fields.parsed::<std::net::IpAddr>("hostIP").unwrap(), None);
        assert!(fields.get("X").is_none() && fields.has("X"));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_place() {
        let value = json!({"a": {"b": [{"c": "no"}]}});
        let a = Fields::of(&value, "").unwrap().object("a").unwrap().unwrap();
        let error = a.objects("B").unwrap()[0].number("c", 9).unwrap_err();
        assert_eq!(error.code, Code::CONFIG);
        assert_eq!(error.msg, "a.B[0].c must be a whole number from 0 to 9, but is \"no\"");
    }

    #[test]
    fn numbers_are_bounded_on_both_sides() {
        for (value, good) in
            [(json!(-1), false), (json!(4096), false), (json!(4095), true), (json!(1e2), true)]
        {
            let value = json!({"n": value});
            assert_eq!(Fields::of(&value, "").unwrap().number("n", 4095).is_ok(), good, "{value}");
        }
    }
}
