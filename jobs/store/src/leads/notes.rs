//! Notes about leads. Under a tenant's scope only its own; the operators' are the platform's.

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use switchyard_domain::{AgencyId, LeadId, NoteId};

/// Notes of one lead that are read at once.
const MOST: i64 = 500;

/// A note to be written.
#[derive(Clone, Debug)]
pub struct NewNote<'a> {
    /// Its id.
    pub id: NoteId,
    /// About what.
    pub lead: LeadId,
    /// Whose it is; `None`: the operators'.
    pub agency: Option<AgencyId>,
    /// Who wrote it: `admin:<id>`, `agency:<id>`, `cli:ada`.
    pub author: &'a str,
    /// 1 to 4,000 characters.
    pub body: &'a str,
}

/// A note as it is stored.
#[derive(Clone, Debug)]
pub struct Note {
    /// Its id.
    pub id: NoteId,
    /// Whose it is; `None`: the operators'.
    pub agency: Option<AgencyId>,
    /// Who wrote it.
    pub author: String,
    /// What it says.
    pub body: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

impl Note {
    /// Writes a note.
    ///
    /// # Errors
    /// If the database refuses it: an agency writes notes of its own only.
    pub async fn add(tx: &mut Tx, new: &NewNote<'_>) -> Result<()> {
        sqlx::query(
            "insert into switchyard.lead_notes (id, lead_id, agency_id, author, body)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(new.id.0)
        .bind(new.lead.0)
        .bind(new.agency.map(|a| a.0))
        .bind(new.author)
        .bind(new.body)
        .execute(tx.conn())
        .await?;
        Ok(())
    }

    /// The last 500 notes of a lead, the oldest first.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn of_lead(tx: &mut Tx, lead: LeadId) -> Result<Vec<Self>> {
        let rows = sqlx::query(
            "select id, agency_id, author, body, created_at from switchyard.lead_notes
             where lead_id = $1 order by id desc limit $2",
        )
        .bind(lead.0)
        .bind(MOST)
        .fetch_all(tx.conn())
        .await?;
        let note = |row: &sqlx::postgres::PgRow| {
            Ok(Self {
                id: NoteId(row.try_get("id")?),
                agency: row.try_get::<Option<_>, _>("agency_id")?.map(AgencyId),
                author: row.try_get("author")?,
                body: row.try_get("body")?,
                created_at: row.try_get("created_at")?,
            })
        };
        Ok(rows.iter().rev().map(note).collect::<sqlx::Result<_>>()?)
    }
}
