//! What the API server of the bench holds: objects as text, one version for all of them, and who watches.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use serde_json::Value;

/// A kind by its name in URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Node,
    Namespace,
    Pod,
    Service,
    EndpointSlice,
    NetworkPolicy,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Node, Self::Namespace, Self::Pod, Self::Service, Self::EndpointSlice, Self::NetworkPolicy];

    /// `apiVersion`, `kind` and the word of URLs.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Node => ("v1", "Node", "nodes"),
            Self::Namespace => ("v1", "Namespace", "namespaces"),
            Self::Pod => ("v1", "Pod", "pods"),
            Self::Service => ("v1", "Service", "services"),
            Self::EndpointSlice => ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
            Self::NetworkPolicy => ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        }
    }

    /// The kind of a path such as `/api/v1/namespaces/x/pods/y`, with the namespace and the name it speaks of.
    pub(super) fn of_path(path: &str) -> Option<(Self, Option<String>, Option<String>)> {
        let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
        let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = words.as_slice() else { return None };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (word, name) = match rest {
            [word] => (word, None),
            [word, name] => (word, Some((*name).to_owned())),
            _ => return None,
        };
        let kind = Self::ALL.into_iter().find(|kind| kind.words().2 == *word)?;
        Some((kind, namespace, name))
    }
}

/// Namespace (or nothing) and name.
type Name = (String, String);

/// One answer to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page(pub(super) String);

/// The objects, and those who want to hear of changes.
#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<Kind, BTreeMap<Name, String>>,
    /// Each change since the start: kind, version, the line of a watch.
    log: Vec<(Kind, u64, String)>,
    watchers: Vec<(Kind, Sender<String>)>,
}

impl Store {
    /// Adds or replaces an object and tells the watchers.
    pub(super) fn put(&mut self, kind: Kind, mut object: Value) {
        let (api_version, name, _) = kind.words();
        self.version += 1;
        object["apiVersion"] = api_version.into();
        object["kind"] = name.into();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let text = object.to_string();
        let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (of("namespace"), of("name"));
        let before = self.objects.entry(kind).or_default().insert(key, text.clone());
        let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let line = format!("{{\"type\":\"{what}\",\"object\":{text}}}\n");
        self.watchers.retain(|(of, watcher)| *of != kind || watcher.send(line.clone()).is_ok());
        self.log.push((kind, self.version, line));
    }

    /// Forgets past changes: who begins to watch from an older version is not served any more. Keeps memory small.
    pub(super) fn forget(&mut self) {
        self.log = Vec::new();
    }

    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&str> {
        self.objects.get(&kind)?.get(&(namespace.to_owned(), name.to_owned())).map(String::as_str)
    }

    /// A page of a list, from the object with this number on.
    pub(super) fn list(&self, kind: Kind, from: usize, limit: usize) -> Page {
        let (api_version, name, _) = kind.words();
        let none = BTreeMap::new();
        let all = self.objects.get(&kind).unwrap_or(&none);
        let items: Vec<&str> = all.values().skip(from).take(limit).map(String::as_str).collect();
        let next = from + items.len();
        let more = if next < all.len() { format!(",\"continue\":\"{next}\"") } else { String::new() };
        Page(format!(
            "{{\"apiVersion\":\"{api_version}\",\"kind\":\"{name}List\",\"metadata\":{{\"resourceVersion\":\"{}\"{more}}},\"items\":[{}]}}",
            self.version,
            items.join(",")
        ))
    }

    /// Tells this watcher of everything newer than a version, now and from now on.
    pub(super) fn watch(&mut self, kind: Kind, since: u64, watcher: Sender<String>) {
        let missed = self.log.iter().filter(|(of, version, _)| *of == kind && *version > since);
        if missed.map(|(_, _, line)| watcher.send(line.clone())).all(|sent| sent.is_ok()) {
            self.watchers.push((kind, watcher));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_names_its_kind_namespace_and_object() {
        let named = |text: &str| Some(text.to_owned());
        assert_eq!(Kind::of_path("/api/v1/pods"), Some((Kind::Pod, None, None)));
        assert_eq!(Kind::of_path("/api/v1/namespaces"), Some((Kind::Namespace, None, None)));
        assert_eq!(Kind::of_path("/api/v1/namespaces/a"), Some((Kind::Namespace, None, named("a"))));
        assert_eq!(
            Kind::of_path("/apis/networking.k8s.io/v1/namespaces/a/networkpolicies/b"),
            Some((Kind::NetworkPolicy, named("a"), named("b")))
        );
        assert_eq!(Kind::of_path("/version"), None);
    }

    #[test]
    fn a_list_comes_in_pages_and_a_watch_goes_on_where_it_ended() {
        let mut store = Store::default();
        for name in ["a", "b", "c"] {
            store.put(Kind::Pod, json!({"metadata": {"name": name, "namespace": "n"}}));
        }
        let page = |from| -> Value { serde_json::from_str(&store.list(Kind::Pod, from, 2).0).unwrap() };
        assert_eq!(page(0)["items"].as_array().unwrap().len(), 2);
        assert_eq!(page(0)["metadata"]["continue"], "2");
        assert_eq!(page(2)["items"][0]["metadata"]["name"], "c");
        assert_eq!(page(2)["metadata"]["continue"], Value::Null);
        let (sender, lines) = mpsc::channel();
        store.watch(Kind::Pod, 2, sender);
        store.put(Kind::Pod, json!({"metadata": {"name": "c", "namespace": "n"}}));
        store.put(Kind::Node, json!({"metadata": {"name": "other"}}));
        let told: Vec<String> = lines.try_iter().collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("ADDED") && told[1].contains("MODIFIED"), "{told:?}");
    }
}
