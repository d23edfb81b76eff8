//! `admin create`: the first administrator, or a new password for one.

use super::args::{AdminCreate, Global};
use super::load;
use super::output::{Failure, Output};
use crate::compose::Base;
use crate::config::Needs;
use crate::local::random_password;
use crate::{Fault, database_help};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::io::Read;
use switchyard_api::password;
use switchyard_store::{Scope, administrators};

pub(super) async fn create(
    global: &Global,
    args: &AdminCreate,
    output: Output,
) -> Result<(), Failure> {
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    let email = address(&args.email)?;
    let (secret, generated) = secret(args.password_stdin)?;
    let hash = password::hash(secret.expose_secret())
        .map_err(|e| Failure::Usage(Fault::new("password", e.to_string())))?;
    let base = Base::open(config)?;
    let name = args.name.as_deref().unwrap_or(email);
    let fault = |e| database_help::fault("database", "the administrator could not be written", e);
    let mut tx = base.db.begin(Scope::Platform).await.map_err(fault)?;
    let there = administrators::by_email(&mut tx, email).await.map_err(fault)?;
    let created = match (there, args.reset) {
        (None, _) => {
            administrators::create(&mut tx, email, name, &hash).await.map_err(fault)?;
            true
        }
        (Some(_), true) => {
            administrators::set_password(&mut tx, email, &hash).await.map_err(fault)?;
            false
        }
        (Some(_), false) => {
            let taken = format!("there is an administrator {email} already");
            let remedy = "say --reset to set a new password";
            return Err(Fault::new("email_taken", taken).remedy(remedy).into());
        }
    };
    tx.commit().await.map_err(fault)?;
    base.close().await;
    let shown = generated.then(|| secret.expose_secret().to_owned());
    let answer = json!({ "email": email, "created": created, "password": shown });
    output.answer(&answer, || {
        let done = if created { "is created" } else { "has a new password" };
        let password = shown.as_ref().map(|p| format!("\npassword: {p}")).unwrap_or_default();
        format!("administrator {email} {done}{password}")
    });
    Ok(())
}

/// Something before an `@` and something after it; whether it exists, only a message would show.
fn address(text: &str) -> Result<&str, Failure> {
    let text = text.trim();
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !text.contains(char::is_whitespace)
    });
    let fault = || Fault::new("email", format!("`{text}` is no e-mail address"));
    if good { Ok(text) } else { Err(Failure::Usage(fault())) }
}

/// The password, and whether it was made here.
fn secret(from_stdin: bool) -> Result<(SecretString, bool), Failure> {
    if !from_stdin {
        return Ok((random_password(), true));
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Fault::new("password", "no password could be read").caused_by(e))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok((SecretString::from(text.strip_suffix('\r').unwrap_or(text).to_owned()), false))
}
