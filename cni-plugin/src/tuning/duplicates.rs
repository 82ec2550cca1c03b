//! The same sysctl twice in one JSON object. A map keeps only one of them, so the text is looked at once more.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::{CniError, Code};

/// Where sysctls stand in a configuration.
const PLACES: [&[&str]; 2] = [&["sysctl"], &["args", "cni", "sysctl"]];

/// Refuses a configuration that names a sysctl twice in one object.
pub(super) fn refuse(text: &[u8]) -> Result<(), CniError> {
    for path in PLACES {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        if let Err(reason) = (Walk { path }).deserialize(&mut deserializer) {
            return Err(error(&reason.to_string()));
        }
    }
    Ok(())
}

pub(super) fn error(details: &str) -> CniError {
    CniError::new(Code::CONFIG, "duplicated sysctl keys are not allowed").with_details(details)
}

/// Follows a path of keys, in any case, to an object whose keys must be different.
struct Walk {
    path: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            match self.path.split_first() {
                Some((wanted, rest)) if key.eq_ignore_ascii_case(wanted) => {
                    map.next_value_seed(Walk { path: rest })?;
                }
                Some(_) => {
                    map.next_value::<IgnoredAny>()?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    if let Some(twice) = seen.replace(key) {
                        return Err(A::Error::custom(format!("{twice:?} is there twice")));
                    }
                }
            }
        }
        Ok(())
    }

    // Of another kind than an object: told by whoever reads the value.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::refuse;

    #[test]
    fn a_sysctl_that_is_there_twice_is_named() {
        for text in [
            r#"{"sysctl":{"net.a":"1","net.b":"1","net.a":"2"}}"#,
            r#"{"x":[1,{"sysctl":{}}],"SysCtl":{"net.a":"1","net.a":"1"}}"#,
            r#"{"args":{"y":null,"cni":{"z":1.5,"sysctl":{"net.a":"1","net.a":"2"}}}}"#,
        ] {
            let error = refuse(text.as_bytes()).unwrap_err();
            assert_eq!(error.msg, "duplicated sysctl keys are not allowed");
            assert!(error.details.contains("net.a"), "{error}");
        }
    }

    #[test]
    fn other_keys_and_kinds_pass() {
        for text in [
            r#"{"sysctl":{"net.a":"1"},"args":{"cni":{"sysctl":{"net.a":"2"}}}}"#,
            r#"{"mtu":1,"mtu":2,"sysctl":null,"args":true}"#,
            r#"{"sysctl":["a","a"],"args":{"cni":-5}}"#,
        ] {
            assert!(refuse(text.as_bytes()).is_ok(), "{text}");
        }
    }
}
