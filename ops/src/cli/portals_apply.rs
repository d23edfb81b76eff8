//! `portals apply`: a file becomes a portal. Everything is checked before anything is written, and the
//! same file again changes nothing.

use super::args::PortalApply;
use super::jobs::away;
use super::output::{Failure, Output};
use super::portals::{broken, who};
use crate::compose::Base;
use crate::portal_file::{FileFault, PortalFile};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use switchyard_catalog::portal_rules::{self, Given, Lack};
use switchyard_domain::secrets::{
    MasterKey, PORTAL_ENRICH, PORTAL_SIGNING, credential_matches, hash_api_key, hash_credential,
    new_api_key,
};
use switchyard_domain::signature::SigningSecrets;
use switchyard_store::Scope;
use switchyard_store::portals::{self, NewPortal, Portal};

/// What a file changes.
#[derive(Default)]
struct Plan {
    /// There is no such portal yet.
    created: bool,
    /// `name`, `active`, `settings`, `secrets.api_key`, ...
    changed: Vec<&'static str>,
    fresh_key: Option<String>,
    key_hash: Option<Vec<u8>>,
    /// The second key of the file.
    former_hash: Option<Vec<u8>>,
    signing: Option<Vec<u8>>,
    verify: Option<Vec<u8>>,
    enrich: Option<Vec<u8>>,
}

pub(super) async fn apply(base: &Base, args: &PortalApply, output: Output) -> Result<(), Failure> {
    let wrong = |faults| broken(&args.file, faults);
    let file = PortalFile::read(&args.file, true).map_err(wrong)?;
    let samples = file.check_samples().map_err(wrong)?;
    let key = base.config.master_key()?;
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let stands = portals::by_code(&mut tx, &file.code).await.map_err(away)?;
    let plan = plan(&file, stands.as_ref(), &key)
        .map_err(|faults| wrong(file.document.located(faults)))?;
    let mut version = stands.as_ref().map_or(0, |p| p.version);
    if !plan.changed.is_empty() || plan.created {
        portals::acting(&mut tx, &who()).await.map_err(away)?;
        let active = file.active.or(stands.as_ref().map(|p| p.active)).unwrap_or(true);
        let new = NewPortal {
            code: file.code.clone(),
            name: file.name.clone(),
            active,
            settings: file.raw.clone(),
            api_key_hash: plan.key_hash.clone(),
            signing_secret: plan.signing.clone(),
        };
        let portal = portals::upsert(&mut tx, &new).await.map_err(away)?;
        if let Some(hash) = &plan.verify {
            portals::set_verify_token(&mut tx, portal.id, Some(hash)).await.map_err(away)?;
        }
        if let Some(sealed) = &plan.enrich {
            portals::set_enrich_token(&mut tx, portal.id, sealed).await.map_err(away)?;
        }
        if plan.changed.contains(&"secrets.api_key") {
            let former = plan.former_hash.as_deref();
            portals::set_former_key(&mut tx, portal.id, former).await.map_err(away)?;
        }
        version = portal.version;
    }
    if args.dry_run {
        tx.rollback().await.map_err(away)?;
    } else {
        tx.commit().await.map_err(away)?;
    }
    told(&file, args, &plan, version, samples, output);
    Ok(())
}

fn told(
    file: &PortalFile,
    args: &PortalApply,
    plan: &Plan,
    version: i32,
    samples: usize,
    output: Output,
) {
    // In a dry run no key was kept, so none is shown.
    let key = plan.fresh_key.as_ref().filter(|_| !args.dry_run);
    let mut answer = json!({
        "code": file.code,
        "created": plan.created,
        "changed": plan.changed,
        "version": version,
        "samples": samples,
        "dry_run": args.dry_run,
    });
    if let Some(key) = key {
        answer["api_key"] = json!(key);
    }
    output.answer(&answer, || {
        let would = if args.dry_run { "would be" } else { "is" };
        let what = match (plan.created, plan.changed.as_slice()) {
            (true, _) => format!("{} {would} created, settings version {version}", file.code),
            (false, []) => format!("{} stands as the file says; nothing changes", file.code),
            (false, changed) => {
                let changed = changed.join(", ");
                format!("{} {would} changed ({changed}), settings version {version}", file.code)
            }
        };
        let proven = match samples {
            0 => "\nthe file has no samples: add some, they prove the mapping".to_owned(),
            n => format!("\n{n} samples come to what they should"),
        };
        let key = key.map(|k| format!("\nAPI key, shown this once: {k}")).unwrap_or_default();
        what + &proven + &key
    });
}

/// What is different, checked against what is there.
fn plan(
    file: &PortalFile,
    stands: Option<&Portal>,
    key: &MasterKey,
) -> Result<Plan, Vec<FileFault>> {
    let mut plan = Plan { created: stands.is_none(), ..Plan::default() };
    if let Some(portal) = stands {
        let differs = [
            ("name", portal.name != file.name),
            ("active", file.active.is_some_and(|a| a != portal.active)),
            ("settings", portal.settings != file.raw),
        ];
        plan.changed.extend(differs.into_iter().filter(|(_, d)| *d).map(|(name, _)| name));
    }
    let mut faults = Vec::new();
    if let Err(fault) = api_key(file, stands, key, &mut plan) {
        faults.push(fault);
    }
    if let Err(fault) = signing(file, stands, key, &mut plan) {
        faults.push(fault);
    }
    let stored = stands.and_then(|p| p.verify_token_hash.as_ref());
    let lacks = portal_rules::lacks(&file.settings, stands, given(file), key);
    faults.extend(lacks.into_iter().map(lack));
    if let Some(token) = &file.secrets.verify_token {
        let is = stored.is_some_and(|hash| credential_matches(key, hash, token.expose_secret()));
        match chosen(key, "/secrets/verify_token", token) {
            Ok(_) if is => {}
            Ok(hash) => {
                plan.verify = Some(hash);
                plan.changed.push("secrets.verify_token");
            }
            Err(fault) => faults.push(fault),
        }
    }
    let stored = stands.and_then(|p| p.enrich_token.as_ref());
    plan.enrich = token(&file.secrets.enrich_token, stored, key, PORTAL_ENRICH);
    if plan.enrich.is_some() {
        plan.changed.push("secrets.enrich_token");
    }
    if faults.is_empty() { Ok(plan) } else { Err(faults) }
}

fn given(file: &PortalFile) -> Given {
    Given {
        api_key: !file.secrets.api_key.is_empty(),
        signing: file.secrets.signing_text().is_some(),
        verify_token: file.secrets.verify_token.is_some(),
    }
}

fn lack(lack: Lack) -> FileFault {
    let (at, code, message) = match lack {
        Lack::SigningSecret => {
            ("/signature", "required", "A portal that signs needs `secrets.signing`.")
        }
        Lack::SecretUnfit => (
            "/signature",
            "secret_unfit",
            "The signing secret that is stored does not fit this scheme; give one in \
             `secrets.signing`.",
        ),
        Lack::VerifyToken => (
            "/handshake/token",
            "required",
            "A portal whose `handshake` has a token needs `secrets.verify_token`.",
        ),
    };
    FileFault::at(at, code, message)
}

/// A token of the file, sealed, if it is not the one that stands.
fn token(
    new: &Option<SecretString>,
    stored: Option<&Vec<u8>>,
    key: &MasterKey,
    purpose: &str,
) -> Option<Vec<u8>> {
    let new = new.as_ref()?.expose_secret();
    let stands = opened(key, purpose, stored).is_some_and(|old| *old == *new);
    (!stands).then(|| key.seal(purpose, new.as_bytes()))
}

fn opened(
    key: &MasterKey,
    purpose: &str,
    sealed: Option<&Vec<u8>>,
) -> Option<zeroize::Zeroizing<String>> {
    let plain = key.open(purpose, sealed?).ok()?;
    String::from_utf8(plain.to_vec()).ok().map(zeroize::Zeroizing::new)
}

/// The key of the file, or a new one for a portal that needs one and has none.
fn api_key(
    file: &PortalFile,
    stands: Option<&Portal>,
    key: &MasterKey,
    plan: &mut Plan,
) -> Result<(), FileFault> {
    let keys = &file.secrets.api_key;
    let Some(first) = keys.first() else {
        let named = file.raw.get("api_key").is_some();
        if portal_rules::needs_key(&file.settings, named, stands, given(file)) {
            let fresh = new_api_key();
            plan.key_hash = Some(hash_api_key(&fresh).to_vec());
            plan.fresh_key = Some(fresh.to_string());
            plan.changed.push("secrets.api_key");
        }
        return Ok(());
    };
    let is = |hash: Option<&Vec<u8>>, given: Option<&SecretString>| match (hash, given) {
        (Some(hash), Some(given)) => credential_matches(key, hash, given.expose_secret()),
        (None, None) => true,
        _ => false,
    };
    let standing = stands.and_then(|p| p.api_key_hash.as_ref());
    let former = stands.and_then(|p| p.former_key_hash.as_ref());
    let second = keys.get(1);
    // One key in the file leaves the former one of a rotation its time.
    let settled = is(standing, Some(first)) && (second.is_none() || is(former, second));
    if !settled {
        let at = "/secrets/api_key";
        plan.key_hash = Some(chosen(key, at, first)?);
        plan.former_hash = second.map(|k| chosen(key, at, k)).transpose()?;
        plan.changed.push("secrets.api_key");
    }
    Ok(())
}

/// What is stored of a credential that the sender chose.
fn chosen(key: &MasterKey, at: &str, secret: &SecretString) -> Result<Vec<u8>, FileFault> {
    hash_credential(key, secret.expose_secret())
        .map_err(|e| FileFault::at(at, "invalid_secret", format!("{e}.")))
}

fn signing(
    file: &PortalFile,
    stands: Option<&Portal>,
    key: &MasterKey,
    plan: &mut Plan,
) -> Result<(), FileFault> {
    let at = "/secrets/signing";
    let stored = stands.and_then(|p| p.signing_secret.as_ref());
    match (&file.settings.signature, file.secrets.signing_text()) {
        (None, None) => Ok(()),
        (None, Some(_)) => {
            let message =
                "The settings say nothing about a signature; add `signature` or take this out.";
            Err(FileFault::at(at, "no_signature", message))
        }
        // Whether it needs one is told with whatever else is lacking.
        (Some(_), None) => Ok(()),
        (Some(scheme), Some(text)) => {
            let secrets = SigningSecrets::parse(scheme, text.expose_secret())
                .map_err(|e| FileFault::at(at, "invalid_secret", format!("{e}.")))?;
            if opened(key, PORTAL_SIGNING, stored).is_none_or(|old| *old != *secrets.text()) {
                plan.signing = Some(key.seal(PORTAL_SIGNING, secrets.text().as_bytes()));
                plan.changed.push("secrets.signing");
            }
            Ok(())
        }
    }
}
