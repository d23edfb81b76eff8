//! What operators do with leads: enter one by hand, write a note, record the sale.

use super::assets::Asset;
use super::deliveries::cause;
use super::error::{OpsError, Screen};
use super::format::When;
use super::lead_taken_back::KINDS;
use super::session::back;
use super::shell::{Notice, Shell, page};
use crate::auth::{Caller, LeadWorkManage, LeadsConvert};
use crate::routes::commissions::{actor, currency};
use crate::{Api, RequestContext};
use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use switchyard_catalog::lead_work::{self, Deal, Entered, WorkFault};
use switchyard_domain::commission::KindWord;
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgentId, CommissionEventId, LeadId, LeadState, normalise};
use switchyard_store::leads::{self, Note, Sale};
use switchyard_store::{Result as Stored, Scope, StoreFault, Tx, agents};

const SCREEN: &str = "/ops/leads";
/// Characters of a note, and of what was sold: as many as the API takes.
const LONGEST_NOTE: usize = 4_000;
const LONGEST_PRODUCT: usize = 500;

/// A field of the form: its name in a lead, its label, the kind of its input.
const FIELDS: [(&str, &str, &str); 10] = [
    ("first_name", "First name", "text"),
    ("last_name", "Last name", "text"),
    ("company", "Company", "text"),
    ("email", "E-mail", "email"),
    ("phone", "Phone", "text"),
    ("country", "Country", "text"),
    ("postal_code", "Postal code", "text"),
    ("city", "City", "text"),
    ("interest", "Asks for", "text"),
    ("message", "Message", "text"),
];

struct Field {
    name: &'static str,
    label: &'static str,
    kind: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "lead_new.html")]
struct NewLead {
    shell: Shell,
    fields: Vec<Field>,
}

fn filled_in(given: &HashMap<String, String>) -> Vec<Field> {
    let field = |(name, label, kind): (&'static str, &'static str, &'static str)| Field {
        name,
        label,
        kind,
        value: given.get(name).cloned().unwrap_or_default(),
    };
    FIELDS.map(field).into()
}

/// `GET /ops/leads/new`
pub(super) async fn form(_: Caller<LeadWorkManage>, shell: Shell) -> Screen {
    page(&NewLead { fields: filled_in(&HashMap::new()), shell: shell.at(SCREEN) })
}

/// `POST /ops/leads/new`: what is wrong is told above the form, which keeps what was typed.
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller<LeadWorkManage>,
    context: RequestContext,
    mut shell: Shell,
    headers: HeaderMap,
    Form(given): Form<HashMap<String, String>>,
) -> Screen {
    let typed = |name: &str| given.get(name).map(|v| v.trim()).filter(|v| !v.is_empty());
    let members =
        FIELDS.iter().filter_map(|(name, ..)| Some(((*name).to_owned(), json!(typed(name)?))));
    let lead = Value::Object(members.collect::<Map<_, _>>());
    let mut tx = api.db.begin(Scope::Platform).await?;
    let entered = lead_work::enter(&mut tx, &lead, &actor(&caller.claims), &cause(&context)).await;
    let (id, notice) = match entered {
        Ok(Entered::New(id)) => (id, "The lead is entered; an agency is being found."),
        Ok(Entered::Known(id)) => (id, "This person asked before: here is the first lead."),
        Err(WorkFault::Store(fault)) => return Err(fault.into()),
        Err(refusal) => {
            shell.notice = Some(Notice::failed(format!("Not entered: {refusal}")));
            let again = NewLead { fields: filled_in(&given), shell: shell.at(SCREEN) };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&again)?).into_response());
        }
    };
    tx.commit().await?;
    Ok(back(&format!("{SCREEN}/{id}"), &Notice::done(notice), &headers))
}

/// A note's text.
#[derive(Debug, Deserialize)]
pub(super) struct NoteForm {
    #[serde(default)]
    body: String,
}

/// `POST /ops/leads/{id}/note`
pub(super) async fn note(
    State(api): State<Api>,
    caller: Caller<LeadWorkManage>,
    headers: HeaderMap,
    Path(id): Path<LeadId>,
    Form(form): Form<NoteForm>,
) -> Screen {
    let to = format!("{SCREEN}/{id}");
    let body = normalise::text(&form.body).filter(|t| t.chars().count() <= LONGEST_NOTE);
    let Some(body) = body else {
        let notice = Notice::failed("Not written: a note has 1 to 4,000 characters.");
        return Ok(back(&to, &notice, &headers));
    };
    let mut tx = api.db.begin(Scope::Platform).await?;
    lead_work::note(&mut tx, id, &body, &actor(&caller.claims)).await.map_err(missing)?;
    tx.commit().await?;
    Ok(back(&to, &Notice::done("The note is written; operators see it."), &headers))
}

fn missing(fault: StoreFault) -> OpsError {
    match fault {
        StoreFault::NotFound => OpsError::not_found("There is no such lead."),
        fault => fault.into(),
    }
}

/// A sale.
#[derive(Debug, Deserialize)]
pub(super) struct SaleForm {
    amount: String,
    currency: String,
    /// Empty: whoever works on the lead, or the agency's only agent.
    #[serde(default)]
    agent: String,
    /// Empty: what the lead asked for.
    #[serde(default)]
    product: String,
}

impl SaleForm {
    /// What was typed, or the sentence that says what is wrong with it.
    fn read(&self, currency: Currency) -> Result<(i64, Option<AgentId>, Option<String>), String> {
        let amount = Money::parse(self.amount.trim(), currency)?;
        if amount.minor < 1 {
            return Err("the amount is above zero".to_owned());
        }
        let agent = match self.agent.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| "name one of the agency's agents".to_owned())?),
        };
        let product = normalise::text(&self.product);
        if product.as_ref().is_some_and(|p| p.chars().count() > LONGEST_PRODUCT) {
            return Err("what was sold has up to 500 characters".to_owned());
        }
        Ok((amount.minor, agent, product))
    }
}

/// `POST /ops/leads/{id}/convert`
pub(super) async fn convert(
    State(api): State<Api>,
    caller: Caller<LeadsConvert>,
    context: RequestContext,
    headers: HeaderMap,
    Path(id): Path<LeadId>,
    Form(form): Form<SaleForm>,
) -> Screen {
    let to = format!("{SCREEN}/{id}");
    let refused = |why: String| -> Screen {
        Ok(back(&to, &Notice::failed(format!("Not sold: {why}.")), &headers))
    };
    let currency = currency(Some(form.currency.trim()))?;
    let (amount_minor, agent, product) = match form.read(currency) {
        Ok(read) => read,
        Err(why) => return refused(why),
    };
    let deal = Deal {
        amount_minor,
        fee_minor: None,
        currency: currency.code(),
        product: product.as_deref(),
        agent,
        sold_at: api.clock.now(),
    };
    let mut tx = api.db.begin(Scope::Platform).await?;
    let by = actor(&caller.claims);
    match lead_work::convert(&mut tx, id, &deal, &by, &cause(&context)).await {
        Ok(_) => tx.commit().await?,
        Err(WorkFault::Store(fault)) => return Err(missing(fault)),
        Err(refusal) => return refused(refusal.to_string()),
    }
    Ok(back(&to, &Notice::done("Sold. Its commission is being booked."), &headers))
}

/// A note on the screen.
pub(super) struct NoteView {
    pub(super) author: String,
    pub(super) body: String,
    pub(super) at: When,
}

/// A sale on the screen.
pub(super) struct SaleView {
    pub(super) amount: String,
    pub(super) currency: String,
    /// The id of what is recorded of it by this page's form.
    pub(super) next: CommissionEventId,
    pub(super) product: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) at: When,
}

/// What was done about a lead, and what can be.
pub(super) struct Work {
    pub(super) notes: Vec<NoteView>,
    pub(super) sale: Option<SaleView>,
    /// Who may have closed the sale.
    pub(super) agents: Vec<(AgentId, String)>,
    /// It was accepted and not sold.
    pub(super) sells: bool,
    /// What can become of a sale.
    pub(super) taken_back: [(KindWord, &'static str); 3],
}

impl Work {
    /// Reads it.
    ///
    /// # Errors
    /// [`StoreFault::NotFound`] if there is no such lead.
    pub(super) async fn of(tx: &mut Tx, id: LeadId, now: DateTime<Utc>) -> Stored<Self> {
        let lead = leads::get(tx, id).await?;
        let notes = Note::of_lead(tx, id).await?;
        let sale = Sale::of_lead(tx, id).await?;
        let agents = match lead.agency {
            Some(agency) => agents::list(tx, agency).await?,
            None => Vec::new(),
        };
        let name = |id: AgentId| agents.iter().find(|a| a.id == id).map(|a| a.name.clone());
        let sale = sale.map(|s| SaleView {
            amount: match Currency::of(&s.currency) {
                Some(currency) => Money::new(s.amount_minor, currency).to_string(),
                None => format!("{} {}", s.amount_minor, s.currency),
            },
            currency: s.currency,
            next: CommissionEventId::new(),
            product: s.product,
            agent: s.agent.and_then(name),
            at: When::new(s.sold_at, now),
        });
        let note =
            |n: Note| NoteView { author: n.author, body: n.body, at: When::new(n.created_at, now) };
        Ok(Self {
            notes: notes.into_iter().map(note).collect(),
            sells: sale.is_none() && lead.state == LeadState::Accepted,
            taken_back: KINDS,
            sale,
            agents: agents.into_iter().filter(|a| a.active).map(|a| (a.id, a.name)).collect(),
        })
    }
}
