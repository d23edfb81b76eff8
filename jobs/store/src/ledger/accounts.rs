//! Accounts. An account's id follows from what it is, so nobody has to look one up.

use crate::words::stored_words;
use serde::Serialize;
use switchyard_domain::ledger::sha256;
use switchyard_domain::money::Currency;
use switchyard_domain::{AgencyId, AgentId};
use uuid::Uuid;

stored_words! {
    /// What lies in an account.
    AccountKind {
        /// What is given away as commissions: every commission leaves the platform's.
        Expense = "expense",
        /// Owed to its owner.
        Payable = "payable",
        /// On its way to its owner.
        Sent = "sent",
        /// Has arrived.
        Paid = "paid",
    }
}

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Owner {
    /// The platform's.
    Platform,
    /// An agency's.
    Agency(AgencyId),
    /// An agent's, in the books of an agency.
    Agent(AgentId),
}

impl Owner {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Agency(_) => "agency",
            Self::Agent(_) => "agent",
        }
    }

    pub(super) fn id(self) -> Option<Uuid> {
        match self {
            Self::Platform => None,
            Self::Agency(id) => Some(id.0),
            Self::Agent(id) => Some(id.0),
        }
    }

    pub(super) fn read(word: &str, id: Option<Uuid>) -> sqlx::Result<Self> {
        match (word, id) {
            ("platform", None) => Ok(Self::Platform),
            ("agency", Some(id)) => Ok(Self::Agency(AgencyId(id))),
            ("agent", Some(id)) => Ok(Self::Agent(AgentId(id))),
            _ => Err(sqlx::Error::Decode(format!("`{word}` owns no account").into())),
        }
    }
}

/// An account's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AccountId(pub Uuid);

/// An account. It need not exist before it is posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// What lies in it.
    pub kind: AccountKind,
    /// Whose it is.
    pub owner: Owner,
    /// In whose books it stands: that agency sees it. `None` for the platform's.
    pub agency: Option<AgencyId>,
    /// In which currency.
    pub currency: Currency,
}

impl Account {
    /// What the platform gives away in this currency: the account that all commissions leave.
    #[must_use]
    pub fn expense(currency: Currency) -> Self {
        Self { kind: AccountKind::Expense, owner: Owner::Platform, agency: None, currency }
    }

    /// What is owed to somebody; `agency` is the one whose books an agent's account stands in.
    #[must_use]
    pub fn payable(owner: Owner, agency: AgencyId, currency: Currency) -> Self {
        Self::of(AccountKind::Payable, owner, agency, currency)
    }

    /// Any account; the platform's stands in no agency's books.
    #[must_use]
    pub fn of(kind: AccountKind, owner: Owner, agency: AgencyId, currency: Currency) -> Self {
        let agency = match owner {
            Owner::Platform => None,
            Owner::Agency(own) => Some(own),
            Owner::Agent(_) => Some(agency),
        };
        Self { kind, owner, agency, currency }
    }

    /// Its id: a UUID of version 8 (RFC 9562) from the hash of what it is.
    #[must_use]
    pub fn id(&self) -> AccountId {
        let nil = Uuid::nil();
        let agency = self.agency.map_or(nil, |a| a.0);
        let name = format!(
            "account {} {} {} {agency} {}",
            self.kind,
            self.owner.word(),
            self.owner.id().unwrap_or(nil),
            self.currency.code()
        );
        AccountId(derived(&name))
    }
}

/// A UUID of version 8 from a name: equal names, equal ids.
pub(crate) fn derived(name: &str) -> Uuid {
    let hash = sha256(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
