//! `migrate` and `seed`.

use super::args::Global;
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use crate::demo::{self, DemoPlan};
use crate::folder::Folder;
use serde_json::json;
use switchyard_queue::{Clock, SystemClock};

pub(super) async fn migrate(global: &Global, output: Output) -> Result<(), Failure> {
    let config = load(global, Vec::new(), Needs { database: true, secret_key: false })?;
    let everyday = config.database.map(|d| d.url);
    let Some(url) = config.owner_url.or(everyday) else {
        return Err(Fault::new("configuration", "there is no address of a database").into());
    };
    let status = switchyard_store::migrate(&url).await.map_err(|e| {
        Fault::new("migrate", "the database could not be brought up to date")
            .remedy("see the cause; database.owner_url must name a login that may change tables")
            .caused_by(e)
    })?;
    let answer = json!({ "known": status.known, "applied": status.applied });
    output.answer(&answer, || {
        format!("{} of {} migrations are in place", status.applied, status.known)
    });
    Ok(())
}

pub(super) async fn seed(global: &Global, output: Output) -> Result<(), Failure> {
    let config = load(global, Vec::new(), Needs { database: true, secret_key: true })?;
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
