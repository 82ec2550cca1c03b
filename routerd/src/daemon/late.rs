//! A plane whose way to the kernel is opened when it is first needed, and again after it broke: a module that is loaded
//! later is found, and a mistake in one plane ends neither its thread nor the daemon.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::ruleset::Ruleset;
use crate::runner::{Apply, Problem, Report, Scope};

/// An [`Apply`] that `open` makes when it is needed.
pub(super) struct Late<A, F> {
    name: &'static str,
    open: F,
    opened: Option<A>,
}

impl<A, F, E> Late<A, F>
where
    A: Apply,
    F: FnMut() -> Result<A, E> + Send + 'static,
    E: std::fmt::Display,
{
    /// A plane called `name`.
    pub(super) fn new(name: &'static str, open: F) -> Self {
        Self { name, open, opened: None }
    }

    fn broken(&self, message: String) -> Report {
        let problem = Problem { item: self.name.to_owned(), message, retry: true };
        Report { problems: vec![problem], ..Report::default() }
    }
}

impl<A, F, E> Apply for Late<A, F>
where
    A: Apply,
    F: FnMut() -> Result<A, E> + Send + 'static,
    E: std::fmt::Display + 'static,
{
    type Key = A::Key;
    type Value = A::Value;

    fn apply(&mut self, desired: &BTreeMap<A::Key, A::Value>, scope: &Scope<A::Key>) -> Report {
        let report = self.guarded(scope, |opened, scope| Some(opened.apply(desired, scope)));
        report.unwrap_or_default()
    }

    fn early(&mut self, desired: &BTreeMap<A::Key, A::Value>) -> Report {
        let report = self.guarded(&Scope::Everything, |opened, _| Some(opened.early(desired)));
        report.unwrap_or_default()
    }

    fn look(&mut self, desired: &BTreeMap<A::Key, A::Value>, hurried: &dyn Fn() -> bool) -> Option<Report> {
        if self.opened.is_none() {
            return Some(self.apply(desired, &Scope::Everything));
        }
        self.guarded(&Scope::Everything, |opened, _| opened.look(desired, hurried))
    }

    fn tend(&mut self, desired: &BTreeMap<A::Key, A::Value>) -> Option<Report> {
        self.opened.as_ref()?;
        self.guarded(&Scope::Everything, |opened, _| opened.tend(desired))
    }

    fn tend_after(&self) -> Option<Duration> {
        self.opened.as_ref().and_then(Apply::tend_after)
    }

    fn item(&self, key: &A::Key) -> Option<String> {
        self.opened.as_ref().and_then(|opened| opened.item(key))
    }

    fn wanted(&self) -> Option<Ruleset> {
        self.opened.as_ref().and_then(Apply::wanted)
    }
}

impl<A, F, E> Late<A, F>
where
    A: Apply,
    F: FnMut() -> Result<A, E> + Send + 'static,
    E: std::fmt::Display + 'static,
{
    /// Calls the plane, opened if it has to be; a panic of it is a problem.
    fn guarded(
        &mut self,
        scope: &Scope<A::Key>,
        call: impl FnOnce(&mut A, &Scope<A::Key>) -> Option<Report>,
    ) -> Option<Report> {
        // One that has just been opened knows nothing of what is there.
        let (mut opened, scope) = match self.opened.take() {
            Some(opened) => (opened, scope),
            None => match (self.open)() {
                Ok(opened) => (opened, &Scope::Everything),
                Err(error) => {
                    return Some(self.broken(format!("the plane cannot start: {error}; it is tried again")));
                }
            },
        };
        match catch_unwind(AssertUnwindSafe(|| call(&mut opened, scope))) {
            Ok(report) => {
                self.opened = Some(opened);
                report
            }
            Err(panic) => {
                Some(self.broken(format!("a bug of routerd: {}; it starts anew", text(panic.as_ref()))))
            }
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Panics at the key 13, and tells what scope it was asked for.
    struct Fake;

    impl Apply for Fake {
        type Key = u8;
        type Value = u8;

        fn apply(&mut self, desired: &BTreeMap<u8, u8>, scope: &Scope<u8>) -> Report {
            assert!(!desired.contains_key(&13), "unlucky");
            Report { writes: u64::from(*scope == Scope::Everything), ..Report::default() }
        }
    }

    fn keys() -> Scope<u8> {
        Scope::Keys(BTreeSet::from([1]))
    }

    #[test]
    fn what_cannot_be_opened_is_a_problem_of_the_whole_plane_until_it_can() {
        let mut tries = 0;
        let mut late = Late::new("fake", move || {
            tries += 1;
            if tries < 3 { Err("no module") } else { Ok(Fake) }
        });
        for _ in 0..2 {
            let report = late.apply(&BTreeMap::new(), &keys());
            assert_eq!(report.problems[0].item, "fake");
            assert!(report.problems[0].retry && report.problems[0].message.contains("no module"));
        }
        assert_eq!(late.apply(&BTreeMap::new(), &keys()).writes, 1, "the first look is at everything");
        assert_eq!(late.apply(&BTreeMap::new(), &keys()).writes, 0);
    }

    #[test]
    fn a_panic_is_a_problem_and_the_plane_starts_anew() {
        let mut late = Late::new("fake", || Ok::<_, String>(Fake));
        let report = late.apply(&BTreeMap::from([(13, 0)]), &keys());
        assert!(report.problems[0].message.contains("unlucky"), "{report:?}");
        assert_eq!(late.apply(&BTreeMap::new(), &keys()), Report { writes: 1, ..Report::default() });
    }
}
