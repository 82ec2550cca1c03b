//! `metav1.LabelSelector`.

use serde_json::Value;

use super::{Labels, labels, list, text};

/// "A label selector is a label query over a set of resources. The result of matchLabels and matchExpressions are ANDed.
/// An empty label selector matches all objects."
#[derive(Debug)]
pub(super) struct Selector {
    pairs: Labels,
    expressions: Vec<Expression>,
}

#[derive(Debug)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Selector {
    pub(super) fn read(value: &Value) -> Self {
        let expressions = list(value.get("matchExpressions")).iter().map(|expression| Expression {
            key: text(expression, "/key").to_owned(),
            operator: text(expression, "/operator").to_owned(),
            values: list(expression.get("values"))
                .iter()
                .filter_map(|v| Some(v.as_str()?.to_owned()))
                .collect(),
        });
        Self { pairs: labels(value.get("matchLabels")), expressions: expressions.collect() }
    }

    /// False if the API would refuse it.
    pub(super) fn is_valid(&self) -> bool {
        self.expressions.iter().all(|one| match one.operator.as_str() {
            "In" | "NotIn" => !one.values.is_empty(),
            "Exists" | "DoesNotExist" => one.values.is_empty(),
            _ => false,
        })
    }

    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.pairs.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| expression.holds(labels))
    }
}

impl Expression {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator.as_str() {
            "In" => listed,
            // An object without the label is selected, too.
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // Of a wrong selector the rest counts, so that a policy isolates too many and not too few.
            _ => true,
        }
    }
}
