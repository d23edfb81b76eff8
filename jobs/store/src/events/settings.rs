//! Portals' settings, read once a version: compiling their patterns takes longer than judging an event.

use crate::Result;
use moka::sync::Cache;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::sync::Arc;
use std::time::Duration;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{FieldFault, PortalId};

/// Settings that a process keeps read at most; the least used ones go first. Most take some 10 KiB, one
/// with many patterns a megabyte.
const MOST: u64 = 512;
/// Settings that nobody asked for so long are forgotten: old versions are not asked for again.
const IDLE: Duration = Duration::from_secs(600);

/// A portal's settings, or what is wrong with them.
pub type ReadSettings = std::result::Result<Arc<PortalSettings>, Vec<FieldFault>>;

/// What a process has read of settings, by portal and version.
#[derive(Clone)]
pub(crate) struct SettingsCache(Cache<(PortalId, i32), Arc<Known>>);

struct Known {
    /// As the database wrote them.
    written: Box<[u8]>,
    settings: Arc<PortalSettings>,
}

impl Default for SettingsCache {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MOST).time_to_idle(IDLE).build())
    }
}

impl SettingsCache {
    /// The settings in the columns `settings` and `version` of this row.
    ///
    /// A version says which settings they are as long as nothing is undone: one that a transaction made
    /// and rolled back, or that a restored backup never had, is given again. So what was read counts
    /// only for the same bytes.
    ///
    /// # Errors
    /// If the row has no such columns.
    pub(super) fn of(&self, portal: PortalId, row: &PgRow) -> Result<ReadSettings> {
        let key = (portal, row.try_get::<i32, _>("version")?);
        let raw = row.try_get_raw("settings")?;
        let written = raw.as_bytes().map_err(sqlx::Error::Decode)?;
        if let Some(known) = self.0.get(&key).filter(|known| *known.written == *written) {
            return Ok(Ok(Arc::clone(&known.settings)));
        }
        let read = PortalSettings::parse(&row.try_get::<Value, _>("settings")?).map(Arc::new);
        if let Ok(settings) = &read {
            let known = Known { written: written.into(), settings: Arc::clone(settings) };
            self.0.insert(key, Arc::new(known));
        }
        Ok(read)
    }
}
