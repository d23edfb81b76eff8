//! Puts the demo into a database, in one transaction. What is there already stays as it is, except
//! for credentials that are not the plan's: those are set anew, so that what `demo.json` says holds.

use super::data::{AGENCIES, AgencySeed, COUNTRIES, PortalSeed, portal_seeds};
use super::{AccountPlan, DemoAgency, DemoPlan, PortalPlan};
use crate::{Fault, database_help};
use chrono::{DateTime, Duration, Utc};
use switchyard_api::password;
use switchyard_catalog::line::{Cause, add_territories};
use switchyard_domain::secrets::{MasterKey, PORTAL_SIGNING, api_key_matches, hash_api_key};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::agencies::{self, NewAgency};
use switchyard_store::leads::Place;
use switchyard_store::portals::{self, NewPortal, Portal};
use switchyard_store::{Db, Scope, StoreFault, Tx, administrators, agents};

/// The demo's agencies have a subscription for this long.
const SUBSCRIPTION: Duration = Duration::days(3650);

/// Seeds the database; gives the agencies as they stand in it.
///
/// # Errors
/// If the database refuses a row; then nothing is written.
pub async fn apply(
    db: &Db,
    key: &MasterKey,
    plan: &DemoPlan,
    now: DateTime<Utc>,
) -> Result<Vec<DemoAgency>, Fault> {
    let mut tx = db.begin(Scope::Platform).await.map_err(refused)?;
    if let Some(admin) = &plan.admin {
        administrator(&mut tx, admin).await?;
    }
    let seeds = portal_seeds();
    for planned in &plan.portals {
        if let Some(seed) = seeds.iter().find(|s| s.code == planned.code) {
            portal(&mut tx, key, seed, planned).await?;
        }
    }
    let mut done = Vec::with_capacity(AGENCIES.len());
    for seed in &AGENCIES {
        let Some(account) = plan.agencies.iter().find(|a| a.email == seed.email) else { continue };
        let id = agency(&mut tx, seed, account, now).await?;
        done.push(DemoAgency {
            id,
            name: seed.name.to_owned(),
            email: account.email.clone(),
            password: account.password.clone(),
            postal_codes: seed.postal_codes.iter().map(|c| (*c).to_owned()).collect(),
        });
    }
    tx.commit().await.map_err(refused)?;
    Ok(done)
}

async fn administrator(tx: &mut Tx, account: &AccountPlan) -> Result<(), Fault> {
    let AccountPlan { email, password } = account;
    match administrators::by_email(tx, email).await.map_err(refused)? {
        Some(there) if verified(password, &there.password_hash).await && !there.disabled => {}
        Some(_) => {
            let hash = hashed(password).await?;
            administrators::set_password(tx, email, &hash).await.map_err(refused)?;
        }
        None => {
            let hash = hashed(password).await?;
            administrators::create(tx, email, "Demo administrator", &hash)
                .await
                .map_err(refused)?;
        }
    }
    Ok(())
}

async fn agency(
    tx: &mut Tx,
    seed: &AgencySeed,
    account: &AccountPlan,
    now: DateTime<Utc>,
) -> Result<AgencyId, Fault> {
    if let Some((there, phc)) = agencies::by_email(tx, seed.email).await.map_err(refused)? {
        if !verified(&account.password, &phc).await {
            let hash = hashed(&account.password).await?;
            agencies::set_password(tx, seed.email, &hash).await.map_err(refused)?;
        }
        return Ok(there.id);
    }
    let new = NewAgency {
        name: seed.name.to_owned(),
        email: seed.email.to_owned(),
        phone: Some(seed.phone.to_owned()),
        password_hash: hashed(&account.password).await?,
        subscribed_until: Some(now + SUBSCRIPTION),
        catch_all: seed.catch_all,
    };
    let id = agencies::create(tx, &new).await.map_err(refused)?;
    for agent in seed.agents {
        let (email, phone) = (Some(agent.email), Some(agent.phone));
        agents::upsert(tx, AgentId::new(), id, agent.name, email, phone).await.map_err(refused)?;
    }
    let place = |country: &str, code: &str| Place {
        country: country.to_owned(),
        postal_code: code.to_owned(),
    };
    let places: Vec<Place> = COUNTRIES
        .iter()
        .flat_map(|country| seed.postal_codes.iter().map(|code| place(country, code)))
        .collect();
    add_territories(tx, id, &places, &Cause::default()).await.map_err(refused)?;
    Ok(id)
}

async fn portal(
    tx: &mut Tx,
    key: &MasterKey,
    seed: &PortalSeed,
    plan: &PortalPlan,
) -> Result<(), Fault> {
    let there = portals::by_code(tx, &seed.code).await.map_err(refused)?;
    if there.as_ref().is_some_and(|p| has_credentials(p, key, plan)) {
        return Ok(());
    }
    // A portal that is there keeps its settings: somebody may have mended its mapping.
    let (name, active, settings) = there.map_or_else(
        || (seed.name.clone(), true, seed.settings.clone()),
        |p| (p.name, p.active, p.settings),
    );
    let sealed = |secret: &String| key.seal(PORTAL_SIGNING, secret.as_bytes());
    let new = NewPortal {
        code: seed.code.clone(),
        name,
        active,
        settings,
        api_key_hash: plan.api_key.as_ref().map(|k| hash_api_key(k).to_vec()),
        signing_secret: plan.signing_secret.as_ref().map(sealed),
    };
    portals::upsert(tx, &new).await.map_err(refused)?;
    Ok(())
}

fn has_credentials(portal: &Portal, key: &MasterKey, plan: &PortalPlan) -> bool {
    let keyed = match (&plan.api_key, &portal.api_key_hash) {
        (Some(planned), Some(stored)) => api_key_matches(stored, planned),
        (planned, _) => planned.is_none(),
    };
    let signed = match (&plan.signing_secret, &portal.signing_secret) {
        (Some(planned), Some(sealed)) => {
            key.open(PORTAL_SIGNING, sealed).is_ok_and(|open| *open == planned.as_bytes())
        }
        (planned, _) => planned.is_none(),
    };
    keyed && signed
}

/// Hashing takes tens of milliseconds of one core: not for an async thread.
async fn hashed(password: &str) -> Result<String, Fault> {
    let password = password.to_owned();
    let hashing = tokio::task::spawn_blocking(move || password::hash(&password));
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        Fault::new("password", "a password could not be hashed").caused_by(e)
    };
    hashing.await.map_err(|e| failed(e.into()))?.map_err(|e| failed(e.into()))
}

async fn verified(password: &str, phc: &str) -> bool {
    let (password, phc) = (password.to_owned(), phc.to_owned());
    let verifying = tokio::task::spawn_blocking(move || password::verify(&password, &phc));
    verifying.await.unwrap_or(false)
}

fn refused(e: StoreFault) -> Fault {
    database_help::fault("demo", "the demo could not be put into the database", e)
}
