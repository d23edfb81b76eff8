//! From a document to terms. Whether they make sense together is `check`'s.

use super::fields::Fields;
use super::{
    Accelerator, Amounts, Basis, Caps, Floors, Measure, Override, Split, SplitShare, Terms,
    Threshold, Tier,
};
use crate::FieldFault;
use crate::commission::Label;
use crate::money::{Currency, Money};
use chrono_tz::Tz;
use serde_json::Value;

type Faults = Vec<FieldFault>;

/// What the amounts of a document stand in.
struct Units {
    currencies: Vec<Currency>,
    measure: Measure,
}

pub(super) fn terms(document: &Value) -> Result<Terms, Faults> {
    let mut faults = Vec::new();
    match whole(document, &mut faults) {
        Some(terms) if faults.is_empty() => Ok(terms),
        _ => Err(faults),
    }
}

fn whole(document: &Value, faults: &mut Faults) -> Option<Terms> {
    let mut fields = Fields::of(document, "", faults)?;
    let measure = fields.read("measure", faults).unwrap_or_default();
    let currencies = fields.list("currencies", faults, currency);
    let units = Units { currencies, measure };
    let by_measure = if measure == Measure::Revenue { Basis::Revenue } else { Basis::Volume };
    let name: Option<Label> = fields.need("name", faults);
    let version = fields.need("version", faults);
    let tiers_given = fields.get("tiers").is_some();
    let mut terms = Terms {
        format: fields.read("format", faults).unwrap_or(1),
        name: name.unwrap_or_else(|| "".into()),
        version: version.unwrap_or_default(),
        measure,
        basis: fields.read("basis", faults).unwrap_or(by_measure),
        mode: fields.read("mode", faults).unwrap_or_default(),
        window: fields.read("window", faults).unwrap_or_default(),
        time_zone: time_zone(&mut fields, faults),
        valid_from: fields.read("valid_from", faults),
        valid_until: fields.read("valid_until", faults),
        tiers: fields.list("tiers", faults, |v, at, f| units.tier(v, at, f)),
        overrides: fields.list("overrides", faults, |v, at, f| units.special(v, at, f)),
        accelerators: fields.list("accelerators", faults, |v, at, f| units.accelerator(v, at, f)),
        caps: units.caps(&mut fields, faults),
        floors: units.floors(&mut fields, faults),
        split: Split(fields.list("split", faults, split_share)),
        clawback_days: fields.read("clawback_days", faults),
        currencies: units.currencies,
    };
    if fields.get("split").is_none() {
        terms.split = Split::all_to_agent();
    }
    if !tiers_given {
        let message = "`tiers` is needed: a list of at least one tier, from 0.";
        faults.push(FieldFault::new("/tiers", "required", message));
    }
    fields.end(faults);
    Some(terms)
}

fn currency(value: &Value, at: &str, faults: &mut Faults) -> Option<Currency> {
    let text = value.as_str().unwrap_or_default();
    text.parse().map_err(|e: String| faults.push(FieldFault::new(at, "invalid", e + "."))).ok()
}

fn split_share(value: &Value, at: &str, faults: &mut Faults) -> Option<SplitShare> {
    let mut fields = Fields::of(value, at, faults)?;
    let to = fields.need("to", faults);
    let percent = fields.need("percent", faults);
    let of = fields.read("of", faults).unwrap_or_default();
    fields.end(faults);
    Some(SplitShare { to: to?, percent: percent?, of })
}

fn time_zone(fields: &mut Fields<'_>, faults: &mut Faults) -> Tz {
    let Some(name) = fields.read::<String>("time_zone", faults) else { return Tz::UTC };
    name.parse().unwrap_or_else(|_| {
        let message = format!("`{name}` is no time zone; write one such as Europe/Warsaw.");
        faults.push(FieldFault::new("/time_zone", "invalid", message));
        Tz::UTC
    })
}

impl Units {
    fn tier(&self, value: &Value, at: &str, faults: &mut Faults) -> Option<Tier> {
        let mut fields = Fields::of(value, at, faults)?;
        let name = fields.need("name", faults);
        let from = match fields.get("from") {
            Some(from) => self.threshold(from, &fields.pointer("from"), faults),
            None => {
                let message = "`from` is needed: the total that the tier begins at.";
                faults.push(FieldFault::new(fields.pointer("from"), "required", message));
                None
            }
        };
        let rate = fields.read("rate", faults);
        let flat = self.amounts(&mut fields, "flat", faults);
        fields.end(faults);
        Some(Tier { name: name?, from: from?, rate, flat })
    }

    fn special(&self, value: &Value, at: &str, faults: &mut Faults) -> Option<Override> {
        let mut fields = Fields::of(value, at, faults)?;
        let found = Override {
            product: fields.read("product", faults),
            portal: fields.read("portal", faults),
            factor: fields.read("factor", faults),
            tiers: fields.list("tiers", faults, |v, at, f| self.tier(v, at, f)),
        };
        fields.end(faults);
        Some(found)
    }

    fn accelerator(&self, value: &Value, at: &str, faults: &mut Faults) -> Option<Accelerator> {
        let mut fields = Fields::of(value, at, faults)?;
        let name = fields.need("name", faults);
        let factor = fields.need("factor", faults);
        let pointer = fields.pointer("above");
        let above = fields.get("above").and_then(|v| self.threshold(v, &pointer, faults));
        let from = fields.read("from", faults);
        let until = fields.read("until", faults);
        fields.end(faults);
        Some(Accelerator { name: name?, factor: factor?, above, from, until })
    }

    fn caps(&self, fields: &mut Fields<'_>, faults: &mut Faults) -> Caps {
        let at = fields.pointer("caps");
        let found = fields.get("caps").and_then(|v| Fields::of(v, &at, faults));
        let Some(mut fields) = found else { return Caps::default() };
        let per_deal = self.amounts(&mut fields, "per_deal", faults);
        let per_period = self.amounts(&mut fields, "per_period", faults);
        fields.end(faults);
        Caps { per_deal, per_period }
    }

    fn floors(&self, fields: &mut Fields<'_>, faults: &mut Faults) -> Floors {
        let at = fields.pointer("floors");
        let found = fields.get("floors").and_then(|v| Fields::of(v, &at, faults));
        let Some(mut fields) = found else { return Floors::default() };
        let per_deal = self.amounts(&mut fields, "per_deal", faults);
        fields.end(faults);
        Floors { per_deal }
    }

    fn amounts(&self, fields: &mut Fields<'_>, name: &'static str, faults: &mut Faults) -> Amounts {
        let at = fields.pointer(name);
        let found = fields.get(name).and_then(|v| self.in_currencies(v, &at, faults));
        found.unwrap_or_default()
    }

    fn threshold(&self, value: &Value, at: &str, faults: &mut Faults) -> Option<Threshold> {
        if self.measure == Measure::Count {
            let count = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            if count.is_none_or(|n| n < 0) {
                let message = "Totals are counted in deals; write a whole number, such as 10.";
                faults.push(FieldFault::new(at, "invalid", message));
            }
            return count.map(Threshold::Count);
        }
        // Zero is zero in every currency.
        let zero = value.as_i64() == Some(0) || value.as_str() == Some("0");
        if zero {
            let zeros = self.currencies.iter().map(|c| (*c, 0)).collect();
            return Some(Threshold::Amounts(zeros));
        }
        self.in_currencies(value, at, faults).map(Threshold::Amounts)
    }

    /// An amount for each currency of the plan: `{"EUR": "10", "USD": "11"}`, or `"10"` where the
    /// plan has one.
    fn in_currencies(&self, value: &Value, at: &str, faults: &mut Faults) -> Option<Amounts> {
        let mut wrong = |at: String, message: String| {
            faults.push(FieldFault::new(at, "invalid", message));
            None
        };
        let Value::Object(members) = value else {
            let [only] = self.currencies[..] else {
                let message = match self.currencies.len() {
                    0 => "An amount needs a currency: list the plan's `currencies`.",
                    _ => {
                        "Write an amount for each currency, such as {\"EUR\": \"10\", \"USD\": \"11\"}."
                    }
                };
                return wrong(at.to_owned(), message.to_owned());
            };
            return match amount(value, only) {
                Ok(minor) => Some([(only, minor)].into()),
                Err(message) => wrong(at.to_owned(), message),
            };
        };
        let mut found = Amounts::new();
        for (code, value) in members {
            let at = format!("{at}{}", crate::portal::pointer(code));
            match Currency::of(code).filter(|c| self.currencies.contains(c)) {
                None => {
                    wrong(at, format!("`{code}` is not among the plan's `currencies`."));
                }
                Some(currency) => match amount(value, currency) {
                    Ok(minor) => {
                        found.insert(currency, minor);
                    }
                    Err(message) => {
                        wrong(at, message);
                    }
                },
            }
        }
        for missing in self.currencies.iter().filter(|c| !found.contains_key(c)) {
            if !members.keys().any(|code| Currency::of(code) == Some(*missing)) {
                wrong(at.to_owned(), format!("The amount in {missing} is missing."));
            }
        }
        Some(found)
    }
}

/// Minor units of an amount in units, written as text or as a number.
fn amount(value: &Value, currency: Currency) -> Result<i64, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let money = Money::parse(&text, currency).map_err(|e| e + ".")?;
    let minor = Some(money.minor).filter(|minor| *minor >= 0);
    minor.ok_or_else(|| format!("`{text}` is negative; amounts of a plan are not."))
}
