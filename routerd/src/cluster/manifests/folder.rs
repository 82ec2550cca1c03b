//! The objects of a folder: those of its files put together, and what a changed file changes in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::objects::Labels;
use super::super::wire::namespace;
use super::super::{Event, Kind, Object, ObjectKey};
use super::parse::{Parsed, parse};

type Objects = BTreeMap<ObjectKey, Arc<Object>>;

/// What a file gave, the last time it could be read.
#[derive(Debug, Default)]
struct File {
    objects: Objects,
    problems: Vec<(String, String)>,
}

/// The files of a folder by name.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<String, File>,
    merged: Objects,
    duplicates: Vec<(String, String)>,
}

impl Folder {
    /// Takes in the content of the file `name`, or why it cannot be read. Objects that cannot be read any more stay as
    /// they were: a slip of the editor must not take a Service or a policy away.
    pub(super) fn load(&mut self, name: &str, content: Result<String, String>) {
        let file = self.files.entry(name.to_owned()).or_default();
        match content {
            Ok(text) => file.take(parse(&text)),
            Err(error) => {
                file.problems =
                    vec![(String::new(), format!("{error}; its objects stay as they were before"))];
            }
        }
    }

    /// The file is gone, and its objects with it.
    pub(super) fn remove(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// The names of the files.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.files.keys().cloned().collect()
    }

    /// Puts the files together and says what changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Event> {
        let new = self.merge();
        let old = std::mem::take(&mut self.merged);
        let differs =
            |key: &ObjectKey, object: &Arc<Object>| old.get(key).is_none_or(|before| before != object);
        let upserts = new.iter().filter(|(key, object)| differs(key, object));
        let mut events: Vec<Event> =
            upserts.map(|(_, object)| Event::Upsert(Object::clone(object))).collect();
        let gone = old.keys().filter(|key| !new.contains_key(key));
        events.extend(gone.cloned().map(Event::Delete));
        self.merged = new;
        events
    }

    /// Everything there is of `kind`, as of the last [`Folder::changes`].
    pub(super) fn objects(&self, kind: Kind) -> Vec<Object> {
        let of_kind = self.merged.iter().filter(|(key, _)| key.kind() == kind);
        of_kind.map(|(_, object)| Object::clone(object)).collect()
    }

    /// Everything that is wrong: file and place in it, and what.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (name, file) in &self.files {
            for (place, message) in &file.problems {
                let item = if place.is_empty() { name.clone() } else { format!("{name} {place}") };
                all.push((item, message.clone()));
            }
        }
        all.extend(self.duplicates.iter().cloned());
        all
    }

    fn merge(&mut self) -> Objects {
        let mut merged = Objects::new();
        let mut origin: BTreeMap<&ObjectKey, &String> = BTreeMap::new();
        self.duplicates.clear();
        for (name, file) in &self.files {
            for (key, object) in &file.objects {
                match origin.get(key) {
                    None => {
                        merged.insert(key.clone(), Arc::clone(object));
                        origin.insert(key, name);
                    }
                    Some(first) => self.duplicates.push((
                        format!("{name} {key}"),
                        format!("the object is in {first} too, and that one is used"),
                    )),
                }
            }
        }
        add_namespaces(&mut merged);
        merged
    }
}

impl File {
    fn take(&mut self, parsed: Parsed) {
        let before = std::mem::take(&mut self.objects);
        self.problems = parsed.problems;
        let unreadable: BTreeSet<ObjectKey> = parsed.unreadable.into_iter().collect();
        for object in parsed.objects {
            let key = object.key();
            // The closed stand-in for a policy that cannot be read is only for one that was never read.
            if unreadable.contains(&key) && before.get(&key).is_some_and(|object| is_sound(object)) {
                continue;
            }
            if self.objects.contains_key(&key) {
                self.problems.push((
                    key.to_string(),
                    "the object is in this file twice; the first is used".to_owned(),
                ));
                continue;
            }
            self.objects.insert(key, Arc::new(object));
        }
        for (key, object) in before {
            if parsed.broken || unreadable.contains(&key) {
                self.objects.entry(key).or_insert(object);
            }
        }
        if parsed.broken && !self.objects.is_empty() {
            let message = "objects of the file that are not read any more stay as they were before";
            self.problems.push((String::new(), message.to_owned()));
        }
    }
}

fn is_sound(object: &Object) -> bool {
    !matches!(object, Object::NetworkPolicy(policy) if policy.invalid.is_some())
}

/// Namespaces that objects are in and nobody wrote down: an API server would not have let them be missing.
fn add_namespaces(objects: &mut Objects) {
    let named: BTreeSet<String> = objects.keys().filter_map(namespace_of).collect();
    for name in named {
        let key = ObjectKey::Namespace(name.clone());
        objects.entry(key).or_insert_with(|| Arc::new(Object::Namespace(namespace(&name, Labels::new()))));
    }
}

fn namespace_of(key: &ObjectKey) -> Option<String> {
    match key {
        ObjectKey::Node(_) | ObjectKey::Namespace(_) => None,
        ObjectKey::Pod(name)
        | ObjectKey::Service(name)
        | ObjectKey::EndpointSlice(name)
        | ObjectKey::NetworkPolicy(name) => Some(name.namespace.clone()),
    }
}
