//! Bodies: kept byte for byte, compressed once they are old. Whoever reads one does not notice.

use super::EventMark;
use crate::{Result, StoreFault, Tx};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::io::{Read, Write};
use switchyard_domain::EventId;

/// The name of the compression's place.
const MARK: &str = "compress bodies";
/// Bytes of bodies in one transaction, so that a few huge ones do not make it long.
const MOST_BYTES: i64 = 8 << 20;
/// Shorter bodies are not worth it: the row's other columns are longer.
const LEAST_BYTES: i32 = 256;

/// The body of a row that has `body`, `body_encoding` and `body_bytes`.
pub(crate) fn body_of(row: &PgRow) -> Result<Vec<u8>> {
    let body: Vec<u8> = row.try_get("body")?;
    let encoding: Option<&str> = row.try_get("body_encoding")?;
    if encoding.is_none() {
        return Ok(body);
    }
    let bytes: Option<i32> = row.try_get("body_bytes")?;
    let size = usize::try_from(bytes.unwrap_or_default()).unwrap_or_default();
    let mut whole = Vec::with_capacity(size);
    // We made it ourselves and know its length: nothing can make it longer.
    let read = GzDecoder::new(body.as_slice()).take(size as u64 + 1).read_to_end(&mut whole);
    match read {
        Ok(n) if n == size => Ok(whole),
        Ok(n) => Err(damaged(format!("{n} bytes instead of {size}"))),
        Err(e) => Err(damaged(e.to_string())),
    }
}

fn damaged(what: String) -> StoreFault {
    let message = format!("a compressed body is damaged: {what}");
    StoreFault::Database(sqlx::Error::Decode(message.into()))
}

/// What one batch of the compression did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// Events that were looked at; 0: there is nothing old that was not.
    pub looked_at: usize,
    /// Bodies that are compressed now.
    pub compressed: usize,
    /// Bytes before.
    pub before: usize,
    /// Bytes after.
    pub after: usize,
}

/// Compresses the bodies of the next events that are older than a day, at most `limit`.
///
/// # Errors
/// If the database is not available.
pub async fn compress_old(tx: &mut Tx, limit: i64) -> Result<Compressed> {
    let mark = EventMark::lock(tx, MARK).await?;
    let rows = sqlx::query(
        "select id, received_at, body from (
           select e.id, e.received_at, e.body, e.body_encoding,
             sum(octet_length(e.body)) over (order by e.received_at, e.id) - octet_length(e.body) as sum
           from (
             select id, received_at, body, body_encoding from switchyard.webhook_events
             where (received_at, id) > ($1, $2) and received_at < now() - interval '1 day'
             order by received_at, id limit $3) e) x
         where sum < $4 order by received_at, id",
    )
    .bind(mark.received_at)
    .bind(mark.id.0)
    .bind(limit)
    .bind(MOST_BYTES)
    .fetch_all(tx.conn())
    .await?;
    let Some(last) = rows.last() else { return Ok(Compressed::default()) };
    let mut bodies = Vec::with_capacity(rows.len());
    for row in &rows {
        bodies.push((row.try_get::<uuid::Uuid, _>("id")?, row.try_get::<Vec<u8>, _>("body")?));
    }
    let mark =
        EventMark { received_at: last.try_get("received_at")?, id: EventId(last.try_get("id")?) };
    // Deflating a few megabytes would hold up whatever else this thread serves.
    let smaller = tokio::task::spawn_blocking(move || smaller(bodies))
        .await
        .map_err(|e| StoreFault::Database(sqlx::Error::Decode(Box::new(e))))?;
    let mut done = Compressed { looked_at: rows.len(), ..Compressed::default() };
    let (mut ids, mut packed, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for (id, size, body) in smaller {
        done.compressed += 1;
        done.before += usize::try_from(size).unwrap_or_default();
        done.after += body.len();
        ids.push(EventId(id));
        sizes.push(size);
        packed.push(body);
    }
    super::lock_all(tx, &ids).await?;
    sqlx::query(
        "update switchyard.webhook_events e set body = u.body, body_encoding = 'gzip',
           body_bytes = u.size
         from unnest($1::uuid[], $2::bytea[], $3::int[]) as u (id, body, size)
         where e.id = u.id and e.body_encoding is null",
    )
    .bind(ids.iter().map(|e| e.0).collect::<Vec<_>>())
    .bind(packed)
    .bind(sizes)
    .execute(tx.conn())
    .await?;
    mark.keep(tx, MARK).await?;
    Ok(done)
}

/// Those bodies that are shorter compressed, with their length before.
fn smaller(bodies: Vec<(uuid::Uuid, Vec<u8>)>) -> Vec<(uuid::Uuid, i32, Vec<u8>)> {
    let small = |(id, body): (uuid::Uuid, Vec<u8>)| {
        let size = i32::try_from(body.len()).ok().filter(|n| *n >= LEAST_BYTES)?;
        // A body that is compressed already starts so; doing it twice gains nothing.
        if body.starts_with(&[0x1f, 0x8b]) {
            return None;
        }
        let mut packer = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(6));
        packer.write_all(&body).ok()?;
        let packed = packer.finish().ok()?;
        (packed.len() < body.len() * 9 / 10).then_some((id, size, packed))
    };
    bodies.into_iter().filter_map(small).collect()
}
