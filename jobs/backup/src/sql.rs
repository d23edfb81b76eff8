//! Connections to where is restored, and statements that are put together from names.

use crate::BackupFault;
use crate::source::EXACT_TEXT;
pub(crate) use crate::source::{ident, literal};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::str::FromStr;

/// What a session that writes to a target needs besides text that is exact, whatever the server's and the
/// role's defaults are.
const SESSION: &str = "\
    set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; \
    set default_transaction_read_only = off; set default_transaction_isolation = 'read committed'; \
    set row_security = off; set synchronous_commit = off; set check_function_bodies = off; \
    set client_min_messages = 'warning'; set jit = off;";

/// Prepares a session, and again after a script that set things for itself.
pub(crate) async fn settle(connection: &mut PgConnection) -> Result<(), BackupFault> {
    run(connection, &format!("{EXACT_TEXT}{SESSION}"))
        .await
        .map_err(refused("preparing a connection"))?;
    Ok(())
}

/// A server, and how to reach its databases.
#[derive(Clone)]
pub(crate) struct Server {
    options: PgConnectOptions,
}

impl Server {
    pub(crate) fn parse(url: &SecretString) -> Result<Self, BackupFault> {
        let none = || {
            BackupFault::unfit(
                "the target's address is no PostgreSQL URL",
                "give one such as postgres://role:password@host:5432/postgres",
            )
        };
        let text = url.expose_secret();
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(none());
        }
        // The driver's message may repeat a part of the URL, and with it the password.
        let options = PgConnectOptions::from_str(text).map_err(|_| none())?;
        let options = match options.get_database() {
            Some(_) => options,
            None => options.database("postgres"),
        };
        Ok(Self {
            options: options.application_name("switchyard restore").disable_statement_logging(),
        })
    }

    /// A connection to the database that the URL names, to make others from there; or to one that every
    /// server has, if that one is still to be made.
    pub(crate) async fn maintenance(&self) -> Result<PgConnection, BackupFault> {
        let mut found = PgConnection::connect_with(&self.options).await;
        for other in ["postgres", "template1"] {
            // 3D000: there is no such database.
            match &found {
                Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("3D000") => {
                    let options = self.options.clone().database(other);
                    found = PgConnection::connect_with(&options).await;
                }
                _ => break,
            }
        }
        let mut connection = found.map_err(refused("connecting to the target's server"))?;
        settle(&mut connection).await?;
        Ok(connection)
    }

    /// A connection to another database of the server.
    pub(crate) async fn connect(&self, database: &str) -> Result<PgConnection, BackupFault> {
        let options = self.options.clone().database(database);
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(refused(format!("connecting to the database {database}")))?;
        settle(&mut connection).await?;
        // Triggers and foreign keys come only after the rows; this is for event triggers and rules of
        // the server's own. A role that may not set it does well without.
        let _ = run(&mut connection, "set session_replication_role = replica").await;
        Ok(connection)
    }
}

/// Runs statements that are put together here, from names that were quoted.
pub(crate) async fn run(
    connection: &mut PgConnection,
    statements: &str,
) -> Result<PgQueryResult, sqlx::Error> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await
}

/// SQLSTATE of an error of the server.
pub(crate) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned())
}

/// For `map_err` at a statement on the target: what an operator can mend is said as such.
pub(crate) fn refused(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> BackupFault {
    let doing = doing.into();
    move |error| match code(&error).as_deref() {
        Some("42501") => BackupFault::unfit(
            format!("the target's role was not allowed what {doing} needs ({error})"),
            "restore as a role that may create databases and roles (`alter role R createdb createrole`), \
             or into an empty database that it owns (`--into-empty`)",
        ),
        Some("53100") => BackupFault::unfit(
            format!("the target's disk is full ({doing})"),
            "make room there, then restore again: it begins anew by itself",
        ),
        Some("28P01" | "28000") => BackupFault::unfit(
            format!("the target's server did not let us in ({error})"),
            "check the role and the password of the URL",
        ),
        _ => BackupFault::Database { doing, source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_without_repeating_it() {
        let fault = Server::parse(&SecretString::from("mysql://u:hush@h/x".to_owned())).err();
        assert!(fault.is_some_and(|f| !f.to_string().contains("hush")));
    }
}
