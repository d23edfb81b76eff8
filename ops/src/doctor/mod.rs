//! The doctor: looks at everything that this installation stands on and says what to do about each
//! fault.

mod backups;
mod checks;
mod live;

pub(crate) use live::ask as ask_for_life;

use crate::compose::Base;
use crate::config::Config;
use serde::Serialize;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Works, but somebody should look at it.
    Warn,
    /// Does not work.
    Fail,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What: `database`, `migrations`, `clock`, ...
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) level: Level,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it; `null` if nothing.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), remedy: None }
    }

    pub(crate) fn warn(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, level: Level::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn fail(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, level: Level::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything. What cannot be looked at because something before it failed is left out.
pub(crate) async fn examine(config: Config) -> Vec<Finding> {
    let set = config.entries.iter().filter(|e| e.from != "default").count();
    let mut found = vec![Finding::ok(
        "configuration",
        format!("{} settings, {set} of them set", config.entries.len()),
    )];
    found.push(checks::disk(&config.data_dir));
    found.push(checks::redis(&config).await);
    let Some(database) = config.database.clone() else { return found };
    let url = crate::config::without_password(secrecy::ExposeSecret::expose_secret(&database.url));
    let Some(facts) = checks::server(&database.url, &url, &mut found).await else { return found };
    found.push(checks::roles(&facts));
    found.push(checks::budget(&facts, &database));
    let migrated = checks::migrations(&database.url).await;
    let in_place = migrated.level == Level::Ok;
    found.push(migrated);
    if !in_place {
        return found;
    }
    match Base::open(config) {
        Ok(base) => {
            found.extend(checks::running(&base).await);
            found.extend(backups::look(&base).await);
            base.close().await;
        }
        Err(fault) => {
            found.push(Finding::fail(fault.code, fault.chain(), fault.remedy.unwrap_or_default()))
        }
    }
    found
}
