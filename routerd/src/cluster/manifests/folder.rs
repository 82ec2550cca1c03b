//! The objects of a folder: those of its files put together, and what a changed file changes in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::objects::Labels;
use super::super::wire::namespace;
use super::super::{Event, Kind, Object, ObjectKey};
use super::parse::{Parsed, Stranger, parse};

type Objects = BTreeMap<ObjectKey, Arc<Object>>;

/// What a file gave, the last time it could be read.
#[derive(Debug, Default)]
struct File {
    objects: Objects,
    /// What is there of other programs: it has taken the place of no object.
    foreign: BTreeSet<Stranger>,
    problems: Vec<(String, String)>,
}

/// The files of a folder by name. What a changed file costs follows that file and not the folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<Arc<str>, File>,
    /// The files that have an object. The first by name is used.
    holders: BTreeMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// Objects that more than one file has.
    shared: BTreeSet<ObjectKey>,
    /// How many objects are in a namespace.
    members: BTreeMap<String, usize>,
    /// What [`Folder::changes`] has told.
    merged: Objects,
    /// What may have changed since.
    touched: BTreeSet<ObjectKey>,
}

impl Folder {
    /// Takes in the content of the file `name`, or why it cannot be read. Objects that cannot be read any more stay as
    /// they were: a slip of the editor must not take a Service or a policy away.
    pub(super) fn load(&mut self, name: &str, content: Result<String, String>) {
        let mut file = self.files.remove(name).unwrap_or_default();
        match content {
            Ok(text) => {
                let before = file.take(parse(&text));
                self.note(&Arc::from(name), &before, &file.objects);
            }
            Err(error) => {
                file.problems =
                    vec![(String::new(), format!("{error}; its objects stay as they were before"))];
            }
        }
        self.files.insert(Arc::from(name), file);
    }

    /// The file is gone, and its objects with it.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(file) = self.files.remove(name) {
            self.note(&Arc::from(name), &file.objects, &Objects::new());
        }
    }

    /// Notes that the file `name` had the objects `before` and has those of `after`.
    fn note(&mut self, name: &Arc<str>, before: &Objects, after: &Objects) {
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            let holders = self.holders.entry(key.clone()).or_default();
            holders.remove(name);
            if holders.len() < 2 {
                self.shared.remove(key);
            }
            if holders.is_empty() {
                self.holders.remove(key);
                self.count(key, false);
            }
            self.touched.insert(key.clone());
        }
        for (key, object) in after {
            if before.get(key) == Some(object) {
                continue;
            }
            self.touched.insert(key.clone());
            let holders = self.holders.entry(key.clone()).or_default();
            let first = holders.is_empty();
            holders.insert(Arc::clone(name));
            if holders.len() > 1 {
                self.shared.insert(key.clone());
            }
            if first {
                self.count(key, true);
            }
        }
    }

    /// Counts an object into its namespace or out of it.
    fn count(&mut self, key: &ObjectKey, more: bool) {
        let Some(namespace) = namespace_of(key) else { return };
        let count = self.members.entry(namespace.clone()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.members.remove(&namespace);
        }
        self.touched.insert(ObjectKey::Namespace(namespace));
    }

    /// The names of the files.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.files.keys().map(ToString::to_string).collect()
    }

    /// What changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let new = self.object(&key);
            if self.merged.get(&key) == new.as_ref() {
                continue;
            }
            if let Some(object) = new {
                events.push(Event::Upsert(Object::clone(&object)));
                self.merged.insert(key, object);
            } else {
                self.merged.remove(&key);
                events.push(Event::Delete(key));
            }
        }
        events
    }

    /// The object as the folder has it.
    fn object(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        if let Some(first) = self.holders.get(key).and_then(BTreeSet::first) {
            return self.files.get(first)?.objects.get(key).cloned();
        }
        match key {
            // Nobody wrote this namespace down; an API server would not have let it be missing.
            ObjectKey::Namespace(name) if self.members.contains_key(name) => {
                Some(Arc::new(Object::Namespace(namespace(name, Labels::new()))))
            }
            _ => None,
        }
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
                let item = if place.is_empty() { name.to_string() } else { format!("{name} {place}") };
                all.push((item, message.clone()));
            }
        }
        for key in &self.shared {
            let mut holders = self.holders.get(key).into_iter().flatten();
            if let Some(first) = holders.next() {
                let message = format!("the object is in {first} too, and that one is used");
                all.extend(holders.map(|other| (format!("{other} {key}"), message.clone())));
            }
        }
        all
    }
}

impl File {
    /// Takes in what was read and returns the objects of before.
    fn take(&mut self, parsed: Parsed) -> Objects {
        let before = std::mem::take(&mut self.objects);
        self.problems = parsed.problems;
        let unreadable: BTreeSet<ObjectKey> = parsed.unreadable.into_iter().collect();
        let read: BTreeSet<ObjectKey> = parsed.objects.iter().map(Object::key).collect();
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
        self.keep_behind(parsed.strangers, &before, &read);
        for (key, object) in &before {
            if parsed.broken || unreadable.contains(key) {
                self.objects.entry(key.clone()).or_insert_with(|| Arc::clone(object));
            }
        }
        if parsed.broken && !self.objects.is_empty() {
            let message = "objects of the file that are not read any more stay as they were before";
            self.problems.push((String::new(), message.to_owned()));
        }
        before
    }

    /// Keeps the objects in whose places there are strangers now: a slip in the kind or the version must not take them away. A
    /// stranger that was there beside the object is none of these, so that the object can be removed from beside it.
    fn keep_behind(&mut self, strangers: BTreeSet<Stranger>, before: &Objects, read: &BTreeSet<ObjectKey>) {
        let known = std::mem::take(&mut self.foreign);
        for stranger in strangers {
            let replaced = |key: &&ObjectKey| !read.contains(*key) && stranger.is_called_as(key);
            let replaced: Vec<&ObjectKey> = before.keys().filter(replaced).collect();
            if replaced.is_empty() || known.contains(&stranger) {
                self.foreign.insert(stranger);
                continue;
            }
            for key in replaced {
                self.objects.extend(before.get(key).map(|object| (key.clone(), Arc::clone(object))));
                let message = format!(
                    "the file has this name with {} now, which is not read; the object stays as it was before. If it is to go, write the other into another file",
                    stranger.title
                );
                self.problems.push((key.to_string(), message));
            }
        }
    }
}

fn is_sound(object: &Object) -> bool {
    !matches!(object, Object::NetworkPolicy(policy) if policy.invalid.is_some())
}

/// The namespace that an object is in.
fn namespace_of(key: &ObjectKey) -> Option<String> {
    match key {
        ObjectKey::Node(_) | ObjectKey::Namespace(_) => None,
        ObjectKey::Pod(name)
        | ObjectKey::Service(name)
        | ObjectKey::EndpointSlice(name)
        | ObjectKey::NetworkPolicy(name) => Some(name.namespace.to_string()),
    }
}
