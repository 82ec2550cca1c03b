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

/// Which objects of a kind a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Those of this namespace.
    pub(super) namespace: Option<String>,
    /// Those with these labels.
    pub(super) labels: Vec<(String, String)>,
}

impl Filter {
    /// A label selector as URLs have it. What is no `key=value` admits everything.
    pub(super) fn labels_of(selector: &str) -> Vec<(String, String)> {
        let selector = selector.replace("%3D", "=").replace("%2F", "/").replace("%2C", ",");
        let terms = selector.split(',').filter(|term| !term.contains('!'));
        let pairs = terms.filter_map(|term| term.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.trim_start_matches('=').to_owned())).collect()
    }

    fn admits(&self, (namespace, _): &Name, text: &str) -> bool {
        if self.namespace.as_ref().is_some_and(|wanted| wanted != namespace) {
            return false;
        }
        if self.labels.is_empty() {
            return true;
        }
        let object: Value = serde_json::from_str(text).unwrap_or_default();
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|(key, value)| labels[key.as_str()] == value.as_str())
    }
}

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
    pub(super) fn list(&self, kind: Kind, filter: &Filter, from: usize, limit: usize) -> Page {
        let (api_version, name, _) = kind.words();
        let none = BTreeMap::new();
        let all = self.objects.get(&kind).unwrap_or(&none);
        let admitted = all.iter().filter(|(name, text)| filter.admits(name, text)).skip(from);
        let mut items: Vec<&str> =
            admitted.take(limit.saturating_add(1)).map(|(_, text)| text.as_str()).collect();
        let is_more = items.len() > limit;
        items.truncate(limit);
        let next = from + items.len();
        let more = if is_more { format!(",\"continue\":\"{next}\"") } else { String::new() };
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
    fn a_list_shows_a_namespace_and_what_has_the_labels_that_are_asked_for() {
        let mut store = Store::default();
        for (namespace, name, app) in [("a", "x", "dns"), ("a", "y", "web"), ("b", "z", "dns")] {
            let metadata = json!({"name": name, "namespace": namespace, "labels": {"k8s-app": app}});
            store.put(Kind::Service, json!({"metadata": metadata}));
        }
        let shown = |namespace: Option<&str>, selector: &str| -> usize {
            let labels = Filter::labels_of(selector);
            let filter = Filter { namespace: namespace.map(str::to_owned), labels };
            let page: Value = serde_json::from_str(&store.list(Kind::Service, &filter, 0, 10).0).unwrap();
            page["items"].as_array().unwrap().len()
        };
        assert_eq!(shown(None, ""), 3);
        assert_eq!(shown(Some("a"), ""), 2);
        assert_eq!(shown(Some("a"), "k8s-app%3Ddns"), 1);
        assert_eq!(shown(None, "!service.kubernetes.io%2Fheadless"), 3, "what is not understood admits all");
    }

    #[test]
    fn a_list_comes_in_pages_and_a_watch_goes_on_where_it_ended() {
        let mut store = Store::default();
        for name in ["a", "b", "c"] {
            store.put(Kind::Pod, json!({"metadata": {"name": name, "namespace": "n"}}));
        }
        let page = |from| -> Value {
            serde_json::from_str(&store.list(Kind::Pod, &Filter::default(), from, 2).0).unwrap()
        };
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
