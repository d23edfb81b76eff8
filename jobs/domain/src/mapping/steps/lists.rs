//! Steps on lists.

use super::{amounts, text};
use crate::mapping::args::PivotArgs;
use crate::mapping::eval::{self, Cx};
use crate::mapping::value::{self, Val, text_of};
use crate::normalise::Unreadable;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use std::cmp::Ordering;

pub(super) fn nth(value: Val, index: i32) -> Result<Val, Unreadable> {
    let elements = value.into_elements()?;
    Ok(text::at(&elements, index).cloned().unwrap_or(Val::Null))
}

/// Keeps the first of those whose text is the same.
pub(super) fn distinct(value: Val) -> Result<Val, Unreadable> {
    let mut seen = std::collections::BTreeSet::new();
    let mut kept = Vec::new();
    for element in value.into_elements()? {
        if seen.insert(text_of(&element)?) {
            kept.push(element);
        }
    }
    Ok(Val::list(kept))
}

/// The currency stays if all that name one name the same.
pub(super) fn sum(value: Val, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    let mut total = Decimal::ZERO;
    let mut currencies = Vec::new();
    for element in value.into_elements()? {
        let number = match element.into_scalar()? {
            Val::Null => continue,
            number @ Val::Num(..) => number,
            other => amounts::number(&text_of(&other)?, cx.locale(), cx)?,
        };
        if let Val::Num(n, currency) = number {
            total = total
                .checked_add(n)
                .ok_or_else(|| Unreadable::new("invalid_number", "The sum is out of range."))?;
            currencies.extend(currency.filter(|c| !currencies.contains(c)));
        }
    }
    let currency = if let [one] = currencies.as_slice() { Some(*one) } else { None };
    Ok(Val::Num(total, currency))
}

/// The least or greatest: of numbers and of instants if all are, else of texts.
pub(super) fn extreme(value: Val, greatest: bool) -> Result<Val, Unreadable> {
    let mut best: Option<(Rank, Val)> = None;
    for element in value.into_elements()? {
        let element = element.into_scalar()?;
        let rank = rank(&element)?;
        let better = match &best {
            None => true,
            Some((best, _)) => {
                let order = rank.compare(best);
                if greatest { order == Ordering::Greater } else { order == Ordering::Less }
            }
        };
        if better {
            best = Some((rank, element));
        }
    }
    Ok(best.map_or(Val::Null, |(_, value)| value))
}

/// How values are put in order.
pub(in crate::mapping) enum Rank {
    Number(Decimal),
    Time(DateTime<Utc>),
    Text(String),
}

impl Rank {
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (a, b) => a.text().cmp(&b.text()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Time(t) => t.to_rfc3339(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Texts that are a number or an instant count as such.
pub(in crate::mapping) fn rank(value: &Val) -> Result<Rank, Unreadable> {
    Ok(match value {
        Val::Num(n, _) => Rank::Number(*n),
        Val::Time(t) => Rank::Time(*t),
        other => {
            let text = text_of(other)?;
            match (text.parse::<Decimal>(), DateTime::parse_from_rfc3339(&text)) {
                (Ok(n), _) => Rank::Number(n),
                (_, Ok(t)) => Rank::Time(t.to_utc()),
                _ => Rank::Text(text),
            }
        }
    })
}

/// A list of keys and values as an object. Of elements with the same key the last by `order_by`
/// wins, among equals the later in the list.
pub(in crate::mapping) fn pivot(
    list: &Value,
    args: &PivotArgs,
    cx: &Cx<'_>,
) -> Result<Val, Unreadable> {
    let mut ranks: std::collections::BTreeMap<String, Option<Rank>> = Default::default();
    let mut members = Map::new();
    let single = std::slice::from_ref(list);
    let elements = list.as_array().map_or(single, Vec::as_slice);
    for element in elements {
        if !cx.run.fuel.spend(1) {
            break;
        }
        let within = Cx { item: element, above: &[], ..*cx };
        let key = eval::first(&args.key, &within).and_then(value::plain_text);
        let (Some(key), Some(value)) = (key, eval::first(&args.value, &within)) else { continue };
        let rank = match args.order_by.as_ref().and_then(|path| eval::first(path, &within)) {
            Some(order) => Some(rank(&value::from_json(order)?)?),
            None => None,
        };
        let older = match (ranks.get(&key), &rank) {
            (Some(Some(have)), Some(new)) => new.compare(have) == Ordering::Less,
            (Some(Some(_)), None) => args.order_by.is_some(),
            _ => false,
        };
        if !older && cx.run.fuel.spend_value(value) {
            ranks.insert(key.clone(), rank);
            members.insert(key, value.clone());
        }
    }
    value::from_json(&Value::Object(members))
}
