//! Label selectors (`metav1.LabelSelector`).

use super::objects::Labels;

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values.
    In(String, Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent.
    DoesNotExist(String),
}

/// Requirements that must all hold. Without any it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The requirements; a `matchLabels` pair is `In` with one value.
    pub requirements: Vec<Requirement>,
}

impl Selector {
    /// The selector of `matchLabels`: each label has exactly this value.
    pub fn of_labels(labels: &Labels) -> Self {
        let pairs = labels.iter();
        Self {
            requirements: pairs
                .map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]))
                .collect(),
        }
    }

    /// True if `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_operator_and_the_absent_label() {
        let web = labels(&[("app", "web")]);
        let cases = [
            (Requirement::In("app".into(), vec!["web".into(), "db".into()]), true),
            (Requirement::In("app".into(), vec!["db".into()]), false),
            (Requirement::In("tier".into(), vec!["web".into()]), false),
            (Requirement::NotIn("app".into(), vec!["web".into()]), false),
            (Requirement::NotIn("tier".into(), vec!["x".into()]), true),
            (Requirement::Exists("app".into()), true),
            (Requirement::DoesNotExist("app".into()), false),
            (Requirement::DoesNotExist("tier".into()), true),
        ];
        for (requirement, expected) in cases {
            let selector = Selector { requirements: vec![requirement.clone()] };
            assert_eq!(selector.matches(&web), expected, "{requirement:?}");
        }
        assert!(Selector::default().matches(&labels(&[])));
    }
}
