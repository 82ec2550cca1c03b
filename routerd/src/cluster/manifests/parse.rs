//! From the text of a file to objects: documents, lists, kinds, fields.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::objects::{NetworkPolicy, ObjectName, PolicyRule};
use super::super::wire::{
    Converted, FieldProblem, Wire, WireNamespace, WireNode, WirePod, WirePolicy, WireService, WireSlice,
};
use super::super::{Kind, Object, ObjectKey};

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// The objects that can be used.
    pub(super) objects: Vec<Object>,
    /// Objects that are named and cannot be read; what was known of them before stays.
    pub(super) unreadable: Vec<ObjectKey>,
    /// True if a document could not be read as YAML, or does not name its object, so that any object of the file may be in it.
    pub(super) broken: bool,
    /// Documents with a name and a kind or version that is not read.
    pub(super) strangers: BTreeSet<Stranger>,
    /// What is wrong: where (document, object) and what (field, reason).
    pub(super) problems: Vec<(String, String)>,
}

/// A document of a kind or version that is not read. It belongs to another program, or is one of ours with a slip in these
/// fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stranger {
    /// Its kind and version, as it has them.
    pub(super) title: String,
    /// Its name; one without a namespace may also be outside of all of them.
    pub(super) name: ObjectName,
}

impl Stranger {
    fn of(value: &Value) -> Option<Self> {
        let field = |name: &str| value.get(name).map_or_else(|| "none".to_owned(), Value::to_string);
        let (namespace, name) = name_of(value)?;
        let title = format!("kind {} and apiVersion {}", field("kind"), field("apiVersion"));
        Some(Self { title, name: ObjectName::new(namespace.unwrap_or("default"), name) })
    }

    /// True if the object has this name.
    pub(super) fn is_called_as(&self, key: &ObjectKey) -> bool {
        match key {
            ObjectKey::Node(name) | ObjectKey::Namespace(name) => *name == *self.name.name,
            ObjectKey::Pod(name)
            | ObjectKey::Service(name)
            | ObjectKey::EndpointSlice(name)
            | ObjectKey::NetworkPolicy(name) => *name == self.name,
        }
    }
}

/// Reads the text of a file.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (number, (first_line, document)) in documents(text).into_iter().enumerate() {
        let place = format!("document {}", number + 1);
        if let Ok(value) = serde_saphyr::from_str::<Value>(&document) {
            parsed.take(&place, value);
        } else {
            parsed.broken = true;
            parsed.problems.push((place, yaml_message(&document, first_line)));
        }
    }
    parsed
}

/// The documents of a file with the line each begins at, without those that hold nothing. They are told apart by the
/// lines that begin with `---`, as kubectl does, so that one broken document does not hide the next.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        let marker =
            line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']));
        if let Some(rest) = marker {
            documents.push((index + 1, format!("{}\n", rest.trim())));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let something = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|(_, document)| document.lines().any(something));
    documents
}

/// Why a document is no YAML, in one line. It is read again behind so many empty lines that the line numbers of the
/// message are those of the file.
fn yaml_message(document: &str, first_line: usize) -> String {
    let padded = "\n".repeat(first_line - 1) + document;
    let Err(error) = serde_saphyr::from_str::<Value>(&padded) else { return "not valid YAML".to_owned() };
    let error = error.without_snippet();
    let text = error.to_string().lines().next().unwrap_or_default().to_owned();
    match error.location() {
        Some(location) => format!("line {}: not valid YAML: {text}", location.line()),
        None => format!("not valid YAML: {text}"),
    }
}

impl Parsed {
    fn take(&mut self, place: &str, value: Value) {
        if value.is_null() {
            return;
        }
        let Some(kind) = value.get("kind").and_then(Value::as_str) else {
            self.problem(place, "kind: it is missing; every object names its kind");
            return self.not_ours(&value, true);
        };
        if kind.ends_with("List") {
            return self.take_list(place, value);
        }
        let place = place_of(place, kind, &value);
        // Other kinds belong to other programs; a folder of ordinary manifests has them.
        let Some(kind) = Kind::of_name(kind) else { return self.not_ours(&value, false) };
        if let Some(problem) = wrong_version(kind, &value) {
            self.problem(&place, problem);
            return self.not_ours(&value, true);
        }
        if let Some(problem) = wrong_name(&value) {
            self.problem(&place, problem);
            // It may be any of the file.
            self.broken = true;
            return;
        }
        self.take_object(&place, kind, value);
    }

    /// Notes a document of a kind or version that is not read; `ours` if it is most likely a slip.
    fn not_ours(&mut self, value: &Value, ours: bool) {
        match Stranger::of(value) {
            Some(stranger) => drop(self.strangers.insert(stranger)),
            None => self.broken |= ours,
        }
    }

    fn take_list(&mut self, place: &str, mut value: Value) {
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => {
                for (index, item) in items.into_iter().enumerate() {
                    self.take(&format!("{place} item {}", index + 1), item);
                }
            }
            Some(Value::Null) | None => {}
            Some(_) => {
                self.problem(place, "items: it is not a list");
                self.broken = true;
            }
        }
    }

    fn take_object(&mut self, place: &str, kind: Kind, value: Value) {
        let key = key_of(kind, &value);
        let closed = (kind == Kind::NetworkPolicy).then(|| isolating(&value)).flatten();
        let converted = match kind {
            Kind::Node => read::<WireNode>(value),
            Kind::Namespace => read::<WireNamespace>(value),
            Kind::Pod => read::<WirePod>(value),
            Kind::Service => read::<WireService>(value),
            Kind::EndpointSlice => read::<WireSlice>(value),
            Kind::NetworkPolicy => read::<WirePolicy>(value),
        };
        match converted {
            Ok(converted) => {
                if converted.object.is_none() {
                    self.unreadable.extend(key);
                }
                self.objects.extend(converted.object);
                self.problems
                    .extend(converted.problems.iter().map(|problem| (place.to_owned(), problem.to_string())));
            }
            Err(problem) => {
                self.problem(place, format!("{problem}; the object stays as it was before"));
                self.unreadable.extend(key);
                // Used only if there is no earlier version: an unread policy must not leave its pods open.
                self.objects.extend(closed.map(|policy| {
                    Object::NetworkPolicy(NetworkPolicy { invalid: Some(problem.to_string()), ..policy })
                }));
            }
        }
    }

    fn problem(&mut self, place: &str, message: impl Into<String>) {
        self.problems.push((place.to_owned(), message.into()));
    }
}

fn read<T: Wire + DeserializeOwned>(value: Value) -> Result<Converted, FieldProblem> {
    let wire: T = serde_path_to_error::deserialize(value).map_err(|error| FieldProblem {
        field: error.path().to_string(),
        message: error.inner().to_string(),
    })?;
    Ok(wire.convert())
}

/// Where an object is in its file, for people.
fn place_of(place: &str, kind: &str, value: &Value) -> String {
    let namespaced = Kind::of_name(kind).is_some_and(Kind::is_namespaced);
    match name_of(value) {
        Some((Some(namespace), name)) => format!("{place}, {kind} {namespace}/{name}"),
        Some((None, name)) if namespaced && wrong_name(value).is_none() => {
            format!("{place}, {kind} default/{name}")
        }
        Some((None, name)) => format!("{place}, {kind} {name}"),
        None => format!("{place}, {kind}"),
    }
}

/// What is wrong with the version of a kind that is read.
fn wrong_version(kind: Kind, value: &Value) -> Option<String> {
    match value.get("apiVersion") {
        Some(Value::String(version)) if version == kind.api_version() => None,
        Some(version) => Some(format!("apiVersion: {version} is not read; write {}", kind.api_version())),
        None => Some(format!("apiVersion: it is missing; write {}", kind.api_version())),
    }
}

/// What is wrong with what tells the object from others. Kubernetes reads YAML 1.1, where `y` and `no` are true and false.
fn wrong_name(value: &Value) -> Option<String> {
    let field = |name: &str| value.get("metadata").and_then(|metadata| metadata.get(name));
    match (field("name"), field("namespace")) {
        (Some(Value::String(name)), _) if name.is_empty() => Some("metadata.name: it is empty".to_owned()),
        (Some(Value::String(_)), None | Some(Value::Null | Value::String(_))) => None,
        (Some(Value::String(_)), Some(other)) => {
            Some(format!("metadata.namespace: {other} is not text; put it in quotes"))
        }
        (None | Some(Value::Null), _) => Some("metadata.name: it is missing".to_owned()),
        (Some(other), _) => Some(format!("metadata.name: {other} is not text; put it in quotes")),
    }
}

fn name_of(value: &Value) -> Option<(Option<&str>, &str)> {
    let metadata = value.get("metadata")?;
    let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
    Some((metadata.get("namespace").and_then(Value::as_str), name))
}

fn key_of(kind: Kind, value: &Value) -> Option<ObjectKey> {
    let (namespace, name) = name_of(value)?;
    let namespaced = || ObjectName::new(namespace.unwrap_or("default"), name);
    Some(match kind {
        Kind::Node => ObjectKey::Node(name.to_owned()),
        Kind::Namespace => ObjectKey::Namespace(name.to_owned()),
        Kind::Pod => ObjectKey::Pod(namespaced()),
        Kind::Service => ObjectKey::Service(namespaced()),
        Kind::EndpointSlice => ObjectKey::EndpointSlice(namespaced()),
        Kind::NetworkPolicy => ObjectKey::NetworkPolicy(namespaced()),
    })
}

/// The policy that isolates what a policy selects, in the directions it speaks of, whose metadata cannot be read. Its
/// spec is read for itself.
fn isolating(value: &Value) -> Option<NetworkPolicy> {
    let (namespace, name) = name_of(value)?;
    let spec = value.get("spec").unwrap_or(&Value::Null);
    let alone = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    let Object::NetworkPolicy(policy) = read::<WirePolicy>(alone).ok()?.object? else { return None };
    let closed = |rules: Option<Vec<PolicyRule>>| rules.map(|_| Vec::new());
    Some(NetworkPolicy { ingress: closed(policy.ingress), egress: closed(policy.egress), ..policy })
}
