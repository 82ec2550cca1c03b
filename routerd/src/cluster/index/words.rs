//! Texts that many objects have in common, each in memory once.

use std::collections::BTreeSet;

use super::super::name::Word;
use super::super::objects::{EndpointSlice, ObjectName, Service};
use super::{Index, Object};

/// The fewest texts for which it is worth to look whether they are still in use.
const MANY: usize = 1024;

/// The texts that were asked for.
#[derive(Debug, Default)]
pub(super) struct Words {
    known: BTreeSet<Word>,
    /// How many there were when those that nobody used any more were last let go.
    swept: usize,
}

impl Words {
    /// Puts the text that is known in the place of one that is equal.
    pub(super) fn share(&mut self, word: &mut Word) {
        if let Some(known) = self.known.get(word) {
            word.clone_from(known);
            return;
        }
        if self.known.len() > 2 * self.swept.max(MANY) {
            self.known.retain(|word| !word.is_alone());
            self.swept = self.known.len();
        }
        self.known.insert(word.clone());
    }
}

impl Index {
    /// The same object, in which what others have as well is theirs: a Service and its EndpointSlices name each other, their ports
    /// have few names, and endpoints run on few nodes.
    pub(super) fn shared(&mut self, mut object: Object) -> Object {
        match &mut object {
            Object::Service(Service { name, ports, .. }) => {
                let known = self.services.get_key_value(name).map(|(known, _)| known);
                share(
                    name,
                    known.or_else(|| self.slices_of_service.get_key_value(name).map(|(known, _)| known)),
                );
                for port in ports {
                    self.words.share(&mut port.name);
                }
            }
            Object::EndpointSlice(EndpointSlice { name, service, ports, endpoints, .. }) => {
                share(name, self.slices.get_key_value(name).map(|(known, _)| known));
                if let Some(name) = service {
                    share(name, self.services.get_key_value(name).map(|(known, _)| known));
                }
                let nodes = endpoints.iter_mut().filter_map(|endpoint| endpoint.node.as_mut());
                let words = ports.iter_mut().map(|port| &mut port.name).chain(nodes);
                words.for_each(|word| self.words.share(word));
            }
            _ => {}
        }
        object
    }
}

fn share(name: &mut ObjectName, known: Option<&ObjectName>) {
    if let Some(known) = known {
        name.clone_from(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_in_memory_once_and_no_longer_than_it_is_used() {
        let mut words = Words::default();
        let mut used: Vec<Word> = (0..10).map(|number| Word::from(format!("n{}", number % 2))).collect();
        for word in &mut used {
            words.share(word);
        }
        assert!(std::ptr::eq(used[0].as_str(), used[8].as_str()));
        for number in 0..3 * MANY {
            words.share(&mut Word::from(format!("gone{number}")));
        }
        assert!(words.known.len() <= 2 * MANY && words.known.contains("n1"), "{}", words.known.len());
    }
}
