//! What a database server needs before the migrations and after them: the database itself, and the
//! everyday login with no more than the two roles. Runs with the owner's rights.

use crate::Result;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};

/// Makes a database unless it is there. `server_url` names any other database of the server.
/// Gives whether it was made.
///
/// # Errors
/// If the server refuses it.
pub async fn create_database(server_url: &SecretString, name: &'static str) -> Result<bool> {
    let mut connection = PgConnection::connect(server_url.expose_secret()).await?;
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_catalog.pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
    if !there {
        // CREATE DATABASE takes no parameters; the name is a constant of the program.
        let create = format!("create database \"{}\"", name.replace('"', "\"\""));
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(!there)
}

/// Makes the login, or sets its password anew, and lets it take both roles.
///
/// # Errors
/// If the server refuses it.
pub async fn grant_login(
    owner_url: &SecretString,
    login: &str,
    password: &SecretString,
) -> Result<()> {
    let mut connection = PgConnection::connect(owner_url.expose_secret()).await?;
    // CREATE ROLE takes no parameters: they come in as settings, quoted by format().
    sqlx::query(
        "select set_config('switchyard.new_login', $1, false),
                set_config('switchyard.new_password', $2, false)",
    )
    .bind(login)
    .bind(password.expose_secret())
    .execute(&mut connection)
    .await?;
    sqlx::raw_sql(
        "do $$
         declare
           login text := current_setting('switchyard.new_login');
           password text := current_setting('switchyard.new_password');
         begin
           if not exists (select from pg_catalog.pg_roles where rolname = login) then
             execute format('create role %I login noinherit nobypassrls', login);
           end if;
           execute format('alter role %I password %L', login, password);
           execute format('grant switchyard_app, switchyard_engine to %I', login);
         end $$",
    )
    .execute(&mut connection)
    .await?;
    connection.close().await.map_err(Into::into)
}
