//! What an ADD has done so far, so that a failure leaves nothing behind.

use std::fmt;

use crate::error::CniError;

/// A step that takes one thing back.
type Step = Box<dyn FnOnce() -> Result<(), CniError>>;

/// The things done so far, each with the way to take it back. Whatever ends an ADD before [`Undo::keep`], an error,
/// an early return or a panic, they are taken back, the last first.
#[derive(Default)]
pub struct Undo {
    steps: Vec<(String, Step)>,
}

impl Undo {
    /// Nothing was done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something was done: `what` names it for a message, `back` takes it back.
    ///
    /// Push **before** the thing is done where the way back also works if it was not done (release of a lease,
    /// removal of a link by name), so that nothing can come between.
    pub fn push(&mut self, what: impl Into<String>, back: impl FnOnce() -> Result<(), CniError> + 'static) {
        self.steps.push((what.into(), Box::new(back)));
    }

    /// The ADD succeeded: everything stays.
    pub fn keep(mut self) {
        self.steps.clear();
    }

    /// Takes everything back, the last first, and goes on over failures; what could not be taken back is returned as
    /// text for the error's details.
    pub fn unwind(&mut self) -> Vec<String> {
        let mut failures = Vec::new();
        while let Some((what, back)) = self.steps.pop() {
            if let Err(error) = back() {
                failures.push(format!("could not take back {what}: {error}"));
            }
        }
        failures
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.unwind();
    }
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(what, _)| what)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn recorder(undo: &mut Undo, log: &Rc<RefCell<Vec<u32>>>, number: u32, fails: bool) {
        let log = Rc::clone(log);
        undo.push(format!("step {number}"), move || {
            log.borrow_mut().push(number);
            if fails { Err(CniError::new(Code::KERNEL, "refused")) } else { Ok(()) }
        });
    }

    #[test]
    fn steps_are_taken_back_last_first_and_a_failing_one_does_not_stop_the_others() {
        let log = Rc::default();
        let mut undo = Undo::new();
        recorder(&mut undo, &log, 1, false);
        recorder(&mut undo, &log, 2, true);
        recorder(&mut undo, &log, 3, false);
        assert_eq!(undo.unwind(), ["could not take back step 2: refused"]);
        assert_eq!(*log.borrow(), [3, 2, 1]);
    }

    #[test]
    fn an_early_return_takes_back_and_success_keeps() {
        let log = Rc::default();
        let mut undo = Undo::new();
        recorder(&mut undo, &log, 1, false);
        drop(undo);
        let mut undo = Undo::new();
        recorder(&mut undo, &log, 2, false);
        undo.keep();
        assert_eq!(*log.borrow(), [1]);
    }
}
