//! What workers say of the kinds that they know: for callers of `engine.enqueue`, and for the
//! statements that follow from a kind (how long its history is kept).

use crate::{Db, Result};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;
use switchyard_queue::KindInfo;

/// Writes down each kind under each of its names, and of those the versions that it runs. Of programs of two versions the one that
/// registered last is believed. What stands already is not written again: a fleet that starts
/// together must not queue up behind these rows. A name that is new rests if its kind is paused.
pub(crate) async fn declare(db: &Db, kinds: &[KindInfo]) -> Result<()> {
    let stored = |k: &KindInfo| -> BTreeSet<Cow<'static, str>> {
        k.names().map(Cow::Borrowed).chain(k.runs()).collect()
    };
    let all: Vec<(Cow<'static, str>, &KindInfo)> =
        kinds.iter().flat_map(|k| stored(k).into_iter().map(move |n| (n, k))).collect();
    if all.is_empty() {
        return Ok(());
    }
    let millis = |k: &KindInfo| i32::try_from(k.timeout.as_millis()).unwrap_or(i32::MAX).max(1);
    sqlx::query(
        "insert into engine.kinds as k (kind, name, queue, max_attempts, timeout_ms, retention,
           stuck_after_ms, encrypted, paused)
         select kind, name, queue, max_attempts, timeout_ms, retention, stuck_after_ms, encrypted,
           exists (select from engine.kinds p where p.name = given.name and p.paused)
         from unnest($1::text[], $2::text[], $3::text[], $4::int2[], $5::int[], $6::int2[],
                     $7::int8[], $8::bool[])
           given(kind, name, queue, max_attempts, timeout_ms, retention, stuck_after_ms, encrypted)
         order by kind
         on conflict (kind) do update set
           name = excluded.name, queue = excluded.queue, max_attempts = excluded.max_attempts,
           timeout_ms = excluded.timeout_ms, retention = excluded.retention,
           stuck_after_ms = excluded.stuck_after_ms, encrypted = excluded.encrypted, declared_at = now()
         where (k.name, k.queue, k.max_attempts, k.timeout_ms, k.retention, k.stuck_after_ms,
             k.encrypted)
           is distinct from (excluded.name, excluded.queue, excluded.max_attempts,
             excluded.timeout_ms, excluded.retention, excluded.stuck_after_ms, excluded.encrypted)",
    )
    .bind(all.iter().map(|(name, _)| &**name).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, k)| k.kind).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, k)| k.queue.0).collect::<Vec<_>>())
    .bind(
        all.iter()
            .map(|(_, k)| i16::try_from(k.max_attempts).unwrap_or(i16::MAX).max(1))
            .collect::<Vec<_>>(),
    )
    .bind(all.iter().map(|(_, k)| millis(k)).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, k)| k.retention.code()).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, k)| k.stuck_after.map(long_millis)).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, k)| k.encrypted).collect::<Vec<_>>())
    .execute(db.engine())
    .await?;
    Ok(())
}

fn long_millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX).max(1)
}
