//! Encrypted arguments on their way into the tables, and under which keys they lie there.

use crate::engine::maintenance::KeepDays;
use crate::engine::plans::{of_job, places};
use crate::tx::EngineTx;
use crate::{Db, Result, StoreFault};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use switchyard_queue::{
    ArgsCipher, JobId, NewJob, Retention, SealFault, UniqueKey, opened_args, sealed_parts,
};
use uuid::Uuid;

/// Jobs that are sealed anew in one transaction: their rows are locked until its end.
const BATCH: i64 = 200;
/// Open jobs that the doctor looks at.
const LOOKED_AT: i64 = 10_000;

/// Makes jobs ready for their tables: a unique key of an encrypted kind is replaced by a keyed hash,
/// because it follows from the arguments.
///
/// A key that is held under the hash of an older key stays that one, so what is unique stays so while
/// keys change.
pub(super) async fn ready<'j>(
    connection: &mut PgConnection,
    jobs: &'j [NewJob],
    cipher: Option<&dyn ArgsCipher>,
) -> Result<Cow<'j, [NewJob]>> {
    if jobs.iter().any(|j| sealed_parts(&j.args).is_some()) {
        return Err(SealFault::Reserved.into());
    }
    if jobs.iter().all(|j| !j.encrypted) {
        return Ok(Cow::Borrowed(jobs));
    }
    let cipher = cipher.ok_or(SealFault::NoKey)?;
    let forms: Vec<Vec<String>> = jobs.iter().map(|j| key_forms(j, cipher)).collect();
    let older: Vec<&str> = forms.iter().flat_map(|f| f.iter().skip(1)).map(|f| &**f).collect();
    let mut held: HashSet<String> = HashSet::new();
    if !older.is_empty() {
        let found = sqlx::query_scalar("select key from engine.job_uniques where key = any($1)");
        held.extend(found.bind(older).fetch_all(connection).await?);
    }
    let mut jobs = jobs.to_vec();
    for (job, forms) in jobs.iter_mut().zip(forms) {
        let standing = forms.iter().find(|f| held.contains(*f)).or(forms.first());
        job.unique_key = standing.cloned().or(job.unique_key.take());
    }
    Ok(Cow::Owned(jobs))
}

/// The unique key of an encrypted job as it may be stored, under each key; none if there is nothing to
/// replace. A key that was given is JSON behind the kind, so it never looks like a form.
fn key_forms(job: &NewJob, cipher: &dyn ArgsCipher) -> Vec<String> {
    let Some(key) = job.unique_key.as_deref().filter(|_| job.encrypted) else { return Vec::new() };
    let given = UniqueKey::read(key);
    if given.key.starts_with("sealed:") {
        return Vec::new();
    }
    let form =
        |hash: &String| UniqueKey { key: &format!("sealed:{hash}"), ..given.clone() }.to_string();
    cipher.hashes(key).iter().map(form).collect()
}

/// The arguments as they are stored in the row of job `id`; [`ready`] saw to it that there is a key.
pub(super) fn stored<'j>(
    job: &'j NewJob,
    id: JobId,
    cipher: Option<&dyn ArgsCipher>,
) -> Cow<'j, Value> {
    match cipher {
        Some(cipher) if job.encrypted => Cow::Owned(cipher.seal(&job.kind, id, &job.args)),
        _ => Cow::Borrowed(&job.args),
    }
}

/// What lies under one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KeyUse {
    /// The key's id; `None`: jobs of encrypted kinds that lie there in plain text, because they were
    /// enqueued before their kind was encrypted.
    pub key: Option<String>,
    /// New jobs are sealed with it.
    pub current: bool,
    /// This process has it.
    pub present: bool,
    /// Open jobs, dead letters included.
    pub open: i64,
    /// Unique keys that are held under its hash.
    pub unique_keys: i64,
    /// Finished jobs: with the key they can be looked at and run again.
    pub history: i64,
    /// When the last of them is dropped.
    pub history_until: Option<DateTime<Utc>>,
}

/// What lies under which key, the current key first. Reads all of history: for operators, not for
/// programs that ask often.
///
/// # Errors
/// If the database is not available.
pub async fn uses(db: &Db, keep: KeepDays) -> Result<Vec<KeyUse>> {
    let mut tx = patient(db).await?;
    let open: Vec<(Option<String>, i64)> = sqlx::query_as(
        "select args -> '$sealed' ->> 'key', count(*) from engine.jobs where args ? '$sealed' group by 1
         union all
         select null, count(*) from engine.jobs
         where kind in (select kind from engine.kinds where encrypted) and not args ? '$sealed'
         having count(*) > 0",
    )
    .fetch_all(&mut *tx)
    .await?;
    let unique: Vec<(String, i64)> = sqlx::query_as(
        "select substring(key from ' (?:start:)?sealed:([0-9a-f]+):'), count(*) from engine.job_uniques
         where key ~ '^[^ ]+ (start:)?sealed:[0-9a-f]+:' group by 1",
    )
    .fetch_all(&mut *tx)
    .await?;
    let history: Vec<(String, i16, i64, DateTime<Utc>)> = sqlx::query_as(
        "select args -> '$sealed' ->> 'key', class, count(*), max(finished_at)
         from engine.job_history where args ? '$sealed' group by 1, 2",
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.rollback().await?;

    let mine = db.cipher().map(ArgsCipher::keys).unwrap_or_default();
    let mut uses: BTreeMap<Option<String>, KeyUse> = BTreeMap::new();
    for key in &mine {
        uses.entry(Some(key.clone())).or_default();
    }
    for (key, n) in open {
        uses.entry(key).or_default().open += n;
    }
    for (key, n) in unique {
        uses.entry(Some(key)).or_default().unique_keys += n;
    }
    for (key, class, n, last) in history {
        let class = [Retention::Standard, Retention::Short, Retention::Long]
            .into_iter()
            .find(|c| c.code() == class)
            .unwrap_or_default();
        let until = last + TimeDelta::days(keep.of(class).into());
        let entry = uses.entry(Some(key)).or_default();
        entry.history += n;
        entry.history_until = entry.history_until.max(Some(until));
    }
    let place = |key: &Option<String>| mine.iter().position(|k| Some(k) == key.as_ref());
    let mut uses: Vec<KeyUse> = uses
        .into_iter()
        .map(|(key, found)| KeyUse {
            current: key.is_some() && key.as_ref() == mine.first(),
            present: place(&key).is_some(),
            key,
            ..found
        })
        .collect();
    uses.sort_by_key(|u| place(&u.key).unwrap_or(usize::MAX));
    Ok(uses)
}

/// The keys that open jobs need and this process does not have, with the number of the jobs (of the
/// first 10,000 sealed ones).
///
/// # Errors
/// If the database is not available.
pub async fn missing_keys(db: &Db) -> Result<Vec<(String, i64)>> {
    let mine = db.cipher().map(ArgsCipher::keys).unwrap_or_default();
    let missing = sqlx::query_as(
        "select key, count(*) from (
           select args -> '$sealed' ->> 'key' as key from engine.jobs where args ? '$sealed' limit $2) j
         where key <> all($1) group by 1 order by 1",
    )
    .bind(mine)
    .bind(LOOKED_AT)
    .fetch_all(db.engine())
    .await?;
    Ok(missing)
}

/// What [`reseal`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resealed {
    /// Jobs that lie under the current key now.
    pub done: u64,
    /// Jobs that could not be opened, because their key is missing or they are broken.
    pub failed: u64,
}

/// Seals every open job under the current key that lies under another, or in plain text though its kind
/// is encrypted.
///
/// In small batches, and only jobs that nobody holds and whose row nobody has locked: it never waits for
/// a claim, and a claim steps over the rows of one batch. What runs meanwhile is left as it is; call it
/// again for that.
///
/// # Errors
/// If the database is not available, or this process has no key.
pub async fn reseal(db: &Db) -> Result<Resealed> {
    let cipher = db.cipher().ok_or(SealFault::NoKey)?;
    let current = cipher.keys().swap_remove(0);
    let mut all = Resealed::default();
    // Two passes over the ids: those under an old key have an index, those in plain text have none, and
    // there are none once they have been sealed.
    for wanted in [
        "select id, kind, args from engine.jobs
         where args ? '$sealed' and args -> '$sealed' ->> 'key' <> $1 and worker is null and id > $2
         order by id limit $3 for update skip locked",
        "select id, kind, args from engine.jobs
         where not args ? '$sealed' and kind in (select kind from engine.kinds where encrypted)
           and worker is null and id > $2 and $1 <> ''
         order by id limit $3 for update skip locked",
    ] {
        let mut after = Uuid::nil();
        loop {
            let mut tx = patient(db).await?;
            let rows: Vec<(Uuid, String, Value)> = sqlx::query_as(wanted)
                .bind(&current)
                .bind(after)
                .bind(BATCH)
                .fetch_all(&mut *tx)
                .await?;
            let Some((last, ..)) = rows.last() else { break };
            after = *last;
            let found = rows.len();
            let (ids, args) = sealed_anew(cipher, rows);
            all.failed += (found - ids.len()) as u64;
            let done = sqlx::query(concat!(
                "update engine.jobs j set args = ",
                of_job!("$2::jsonb[]"),
                " where j.ctid = any (",
                places!("engine.jobs", "id", "$1::uuid[]"),
                ")"
            ))
            .bind(ids)
            .bind(args)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            all.done += done.rows_affected();
        }
    }
    Ok(all)
}

fn sealed_anew(
    cipher: &dyn ArgsCipher,
    rows: Vec<(Uuid, String, Value)>,
) -> (Vec<Uuid>, Vec<Json<Value>>) {
    let anew = rows.into_iter().filter_map(|(id, kind, args)| {
        let job = JobId(id);
        match opened_args(Some(cipher), &kind, job, args) {
            Ok(plain) => Some((id, Json(cipher.seal(&kind, job, &plain)))),
            Err(fault) => {
                tracing::warn!(%job, kind, error = %fault, "a job cannot be sealed anew");
                None
            }
        }
    });
    anew.unzip()
}

/// A transaction that may take longer than a statement usually may: it reads much.
async fn patient(db: &Db) -> Result<EngineTx> {
    let mut tx = db.begin_engine().await?;
    sqlx::query("select set_config('statement_timeout', '600s', true)").execute(&mut *tx).await?;
    Ok(tx)
}

/// Which of these kinds are encrypted, as far as workers have declared them.
///
/// # Errors
/// If the database is not available.
pub async fn encrypted_kinds(db: &Db, kinds: &[&str]) -> Result<HashSet<String>> {
    let found: Vec<String> =
        sqlx::query_scalar("select kind from engine.kinds where kind = any($1) and encrypted")
            .bind(kinds)
            .fetch_all(db.engine())
            .await?;
    Ok(found.into_iter().collect())
}

/// The arguments of a job, opened. Who calls this answers for who sees them.
///
/// # Errors
/// [`StoreFault::NotFound`], or [`StoreFault::Sealed`] if this process cannot open them.
pub async fn reveal(db: &Db, id: JobId) -> Result<Value> {
    let row: Option<(String, Value)> = sqlx::query_as(
        "select kind, args from engine.jobs where id = $1
         union all
         select kind, args from engine.job_history where id = $1
         limit 1",
    )
    .bind(id.0)
    .fetch_optional(db.engine())
    .await?;
    let (kind, args) = row.ok_or(StoreFault::NotFound)?;
    Ok(opened_args(db.cipher(), &kind, id, args)?)
}
