//! `commission prove` and `verify-proof`.

use super::super::jobs::{away, instant};
use super::super::output::{Failure, Output};
use crate::Fault;
use crate::compose::Base;
use serde_json::json;
use std::path::Path;
use switchyard_domain::ledger::{EntryProof, Hash};
use switchyard_store::ledger::{self, EntryId};
use switchyard_store::{Scope, StoreFault};
use uuid::Uuid;

/// Writes the proof of an entry.
pub(super) async fn prove(
    base: &Base,
    entry: Uuid,
    size: Option<u64>,
    out: Option<&Path>,
    output: Output,
) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let proof =
        ledger::prove(&mut tx, EntryId(entry), size).await.map_err(|fault| match fault {
            StoreFault::NotFound => Fault::new("not_found", format!("there is no entry {entry}"))
                .remedy("`switchyard commission explain` names the entries of a lead or an event"),
            fault => away(fault),
        })?;
    tx.rollback().await.map_err(away)?;
    let proof = proof.ok_or_else(|| {
        Fault::new("not_signed", "no such signed head covers the entry").remedy(
            "new entries are signed within a minute by the job ledger.sequence; with --size give the \
             size of a head that a backup's manifest names",
        )
    })?;
    let text = serde_json::to_string_pretty(&proof)
        .map_err(|e| Fault::new("proof", "the proof cannot be written as JSON").caused_by(e))?;
    let Some(out) = out else {
        output.answer(&proof, || text);
        return Ok(());
    };
    std::fs::write(out, text + "\n").map_err(|e| {
        Fault::new("file", format!("{} cannot be written", out.display())).caused_by(e)
    })?;
    let view =
        json!({ "file": out, "size": proof.head.size, "root": hex::encode(proof.head.root) });
    output.answer(&view, || format!("written to {}\n{}", out.display(), under(&proof)));
    Ok(())
}

/// Checks a proof; asks nobody.
pub(super) fn verify(file: &Path, root: Option<&Hash>, output: Output) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| {
        Fault::new("file", format!("{} cannot be read", file.display())).caused_by(e)
    })?;
    let proof: EntryProof = serde_json::from_str(&text).map_err(|e| {
        Fault::new("not_a_proof", format!("{} is no proof of an entry", file.display()))
            .caused_by(e)
            .remedy("`switchyard commission prove ENTRY --out FILE` writes one")
    })?;
    proof
        .verify(root)
        .map_err(|why| Fault::new("not_proven", format!("nothing is proven: {why}")))?;
    let entry = &proof.entry;
    let view = json!({
        "entry": entry.id,
        "place": proof.inclusion.index,
        "size": proof.head.size,
        "root": hex::encode(proof.head.root),
        "key_id": proof.head.key_id(),
        "signed_at": proof.head.at,
        "root_compared": root.is_some(),
    });
    output.answer(&view, || {
        let against = match root {
            Some(_) => "the root is the one that was given",
            None => {
                "whether that is the platform's key, compare with a note `ledger.root` that you kept, \
                 or give a root with --root"
            }
        };
        format!(
            "proven: {} {} has place {} of the log\n{}\n{against}",
            entry.kind,
            entry.id,
            proof.inclusion.index,
            under(&proof)
        )
    });
    Ok(())
}

/// Under which head.
fn under(proof: &EntryProof) -> String {
    let head = &proof.head;
    format!(
        "under the head of {} entries, root {}, signed {} by key {}",
        head.size,
        hex::encode(head.root),
        instant(head.at),
        head.key_id()
    )
}
