//! What an event stands for: which of its items are leads, and which are none.

use super::enrich::Enrich;
use super::eval::{self, Cx, Run};
use super::group;
use super::judgement::{Judged, Judgement};
use super::path::Node;
use super::plan::{Events, Items, Plan};
use super::rule::Source;
use super::{MappingInput, run};
use crate::FieldFault;
use serde_json::Value;

/// More leads than any sender puts in one event; more would be one transaction for minutes.
const MOST_LEADS: usize = 1_000;

/// Never panics, whatever the body.
pub(super) fn event(plan: &Plan, input: &MappingInput<'_>, enrich: Option<&Enrich>) -> Judgement {
    let run = Run::of(input);
    let top = Cx::top(&run);
    if let Some(ignored) = ignored(&plan.events, &top) {
        return ignored;
    }
    let judgement = items(plan, &top, enrich);
    if run.fuel.is_empty() {
        let message = "The event asks for more work than one event may cause: it is too large for \
                       what the mapping looks at in it. Send fewer leads at once.";
        return refused("body", "too_much_work", message.to_owned());
    }
    judgement
}

fn refused(field: &str, code: &str, message: String) -> Judgement {
    Judgement::Leads(vec![Judged {
        lead: Err(vec![FieldFault::new(field, code, message)]),
        fetch: None,
    }])
}

fn ignored(events: &Events, cx: &Cx<'_>) -> Option<Judgement> {
    let ignored =
        |code: &str, message: String| Some(Judgement::Ignored { code: code.to_owned(), message });
    for (condition, reason) in &events.ignore {
        if eval::holds(condition, cx) {
            let usual = || "The mapping says that such events are no leads.".to_owned();
            return ignored("event_ignored", reason.clone().unwrap_or_else(usual));
        }
    }
    if events.accept.as_ref().is_some_and(|accept| !eval::holds(accept, cx)) {
        let message = "The event is not of the kind that the mapping accepts.".to_owned();
        return ignored("event_ignored", message);
    }
    let trap = events.honeypot.iter().find(|path| {
        !matches!(eval::path(path, cx).map(super::value::Val::into_elements), Ok(Ok(v)) if v.is_empty())
    })?;
    ignored("honeypot", format!("`{trap}` is filled, which people do not see: a program wrote it."))
}

fn items(plan: &Plan, top: &Cx<'_>, enrich: Option<&Enrich>) -> Judgement {
    let made: Vec<Value>;
    let mut nodes = match &plan.items {
        None if !eval::counts(plan.only.as_ref(), top) => return none_counts(),
        None => return Judgement::Leads(vec![item(plan, top, enrich)]),
        Some(Items::Path(path)) => {
            let nodes = eval::nodes(path, top);
            if nodes.is_empty() && !is_known(path, top) {
                return absent(&format!("`{path}`"));
            }
            nodes
        }
        Some(Items::Source(source)) => {
            made = match made_of(source, top) {
                Ok(items) => items,
                Err(refusal) => return refusal,
            };
            // What is around an item is the body that it was made of.
            made.iter().map(|value| Node { value, above: vec![top.item] }).collect()
        }
    };
    nodes.retain(|node| eval::counts(plan.only.as_ref(), &top.within(node)));
    let groups: Vec<Value> = match &plan.groups {
        Some(groups) => match group::gather(groups, &nodes, top) {
            Ok(groups) => groups,
            Err(why) => return refused("group_by", why.code, why.message),
        },
        None => Vec::new(),
    };
    if plan.groups.is_some() {
        nodes = groups.iter().map(|value| Node { value, above: Vec::new() }).collect();
    }
    if nodes.is_empty() {
        return none_counts();
    }
    if nodes.len() > MOST_LEADS {
        let message = format!(
            "The event holds {} leads; at most {MOST_LEADS} are taken. Send it in parts.",
            nodes.len()
        );
        return refused("foreach", "too_many_leads", message);
    }
    Judgement::Leads(nodes.iter().map(|node| item(plan, &top.within(node), enrich)).collect())
}

fn absent(place: &str) -> Judgement {
    let message = format!(
        "Nothing stands at {place}, where the mapping's `foreach` looks for leads: the event has \
         another form than the mapping expects."
    );
    refused("foreach", "required", message)
}

/// The items that a source gives, nulls left out; or why the event is refused.
fn made_of(source: &Source, top: &Cx<'_>) -> Result<Vec<Value>, Judgement> {
    let found =
        eval::source(source, top).map_err(|why| refused("foreach", why.code, why.message))?;
    let items = match found.to_json() {
        Value::Array(items) => items,
        Value::Null => {
            let bare = eval::source(&Source::at(source.place.clone()), top);
            match bare {
                Ok(super::value::Val::Null) => return Err(absent(&source.place.to_string())),
                _ => return Err(none_counts()),
            }
        }
        one => vec![one],
    };
    Ok(items.into_iter().filter(|item| !item.is_null()).collect())
}

/// Does the list stand there, be it empty?
fn is_known(path: &super::Path, top: &Cx<'_>) -> bool {
    let list = path.single_part();
    eval::nodes(&list, top).iter().any(|node| node.value.is_array())
}

fn none_counts() -> Judgement {
    Judgement::Ignored {
        code: "no_leads".to_owned(),
        message: "The event holds nothing that counts as a lead for the mapping.".to_owned(),
    }
}

fn item(plan: &Plan, cx: &Cx<'_>, enrich: Option<&Enrich>) -> Judged {
    let named = run::named(&plan.named, cx);
    let cx = Cx { named: &named, ..*cx };
    let fetch = match enrich.map(|enrich| enrich.fetch(&cx)).transpose() {
        Ok(fetch) => fetch.flatten(),
        Err(fault) => return Judged { lead: Err(vec![fault]), fetch: None },
    };
    let lead = run::lead(&plan.fields, &cx, fetch.is_none());
    let fetch = fetch.filter(|_| lead.is_ok());
    Judged { lead, fetch }
}
