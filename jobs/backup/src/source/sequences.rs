//! Where sequences stand. They are in no log: each backup notes them.

use super::{Catalogue, get, qualified, rows};
use crate::BackupFault;
use crate::model::Sequence;
use sqlx::PgConnection;

/// How many are read with one statement.
const AT_ONCE: usize = 100;

/// Reads them. They know no transactions: read after a snapshot or a position in the log, they are at
/// least what that has used.
///
/// # Errors
/// The database.
pub async fn sequences(
    connection: &mut PgConnection,
    catalogue: &Catalogue,
) -> Result<Vec<Sequence>, BackupFault> {
    let mut found = Vec::with_capacity(catalogue.sequences.len());
    for chunk in catalogue.sequences.chunks(AT_ONCE) {
        let each: Vec<String> = chunk
            .iter()
            .enumerate()
            .map(|(at, (schema, name))| {
                let sequence = qualified(schema, name);
                format!("select {at} as at, last_value, is_called from {sequence}")
            })
            .collect();
        let sql = each.join(" union all ");
        for row in rows(connection, &sql, "reading the sequences").await? {
            let at = usize::try_from(get::<i32>(&row, "at")?).unwrap_or_default();
            let Some((schema, name)) = chunk.get(at) else { continue };
            found.push(Sequence {
                name: format!("{schema}.{name}"),
                last_value: get(&row, "last_value")?,
                is_called: get(&row, "is_called")?,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
