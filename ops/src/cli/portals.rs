//! `portals`: test, list, show, rotate, pause, resume, versions, rollback. `apply` has its own file.

use super::args::{Global, PortalRotate, PortalTest, Portals};
use super::jobs::{away, instant};
use super::output::{Failure, Output, table};
use super::{load, portals_apply};
use crate::Fault;
use crate::compose::Base;
use crate::config::{Needs, duration, written_duration};
use crate::portal_file::{self, Delivery, FileFault, Outcome, PortalFile};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use switchyard_catalog::line::{self, Cause};
use switchyard_domain::PortalId;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::secrets::{MasterKey, PORTAL_SIGNING, hash_api_key, new_api_key};
use switchyard_domain::signature::SigningSecrets;
use switchyard_queue::TraceContext;
use switchyard_store::portals::{self, Portal, Pulse};
use switchyard_store::{Scope, StoreFault, Tx};

pub(super) async fn run(global: &Global, command: &Portals, output: Output) -> Result<(), Failure> {
    // A file is tried without a database.
    if let Portals::Test(args) = command {
        return test(args, output);
    }
    let needs = Needs {
        database: true,
        secret_key: matches!(command, Portals::Apply(_) | Portals::Rotate(_)),
        ..Needs::default()
    };
    let base = Base::open(load(global, Vec::new(), needs)?)?;
    let ended = match command {
        Portals::Apply(args) => portals_apply::apply(&base, args, output).await,
        Portals::Test(_) => Ok(()),
        Portals::List => list(&base, output).await,
        Portals::Show(portal) => show(&base, &portal.code, output).await,
        Portals::Rotate(args) => rotate(&base, args, output).await,
        Portals::Pause(portal) => pause(&base, &portal.code, true, output).await,
        Portals::Resume(portal) => pause(&base, &portal.code, false, output).await,
        Portals::Versions(portal) => versions(&base, &portal.code, output).await,
        Portals::Rollback { code, version } => rollback(&base, code, *version, output).await,
    };
    base.close().await;
    ended
}

/// Who acts on the command line.
pub(super) fn who() -> String {
    format!("cli:{}", std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned()))
}

/// Each command is a request of its own.
pub(super) fn cause() -> Cause {
    let request = format!("cli-{}", uuid::Uuid::now_v7());
    Cause { trace: Some(TraceContext::new_root()), request_id: Some(request) }
}

/// The portal with this code.
pub(super) async fn named(tx: &mut Tx, code: &str) -> Result<Portal, Failure> {
    portals::by_code(tx, code).await.map_err(away)?.ok_or_else(|| {
        Fault::new("not_found", format!("there is no portal `{code}`"))
            .remedy("`switchyard portals list` names those that there are")
            .into()
    })
}

/// What is wrong with a file: exit code 1, every fault with its line.
pub(super) fn broken(file: &Path, faults: Vec<FileFault>) -> Failure {
    let message = match faults.len() {
        1 => format!("{} has a fault", file.display()),
        n => format!("{} has {n} faults", file.display()),
    };
    let lines: Vec<String> = faults.iter().map(|f| format!("  {}", f.sentence())).collect();
    let people = format!("switchyard: {message}\n{}", lines.join("\n"));
    let error = json!({ "code": "portal_file", "message": message, "faults": faults });
    Failure::Told { code: 1, error, people }
}

fn test(args: &PortalTest, output: Output) -> Result<(), Failure> {
    let file = PortalFile::read(&args.file, false).map_err(|f| broken(&args.file, f))?;
    let Some(event) = &args.event else {
        let checked = file.check_samples().map_err(|f| broken(&args.file, f))?;
        output.answer(&json!({ "code": file.code, "samples": checked }), || {
            format!("{}: {checked} samples come to what they should", file.code)
        });
        return Ok(());
    };
    let raw = raw(args)?;
    let all = portal_file::deliveries(event, &raw).map_err(|f| broken(event, vec![f]))?;
    let outcomes: Vec<Outcome> = all
        .into_iter()
        .map(|mut delivery| {
            if delivery.headers.get("content-type").is_none() {
                let all = delivery.headers.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
                let json = [("content-type".to_owned(), "application/json".to_owned())];
                delivery.headers = all.chain(json).collect();
            }
            portal_file::judge(&file.settings, &delivery)
        })
        .collect();
    let people = || outcomes.iter().map(told).collect::<Vec<_>>().join("\n\n");
    match outcomes.as_slice() {
        [one] => output.answer(one, people),
        all => output.answer(&json!({ "deliveries": all }), people),
    }
    let well = outcomes.iter().all(|o| o.outcome != "rejected");
    if well { Ok(()) } else { Err(Failure::Said(1)) }
}

fn raw(args: &PortalTest) -> Result<Delivery, Failure> {
    let mut fields = Vec::new();
    for header in &args.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            let what = format!("`{header}` is no header field: write 'Name: value'");
            Failure::Usage(Fault::new("header", what))
        })?;
        fields.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if let Some(kind) = &args.content_type {
        fields.push(("Content-Type".to_owned(), kind.clone()));
    }
    let url = args.url.clone();
    Ok(Delivery { headers: fields.into_iter().collect(), body: Vec::new(), url })
}

fn told(outcome: &Outcome) -> String {
    let mut lines = vec![match outcome.outcome {
        "leads" => format!("{} leads", outcome.leads.iter().filter(|l| l.lead.is_some()).count()),
        other => other.to_owned(),
    }];
    for (n, lead) in outcome.leads.iter().enumerate() {
        let Some(data) = &lead.lead else { continue };
        lines.push(format!("\nlead {n}"));
        lines.extend(super::leads::fields(data).into_iter().map(|(k, v)| format!("  {k:<14} {v}")));
        lines.extend(lead.fetch_url.iter().map(|url| format!("  {:<14} {url}", "fetched from")));
    }
    lines.extend(
        outcome.reasons.iter().map(|f| format!("  {} ({}): {}", f.field, f.code, f.message)),
    );
    lines.join("\n")
}

async fn list(base: &Base, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let all = portals::list(&mut tx).await.map_err(away)?;
    let pulses = portals::pulses(&mut tx).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let views: Vec<Value> = all.iter().map(|p| view(p, &pulses)).collect();
    output.answer(&json!({ "portals": views }), || {
        let row = |p: &Portal| {
            let pulse = pulses.get(&p.id);
            vec![
                p.code.clone(),
                p.name.clone(),
                state(p, pulse).to_owned(),
                p.version.to_string(),
                auth(p).join("+"),
                pulse.map(|p| instant(p.last_event_at)).unwrap_or_default(),
                pulse.and_then(|p| p.usual_gap).map(written_duration).unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        let head = ["PORTAL", "NAME", "STATE", "VERSION", "KNOWN BY", "LAST EVENT", "USUAL GAP"];
        table(&head, &rows)
    });
    Ok(())
}

fn state(portal: &Portal, pulse: Option<&Pulse>) -> &'static str {
    match (portal.active, portal.paused_at, pulse.and_then(|p| p.silent_since)) {
        (false, ..) => "closed",
        (_, Some(_), _) => "paused",
        (_, _, Some(_)) => "silent",
        _ => "active",
    }
}

fn auth(portal: &Portal) -> Vec<&'static str> {
    let has =
        [(portal.api_key_hash.is_some(), "key"), (portal.signing_secret.is_some(), "signature")];
    has.into_iter().filter(|(has, _)| *has).map(|(_, word)| word).collect()
}

/// A portal as it is shown: no secret, no hash.
pub(super) fn view(portal: &Portal, pulses: &HashMap<PortalId, Pulse>) -> Value {
    let pulse = pulses.get(&portal.id);
    json!({
        "id": portal.id,
        "code": portal.code,
        "name": portal.name,
        "active": portal.active,
        "state": state(portal, pulse),
        "version": portal.version,
        "settings": portal.settings,
        "has_api_key": portal.api_key_hash.is_some(),
        "has_former_api_key": portal.former_key_hash.is_some(),
        "has_signing_secret": portal.signing_secret.is_some(),
        "has_verify_token": portal.verify_token_hash.is_some(),
        "has_enrich_token": portal.enrich_token.is_some(),
        "paused_at": portal.paused_at,
        "last_event_at": pulse.map(|p| p.last_event_at),
        "usual_gap_seconds": pulse.and_then(|p| p.usual_gap).map(|g| g.as_secs()),
        "silent_since": pulse.and_then(|p| p.silent_since),
        "created_at": portal.created_at,
        "updated_at": portal.updated_at,
    })
}

async fn show(base: &Base, code: &str, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = named(&mut tx, code).await?;
    let pulses = portals::pulses(&mut tx).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let view = view(&portal, &pulses);
    output.answer(&view, || {
        let Value::Object(members) = &view else { return String::new() };
        let settings = serde_json::to_string_pretty(&portal.settings).unwrap_or_default();
        let facts = members.iter().filter(|(name, value)| *name != "settings" && !value.is_null());
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let lines: Vec<String> = facts.map(|(k, v)| format!("{k:<19} {}", text(v))).collect();
        format!("{}\n\n{settings}", lines.join("\n"))
    });
    Ok(())
}

async fn pause(base: &Base, code: &str, on: bool, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = named(&mut tx, code).await?;
    let changed = if on {
        line::pause(&mut tx, portal.id).await
    } else {
        line::resume(&mut tx, portal.id, &cause()).await
    };
    let changed = changed.map_err(away)?;
    tx.commit().await.map_err(away)?;
    output.answer(&json!({ "code": code, "paused": on, "changed": changed }), || {
        match (on, changed) {
            (true, true) => format!("{code} is paused: what comes is taken and held"),
            (true, false) => format!("{code} was paused already"),
            (false, true) => format!("{code} goes on; what was held is taken up"),
            (false, false) => format!("{code} was not paused"),
        }
    });
    Ok(())
}

async fn versions(base: &Base, code: &str, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = named(&mut tx, code).await?;
    let all = portals::versions(&mut tx, portal.id).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let answer = json!({ "code": code, "version": portal.version, "versions": all });
    output.answer(&answer, || {
        let rows: Vec<_> = all
            .iter()
            .map(|v| {
                let now = if v.version == portal.version { "in force" } else { "" };
                vec![v.version.to_string(), instant(v.changed_at), v.changed_by.clone(), now.into()]
            })
            .collect();
        table(&["VERSION", "CHANGED", "BY", ""], &rows)
    });
    Ok(())
}

async fn rollback(base: &Base, code: &str, version: i32, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = named(&mut tx, code).await?;
    portals::acting(&mut tx, &who()).await.map_err(away)?;
    let now = match portals::rollback(&mut tx, portal.id, version).await {
        Ok(now) => now,
        Err(StoreFault::NotFound) => {
            let what = format!("{code} has no version {version}");
            let remedy = format!("`switchyard portals versions {code}` lists them");
            return Err(Fault::new("not_found", what).remedy(remedy).into());
        }
        Err(e) => return Err(away(e).into()),
    };
    tx.commit().await.map_err(away)?;
    let changed = now != portal.version;
    let answer = json!({ "code": code, "version": now, "restored": version, "changed": changed });
    output.answer(&answer, || {
        if changed {
            format!("{code} has the settings of version {version} again, as version {now}")
        } else {
            format!("{code} has the settings of version {version} already")
        }
    });
    Ok(())
}

async fn rotate(base: &Base, args: &PortalRotate, output: Output) -> Result<(), Failure> {
    let keep = duration(&args.keep).ok_or_else(|| {
        let what = format!("`{}` is no duration: write 90s, 30m or 24h", args.keep);
        Failure::Usage(Fault::new("keep", what))
    })?;
    let given = given_secret(args)?;
    let key = base.config.master_key()?;
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = named(&mut tx, &args.code).await?;
    let mut shown = json!({ "code": args.code, "old_good_for_seconds": keep.as_secs() });
    let people = if given.is_some() || portal.api_key_hash.is_none() {
        let fresh = given.is_none();
        let secret = given.unwrap_or_else(new_secret);
        let (both, after) = rotated(&portal, &secret, &key)?;
        portals::rotate_secret(&mut tx, portal.id, &both, &after, keep).await.map_err(away)?;
        if fresh {
            shown["signing_secret"] = json!(secret.expose_secret());
        }
        let told = if fresh { secret.expose_secret() } else { "(as given)" };
        format!("new signing secret: {told}")
    } else {
        let fresh = new_api_key();
        let hash = hash_api_key(&fresh);
        portals::rotate_key(&mut tx, portal.id, &hash, keep).await.map_err(away)?;
        shown["api_key"] = json!(fresh.as_str());
        format!("new API key: {}", fresh.as_str())
    };
    tx.commit().await.map_err(away)?;
    output.answer(&shown, || {
        format!("{people}\nthe old one stays good for {}", written_duration(keep))
    });
    Ok(())
}

fn given_secret(args: &PortalRotate) -> Result<Option<SecretString>, Failure> {
    let text = match (&args.secret_env, &args.secret_file) {
        (Some(name), _) => std::env::var(name).map_err(|_| {
            let what = format!("the environment variable {name} is not set");
            Failure::Usage(Fault::new("secret_env", what))
        })?,
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|e| {
            let what = format!("{} cannot be read", file.display());
            Failure::Usage(Fault::new("secret_file", what).caused_by(e))
        })?,
        (None, None) => return Ok(None),
    };
    Ok(Some(SecretString::from(text.trim().to_owned())))
}

/// 32 random bytes in the writing of Standard Webhooks; good for a plain HMAC too.
fn new_secret() -> SecretString {
    use base64::Engine;
    let bytes: [u8; 32] = rand::random();
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    SecretString::from(format!("whsec_{text}"))
}

/// The new secret with the one before, and alone, both sealed.
fn rotated(
    portal: &Portal,
    secret: &SecretString,
    key: &MasterKey,
) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let refused = |what: String| Failure::from(Fault::new("signing_secret", what));
    let settings = PortalSettings::parse(&portal.settings)
        .map_err(|f| refused(switchyard_domain::FieldFault::sentences(&f)))?;
    let scheme = settings.signature.as_ref().ok_or_else(|| {
        refused(format!("the settings of `{}` say nothing about a signature", portal.code))
    })?;
    let unfit = |e: switchyard_domain::signature::SecretFault| refused(e.to_string());
    let alone = SigningSecrets::parse(scheme, secret.expose_secret()).map_err(unfit)?;
    let both = match &portal.signing_secret {
        None => alone.clone(),
        Some(sealed) => {
            let old = key.open(PORTAL_SIGNING, sealed).map_err(|e| refused(e.to_string()))?;
            let old = std::str::from_utf8(&old).map_err(|e| refused(e.to_string()))?;
            let old = SigningSecrets::parse(scheme, old).map_err(unfit)?;
            old.rotated(scheme, secret.expose_secret()).map_err(unfit)?
        }
    };
    let seal = |secrets: &SigningSecrets| key.seal(PORTAL_SIGNING, secrets.text().as_bytes());
    Ok((seal(&both), seal(&alone)))
}
