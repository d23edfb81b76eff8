//! Senders that send an id only: where the rest of a lead is fetched, and what it means.

use super::enrich_headers;
use super::eval::{self, Cx};
use super::judgement::Fetch;
use super::path::Path;
use super::plan::Plan;
use super::read;
use super::rule::Condition;
use super::run;
use super::template::Template;
use super::value::text_of;
use super::{MappingInput, eval::Run};
use crate::headers::is_field_name;
use crate::portal::{Defaults, pointer};
use crate::{FieldFault, Headers, StandardLead};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// RFC 3986, 2.3: what need not be encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longer than the URL of any API.
const LONGEST_URL: usize = 2_000;

/// How the rest of a lead is fetched, as it stands under `enrich` in a portal's settings.
#[derive(Clone, Debug)]
pub struct Enrich {
    /// As it was written: what is stored and shown.
    source: Value,
    url: Template,
    /// Where the portal's token goes.
    pub token: Option<TokenPlace>,
    /// Headers of every request; their names in lower case, their values printable ASCII.
    pub headers: BTreeMap<String, String>,
    when: Option<Condition>,
    plan: Plan,
}

/// Where the portal's token goes when the rest of a lead is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenPlace {
    /// In a header.
    Header {
        /// Its name.
        name: String,
        /// What stands before the token, such as `Bearer `.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// In the URL's query.
    Query {
        /// The parameter's name.
        name: String,
    },
}

impl Enrich {
    /// Reads and checks it. `field` of a fault is a JSON pointer. `named`: what the portal's mapping
    /// names by `let`, for the URL and the condition.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(source: &Value, named: &[&str]) -> Result<Self, Vec<FieldFault>> {
        let mut reader = read::Reader::new(named);
        let members = reader.object(source, "", &["url", "token", "headers", "when", "mapping"]);
        let empty = Map::new();
        let members = members.unwrap_or(&empty);
        let url = members.get("url").and_then(Value::as_str).map(str::parse::<Template>);
        let url = match url {
            Some(Ok(url)) => {
                if let Err(why) = check_host(&url) {
                    reader.fault("/url", "invalid_url", why.to_owned());
                }
                for path in url.paths() {
                    reader.check_names(path, "/url");
                }
                Some(url)
            }
            Some(Err(why)) => {
                reader.fault("/url", "invalid_template", format!("{why}."));
                None
            }
            None => {
                let message = "Write the address, such as https://api.example.com/leads/{id}.";
                reader.fault("/url", "required", message.to_owned());
                None
            }
        };
        let token = token(members.get("token"), &mut reader);
        let headers = enrich_headers::read(members.get("headers"), token.as_ref(), &mut reader);
        let when = members.get("when").and_then(|v| reader.condition(v, "/when", 0));
        let mut faults = reader.into_faults();
        let plan = read::fetched_plan(members.get("mapping").unwrap_or(&Value::Null));
        match (plan, url) {
            (Ok(plan), Some(url)) if faults.is_empty() => {
                Ok(Self { source: source.clone(), url, token, headers, when, plan })
            }
            (plan, _) => {
                let inner = plan.err().unwrap_or_default();
                faults.extend(inner.into_iter().map(|f| f.below("/mapping")));
                Err(faults)
            }
        }
    }

    /// Where the rest of this item is to be fetched, if it is.
    pub(super) fn fetch(&self, cx: &Cx<'_>) -> Result<Option<Fetch>, FieldFault> {
        if !eval::counts(self.when.as_ref(), cx) {
            return Ok(None);
        }
        let fault = |code: &str, message: String| FieldFault::new("enrich", code, message);
        let mut value = |path: &Path| -> Result<Option<String>, FieldFault> {
            let text = eval::path(path, cx).and_then(|v| text_of(&v)).map_err(|why| {
                fault(why.code, format!("{} It came from `{path}`.", why.message))
            })?;
            // A segment of dots would climb out of the path that the operator wrote.
            if text.is_empty() || text.chars().all(|c| c == '.') {
                return Ok(None);
            }
            Ok(Some(utf8_percent_encode(&text, RESERVED).to_string()))
        };
        if !self.url.is_complete(&mut value)? {
            let message = format!("`{}` cannot be filled: a value is missing.", self.url);
            return Err(fault("required", message));
        }
        match self.url.fill(&mut value)? {
            Some(url) if url.len() <= LONGEST_URL => Ok(Some(Fetch { url })),
            _ => Err(fault("too_long", format!("`{}` becomes too long a URL.", self.url))),
        }
    }

    /// The lead with what was fetched: fetched values win, the sender's id stays.
    ///
    /// # Errors
    /// What keeps it from being a lead: a required field, or that nobody can be reached.
    pub(crate) fn merge(
        &self,
        lead: StandardLead,
        fetched: &Value,
        defaults: &Defaults,
    ) -> Result<StandardLead, Vec<FieldFault>> {
        let headers = Headers::default();
        let input = MappingInput {
            body: fetched,
            headers: &headers,
            url: None,
            defaults,
            received_at: None,
        };
        let run = Run::of(&input);
        let top = Cx::top(&run);
        let named = run::named(&self.plan.named, &top);
        let cx = Cx { named: &named, country: lead.country.as_deref(), ..top };
        let new = run::lead(&self.plan.fields, &cx, false)?;
        if run.fuel.is_empty() {
            let message = "The fetched lead asks for more work than one lead may cause.";
            return Err(vec![FieldFault::new("body", "too_much_work", message)]);
        }
        let merged = merged(lead, new);
        if merged.email.is_none() && merged.phone.is_none() {
            let message = "There is neither an e-mail address nor a phone number, neither in the \
                           event nor in what was fetched.";
            return Err(vec![FieldFault::new("email", "contact_required", message)]);
        }
        Ok(merged)
    }
}

/// `https` and a host without values in it: what the sender says must not choose the server.
fn check_host(url: &Template) -> Result<(), &'static str> {
    let rest = url.head().strip_prefix("https://").ok_or("The address begins with https://.")?;
    let (host, _) = rest.split_once('/').ok_or(
        "The host stands in the address as it is, with a `/` behind it and no `{}` in it.",
    )?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    if host.is_empty() || !host.chars().all(plain) {
        return Err("The host of the address is none.");
    }
    Ok(())
}

fn token(value: Option<&Value>, reader: &mut read::Reader) -> Option<TokenPlace> {
    let value = value.filter(|v| !v.is_null())?;
    match TokenPlace::deserialize(value) {
        Ok(place) => {
            let (TokenPlace::Header { name, .. } | TokenPlace::Query { name }) = &place;
            if !is_field_name(name) {
                let message = format!("`{name}` is no name of a header or parameter.");
                reader.fault(&format!("/token{}", pointer("name")), "invalid_name", message);
            }
            Some(place)
        }
        Err(e) => {
            reader.fault("/token", "invalid", format!("`token` cannot be read: {e}."));
            None
        }
    }
}

fn merged(old: StandardLead, new: StandardLead) -> StandardLead {
    let mut warnings = old.warnings;
    warnings.extend(new.warnings);
    warnings.sort_unstable();
    warnings.dedup();
    let consent = match (old.consent, new.consent) {
        (Some(mut old), Some(new)) => {
            old.privacy = new.privacy.or(old.privacy);
            old.marketing = new.marketing.or(old.marketing);
            old.other.extend(new.other);
            Some(old)
        }
        (old, new) => new.or(old),
    };
    StandardLead {
        external_id: old.external_id.or(new.external_id),
        first_name: new.first_name.or(old.first_name),
        last_name: new.last_name.or(old.last_name),
        company: new.company.or(old.company),
        email: new.email.or(old.email),
        phone: new.phone.or(old.phone),
        country: new.country.or(old.country),
        postal_code: new.postal_code.or(old.postal_code),
        city: new.city.or(old.city),
        interest: new.interest.or(old.interest),
        message: new.message.or(old.message),
        // An amount and its currency belong together.
        currency: if new.budget.is_some() { new.currency } else { new.currency.or(old.currency) },
        budget: new.budget.or(old.budget),
        source: new.source.or(old.source),
        consent,
        consent_proof: both(old.consent_proof, new.consent_proof),
        utm: both(old.utm, new.utm),
        campaign: both(old.campaign, new.campaign),
        line_items: new.line_items.or(old.line_items),
        submitted_at: new.submitted_at.or(old.submitted_at),
        is_test: old.is_test || new.is_test,
        custom: both(old.custom, new.custom),
        warnings,
    }
}

/// Entries of both; those of the second win.
fn both<M: IntoIterator<Item = E> + Extend<E>, E>(old: Option<M>, new: Option<M>) -> Option<M> {
    match (old, new) {
        (Some(mut old), Some(new)) => {
            old.extend(new);
            Some(old)
        }
        (old, new) => new.or(old),
    }
}

/// Equal if they are written the same.
impl PartialEq for Enrich {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Enrich {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(serializer)
    }
}
