//! `migrate` and `seed`.

use super::args::{Global, Migrate};
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::{Needs, without_password};
use crate::database_help;
use crate::demo::{self, DemoPlan};
use crate::folder::Folder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use switchyard_queue::{Clock, SystemClock};
use url::Url;

pub(super) async fn migrate(
    global: &Global,
    args: &Migrate,
    output: Output,
) -> Result<(), Failure> {
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    let everyday = config.database.map(|d| d.url);
    let login = match (args.login, &config.owner_url, &everyday) {
        (false, ..) => None,
        (true, Some(_), Some(url)) => Some(login_of(url)?),
        (true, ..) => {
            let what = "--login needs database.owner_url beside database.url";
            return Err(Failure::Usage(Fault::new("login", what)));
        }
    };
    let Some(url) = config.owner_url.or(everyday) else {
        return Err(Fault::new("configuration", "there is no address of a database").into());
    };
    let shown = without_password(url.expose_secret());
    let failed =
        |e| database_help::fault("migrate", format!("{shown} could not be brought up to date"), e);
    let status = switchyard_store::migrate(&url).await.map_err(failed)?;
    if let Some((name, password)) = &login {
        switchyard_store::grant_login(&url, name, password).await.map_err(failed)?;
    }
    let name = login.map(|(name, _)| name);
    let answer = json!({ "known": status.known, "applied": status.applied, "login": name });
    output.answer(&answer, || {
        let login =
            name.map(|n| format!("; the login {n} may take both roles")).unwrap_or_default();
        format!("{} of {} migrations are in place{login}", status.applied, status.known)
    });
    Ok(())
}

/// The user and the password in an address.
fn login_of(url: &SecretString) -> Result<(String, SecretString), Failure> {
    let parsed = Url::parse(url.expose_secret()).ok();
    let found = parsed.and_then(|url| {
        let decoded = |text: &str| percent_decoded(text);
        Some((decoded(url.username())?, decoded(url.password()?)?))
    });
    match found {
        Some((name, password)) if !name.is_empty() => Ok((name, SecretString::from(password))),
        _ => {
            let what = "--login needs a user and a password in database.url";
            Err(Failure::Usage(Fault::new("login", what)))
        }
    }
}

/// `%40` is `@`: in an address the parts of a login are escaped.
fn percent_decoded(text: &str) -> Option<String> {
    // A query is escaped in the same way, but for the plus sign.
    let query = format!("v={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned())
}

pub(super) async fn seed(global: &Global, output: Output) -> Result<(), Failure> {
    let config =
        load(global, Vec::new(), Needs { database: true, secret_key: true, ..Needs::default() })?;
    // The credentials are kept where `up` keeps them. A folder that runs is left to its `up`.
    let folder = Folder::take(&config.data_dir)?;
    let key = config.master_key()?;
    let base = Base::open(config)?;
    let plan = DemoPlan::of(&folder)?;
    let agencies = demo::apply(&base.db, &key, &plan, SystemClock.now()).await?;
    base.close().await;
    let answer = json!({ "admin": plan.admin, "portals": plan.portals, "agencies": agencies });
    output.answer(&answer, || {
        let dash = || "-".to_owned();
        let portals: Vec<_> = plan
            .portals
            .iter()
            .map(|p| {
                let secret = p.signing_secret.clone().unwrap_or_else(dash);
                vec![p.code.clone(), p.api_key.clone().unwrap_or_else(dash), secret]
            })
            .collect();
        let accounts = plan.admin.iter().chain(&plan.agencies);
        let accounts: Vec<_> =
            accounts.map(|a| vec![a.email.clone(), a.password.clone()]).collect();
        let portals = table(&["PORTAL", "API KEY", "SIGNING SECRET"], &portals);
        format!("{portals}\n\n{}", table(&["SIGN-IN", "PASSWORD"], &accounts))
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_its_address() {
        let url = SecretString::from("postgres://us%40er:p+%3A%2F@host/db".to_owned());
        let (name, password) = login_of(&url).expect("a login");
        assert_eq!((name.as_str(), password.expose_secret()), ("us@er", "p+:/"));
    }

    #[test]
    fn an_address_without_a_password_has_no_login() {
        for url in ["postgres://host/db", "postgres://user@host/db", "postgres://:pw@host/db"] {
            assert!(login_of(&SecretString::from(url.to_owned())).is_err(), "{url}");
        }
    }
}
