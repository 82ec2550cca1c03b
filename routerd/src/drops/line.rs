//! What goes to who follows, a line of JSON each.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::entry::Refused;

/// One line with its end, made once for all who read it. Besides packets (`Refused`) there are
///
/// - `{"lost": 17, "by": "the reader"}`: so many packets were logged and are not shown here;
/// - `{"notice": "…"}`: something else that a reader should know, as that nothing can be read at present;
/// - `{"error": "…"}`: the question cannot be answered, and nothing follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(Arc<[u8]>);

impl Line {
    fn new(content: &impl Serialize) -> Self {
        // These types always can be written as JSON.
        let mut bytes = serde_json::to_vec(content).unwrap_or_default();
        bytes.push(b'\n');
        Self(bytes.into())
    }

    pub(super) fn refused(packet: &Refused) -> Self {
        Self::new(packet)
    }

    pub(super) fn lost_by_routerd(lost: u64) -> Self {
        Self::new(&json!({"lost": lost, "by": "routerd"}))
    }

    pub(super) fn lost_by_reader(lost: u64) -> Self {
        Self::new(&json!({"lost": lost, "by": "the reader"}))
    }

    pub(super) fn notice(notice: &str) -> Self {
        Self::new(&json!({"notice": notice}))
    }

    pub(super) fn error(error: &str) -> Self {
        Self::new(&json!({"error": error}))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
