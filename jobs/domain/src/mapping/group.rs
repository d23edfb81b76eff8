//! Several items that are one lead together.

use super::eval::{self, Cx};
use super::path::Node;
use super::plan::Groups;
use super::steps;
use super::value;
use crate::normalise::Unreadable;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Groups in the order in which they begin, each `{"key", "items", "values"}`. Items without a key
/// belong to none.
pub(super) fn gather(
    groups: &Groups,
    nodes: &[Node<'_>],
    top: &Cx<'_>,
) -> Result<Vec<Value>, Unreadable> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut gathered: Vec<(Value, Vec<Value>)> = Vec::new();
    for node in nodes {
        let key = eval::first(&groups.by, &top.within(node));
        let Some((key, text)) = key.and_then(|k| Some((k, value::plain_text(k)?))) else {
            continue;
        };
        if !top.run.fuel.spend_value(node.value) {
            break;
        }
        let place = *places.entry(text).or_insert_with(|| {
            gathered.push((key.clone(), Vec::new()));
            gathered.len() - 1
        });
        if let Some((_, items)) = gathered.get_mut(place) {
            items.push(node.value.clone());
        }
    }
    let mut whole = Vec::new();
    for (key, items) in gathered {
        let mut group = Map::new();
        let items = Value::Array(items);
        if let Some(pivot) = &groups.pivot {
            group.insert("values".to_owned(), steps::pivot(&items, pivot, top)?.to_json());
        }
        group.insert("key".to_owned(), key);
        group.insert("items".to_owned(), items);
        let group = Value::Object(group);
        let within = Node { value: &group, above: Vec::new() };
        if eval::counts(groups.only.as_ref(), &top.within(&within)) {
            whole.push(group);
        }
    }
    Ok(whole)
}
