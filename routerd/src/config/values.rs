//! The values of all flags, as given or by default.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prefix::Prefix;

use super::kind::{Kind, Value};
use super::table::{Effect, Flag, find};
use super::{ConfigErrors, FlagError};

/// A value for every flag of the table.
#[derive(Debug, Default)]
pub struct Values {
    values: BTreeMap<&'static str, Vec<Value>>,
    changed: BTreeSet<&'static str>,
}

impl Values {
    /// Sets `flag` to what was given for it (each time it was given), or to its default.
    pub(super) fn set(
        &mut self,
        flag: &'static Flag,
        given: Option<&[&String]>,
    ) -> Result<(), Vec<FlagError>> {
        let default = parse(flag, flag.default)?;
        let values = match given {
            None => default.clone(),
            Some(texts) if flag.kind.is_list() => {
                let mut items = Vec::new();
                for text in texts {
                    items.extend(parse(flag, text)?);
                }
                items
            }
            Some(texts) => parse(flag, texts.last().map_or(flag.default, |text| text.as_str()))?,
        };
        if values != default {
            self.changed.insert(flag.name);
        }
        self.values.insert(flag.name, values);
        Ok(())
    }

    /// The flags that were set to another value than their default although they have no effect.
    pub fn without_effect(&self) -> Vec<&'static Flag> {
        let flags = self.changed.iter().filter_map(|name| find(name));
        flags.filter(|flag| flag.effect != Effect::Works).collect()
    }

    fn first<T>(&self, name: &str, pick: impl Fn(&Value) -> Option<T>) -> Result<T, ConfigErrors> {
        let value = self.values.get(name).and_then(|values| values.first());
        value
            .and_then(pick)
            .ok_or_else(|| ConfigErrors(vec![FlagError::NotInTable { flag: name.to_owned() }]))
    }

    fn all<T>(&self, name: &str, pick: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, ConfigErrors> {
        let values = self.values.get(name);
        let values =
            values.ok_or_else(|| ConfigErrors(vec![FlagError::NotInTable { flag: name.to_owned() }]))?;
        Ok(values.iter().filter_map(pick).collect())
    }

    /// A flag of [`Kind::Bool`].
    pub fn bool(&self, name: &str) -> Result<bool, ConfigErrors> {
        self.first(name, |value| if let Value::Bool(value) = value { Some(*value) } else { None })
    }

    /// A flag of a number kind. Its range in the table must fit `T`.
    pub fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<T, ConfigErrors> {
        self.first(
            name,
            |value| if let Value::Number(value) = value { T::try_from(*value).ok() } else { None },
        )
    }

    /// A flag of [`Kind::Duration`].
    pub fn duration(&self, name: &str) -> Result<Duration, ConfigErrors> {
        self.first(name, |value| if let Value::Duration(value) = value { Some(*value) } else { None })
    }

    /// A flag of a text kind.
    pub fn text(&self, name: &str) -> Result<String, ConfigErrors> {
        self.first(name, |value| if let Value::Text(value) = value { Some(value.clone()) } else { None })
    }

    /// A flag of [`Kind::Address`]; `None` if it is empty.
    pub fn address(&self, name: &str) -> Result<Option<IpAddr>, ConfigErrors> {
        self.first(name, |value| match value {
            Value::Address(address) => Some(Some(*address)),
            Value::Text(_) => Some(None),
            _ => None,
        })
    }

    /// A flag of [`Kind::Socket`]; `None` if it is empty.
    pub fn socket(&self, name: &str) -> Result<Option<SocketAddr>, ConfigErrors> {
        self.first(name, |value| match value {
            Value::Socket(socket) => Some(Some(*socket)),
            Value::Text(_) => Some(None),
            _ => None,
        })
    }

    /// A flag of [`Kind::PortRange`].
    pub fn port_range(&self, name: &str) -> Result<(u16, u16), ConfigErrors> {
        self.first(
            name,
            |value| if let Value::PortRange(low, high) = value { Some((*low, *high)) } else { None },
        )
    }

    /// A flag of [`Kind::Prefixes`].
    pub fn prefixes(&self, name: &str) -> Result<Vec<Prefix>, ConfigErrors> {
        self.all(name, |value| if let Value::Prefix(value) = value { Some(*value) } else { None })
    }

    /// A flag of [`Kind::Addresses`].
    pub fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ConfigErrors> {
        self.all(name, |value| if let Value::Address(value) = value { Some(*value) } else { None })
    }

    /// A flag of [`Kind::Numbers`]. Its range in the table must fit `T`.
    pub fn numbers<T: TryFrom<u64>>(&self, name: &str) -> Result<Vec<T>, ConfigErrors> {
        self.all(name, |value| if let Value::Number(value) = value { T::try_from(*value).ok() } else { None })
    }

    /// A flag of [`Kind::Texts`].
    pub fn texts(&self, name: &str) -> Result<Vec<String>, ConfigErrors> {
        self.all(name, |value| if let Value::Text(value) = value { Some(value.clone()) } else { None })
    }
}

fn parse(flag: &Flag, text: &str) -> Result<Vec<Value>, Vec<FlagError>> {
    let items: Vec<&str> = match flag.kind.is_list() {
        false => vec![text],
        true if text.is_empty() => Vec::new(),
        true => text.split(',').map(str::trim).collect(),
    };
    let mut values = Vec::new();
    let mut errors = Vec::new();
    for item in items {
        match flag.kind.parse(item) {
            Ok(value) => values.push(value),
            Err(reason) => errors.push(FlagError::Value {
                flag: flag.name,
                // What may be a secret is not repeated.
                value: if flag.kind == Kind::Texts { "…".to_owned() } else { item.to_owned() },
                reason,
                allowed: flag.kind.allowed(),
            }),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}
