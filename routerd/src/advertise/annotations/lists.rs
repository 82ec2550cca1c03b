//! Annotations with commas in them.

use std::str::FromStr;

use crate::cluster::objects::Labels;

/// The items of a list without the white space around them; none if the annotation is not there.
pub(super) fn items<'a>(annotations: &'a Labels, key: &str) -> Vec<&'a str> {
    let text = annotations.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
    text.map(|text| text.split(',').map(str::trim).collect()).unwrap_or_default()
}

/// The items that can be read; the others are problems.
pub(super) fn parsed<T: FromStr>(
    annotations: &Labels,
    key: &str,
    wanted: &str,
    problems: &mut Vec<String>,
) -> Vec<T> {
    items(annotations, key).into_iter().filter_map(|item| one(key, item, wanted, problems)).collect()
}

/// The one value of an annotation.
pub(super) fn single<T: FromStr>(
    annotations: &Labels,
    key: &str,
    wanted: &str,
    problems: &mut Vec<String>,
) -> Option<T> {
    one(key, annotations.get(key)?.trim(), wanted, problems)
}

fn one<T: FromStr>(key: &str, text: &str, wanted: &str, problems: &mut Vec<String>) -> Option<T> {
    let value = text.parse().ok();
    if value.is_none() {
        problems.push(format!("{key}: {text:?} is not {wanted}"));
    }
    value
}
