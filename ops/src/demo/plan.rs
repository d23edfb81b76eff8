//! The demo's credentials: made once, kept in the data folder, so that a second start finds the same
//! passwords and keys good.

use super::data::{ADMIN, AGENCIES, portal_seeds};
use crate::Fault;
use crate::folder::Folder;
use crate::local::random_password;
use base64::Engine;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::fs;
use switchyard_domain::portal::{ApiKeyPlace, PortalSettings};
use switchyard_domain::secrets::new_api_key;

/// Where the plan is kept.
const FILE: &str = "seed.json";

/// Somebody who signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountPlan {
    /// Address.
    pub email: String,
    /// Password.
    pub password: String,
}

/// A portal's credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortalPlan {
    /// The word in its webhook URL.
    pub code: String,
    /// Its API key, if it has one.
    pub api_key: Option<String>,
    /// Its signing secret, if it signs.
    pub signing_secret: Option<String>,
}

/// All credentials of the demo.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DemoPlan {
    /// The administrator.
    pub admin: Option<AccountPlan>,
    /// The portals.
    pub portals: Vec<PortalPlan>,
    /// The agencies' sign-ins.
    pub agencies: Vec<AccountPlan>,
}

impl DemoPlan {
    /// The plan of a data folder. What a newer program brings along is added.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn of(folder: &Folder) -> Result<Self, Fault> {
        let path = folder.path().join(FILE);
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Fault::new("demo", format!("{} cannot be read", path.display()))
                .remedy("move the file away: new passwords and keys are made then")
                .caused_by(e)
        };
        let mut plan: Self = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| failed(e.into()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(e) => return Err(failed(e.into())),
        };
        if plan.complete()? {
            let text = serde_json::to_vec_pretty(&plan).map_err(|e| failed(e.into()))?;
            folder.write(FILE, &text)?;
        }
        Ok(plan)
    }

    /// A plan that is not kept.
    ///
    /// # Errors
    /// If a portal of the program is broken.
    pub fn fresh() -> Result<Self, Fault> {
        let mut plan = Self::default();
        plan.complete()?;
        Ok(plan)
    }

    /// Adds what is missing; says whether anything was.
    fn complete(&mut self) -> Result<bool, Fault> {
        let mut added = false;
        if self.admin.is_none() {
            self.admin = Some(account(ADMIN));
            added = true;
        }
        for agency in &AGENCIES {
            if !self.agencies.iter().any(|a| a.email == agency.email) {
                self.agencies.push(account(agency.email));
                added = true;
            }
        }
        for seed in portal_seeds() {
            if self.portals.iter().any(|p| p.code == seed.code) {
                continue;
            }
            let settings = PortalSettings::parse(&seed.settings).map_err(|faults| {
                Fault::new("demo", format!("portal {}: {faults:?}", seed.code))
            })?;
            let keyed = settings.api_key != ApiKeyPlace::None;
            self.portals.push(PortalPlan {
                code: seed.code,
                api_key: keyed.then(|| new_api_key().to_string()),
                signing_secret: settings.signature.map(|_| signing_secret()),
            });
            added = true;
        }
        Ok(added)
    }
}

fn account(email: &str) -> AccountPlan {
    let password = random_password().expose_secret()[..20].to_owned();
    AccountPlan { email: email.to_owned(), password }
}

/// 32 random bytes in the writing of Standard Webhooks; good for a plain HMAC too.
fn signing_secret() -> String {
    let bytes: [u8; 32] = rand::random();
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}
