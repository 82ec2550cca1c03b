//! Label selectors.

use serde::Deserialize;

use super::{Problems, nullable};
use crate::cluster::objects::Labels;
use crate::cluster::selector::{Requirement, Selector};

/// A `LabelSelector`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireSelector {
    #[serde(default, deserialize_with = "nullable")]
    match_labels: Labels,
    #[serde(default, deserialize_with = "nullable")]
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Deserialize)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default, deserialize_with = "nullable")]
    values: Vec<String>,
}

impl WireSelector {
    /// The selector. A requirement that is wrong is reported and left out, so that it selects more and not less.
    pub(super) fn convert(&self, field: &str, problems: &mut Problems) -> Selector {
        let mut requirements = Selector::of_labels(&self.match_labels).requirements;
        for (index, expression) in self.match_expressions.iter().enumerate() {
            match expression.convert() {
                Ok(requirement) => requirements.push(requirement),
                Err(message) => problems.add(format!("{field}.matchExpressions[{index}]"), message),
            }
        }
        Selector { requirements }
    }
}

impl Expression {
    fn convert(&self) -> Result<Requirement, String> {
        let (key, values) = (self.key.clone(), self.values.clone());
        match (self.operator.as_str(), values.is_empty()) {
            ("In", false) => Ok(Requirement::In(key, values)),
            ("NotIn", false) => Ok(Requirement::NotIn(key, values)),
            ("Exists", true) => Ok(Requirement::Exists(key)),
            ("DoesNotExist", true) => Ok(Requirement::DoesNotExist(key)),
            ("In" | "NotIn", true) => Err(format!("{} needs values", self.operator)),
            ("Exists" | "DoesNotExist", false) => Err(format!("{} takes no values", self.operator)),
            (other, _) => Err(format!("operator {other:?} is none of In, NotIn, Exists, DoesNotExist")),
        }
    }
}
