//! Hostile and unusual bodies through the real door: a clear answer, a row in the audit, no panic.

use super::support::{Front, KEY, config, count, json_of, read_to_end};
use axum::http::Method;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Duration;
use switchyard_api::ApiConfig;
use switchyard_tests::TestDb;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

/// `n` blanks as RFC 1950 packs them, and as RFC 1951 does.
fn deflated(n: usize) -> [Vec<u8>; 2] {
    let plain = vec![b' '; n];
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&plain).unwrap();
    bare.write_all(&plain).unwrap();
    [zlib.finish().unwrap(), bare.finish().unwrap()]
}

/// A frame of Zstandard (RFC 8878, 3.1.1) that stands for so many blocks of 128 KiB of blanks, four
/// bytes each: one byte that is repeated.
fn zstandard(blocks: u32) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for n in 1..=blocks {
        let header = (128 << 10) << 3 | 1 << 1 | u32::from(n == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b' ');
    }
    frame
}

/// What the audit has of every refused request: status, code, and the body's length.
async fn audited(test: &TestDb) -> Vec<(i16, String, i64)> {
    sqlx::query_as(
        "select r.status, r.code, coalesce(r.body_bytes, 0)
         from switchyard.refused_requests r join switchyard.portals p on p.id = r.portal_id
         where p.code = 'demo' and r.method = 'POST' and r.message <> ''
         order by r.id",
    )
    .fetch_all(&mut test.owner().await)
    .await
    .unwrap()
}

async fn sent(
    front: &Front,
    kind: &str,
    coding: Option<&str>,
    body: Vec<u8>,
    status: u16,
) -> Value {
    let request = front.request(Method::POST, "/api/webhooks/demo").header("x-api-key", KEY);
    let mut request = request.header("content-type", kind).body(body);
    if let Some(coding) = coding {
        request = request.header("content-encoding", coding);
    }
    json_of(request, status).await
}

#[tokio::test]
async fn hostile_bodies_are_refused_with_code_and_place() {
    let front = Front::new().await;
    front.demo().await;
    let deep = [b"[".repeat(2_000), b"]".repeat(2_000)].concat();
    let wide = format!("[{}0]", "0,".repeat(250_000));
    let mut wanted = Vec::new();
    let entity = r#"<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"#;
    let (json, xml, form) =
        ("application/json", "application/xml", "application/x-www-form-urlencoded");
    for (kind, body, status, code) in [
        (json, deep, 400, "json_too_deep"),
        (json, wide.into_bytes(), 413, "too_many_values"),
        (json, br#"{"a":1,"a":2}"#.to_vec(), 400, "duplicate_key"),
        (json, b"{\"a\":\"\xff\"}".to_vec(), 400, "invalid_utf8"),
        (json, br#"{"a":"truncat"#.to_vec(), 400, "invalid_json"),
        (json, Vec::new(), 400, "invalid_json"),
        (xml, entity.into(), 400, "xml_dtd_forbidden"),
        (xml, "<a>".repeat(2_000).into_bytes(), 400, "xml_too_deep"),
        (xml, b"<a><b></a>".to_vec(), 400, "invalid_xml"),
        (form, "a=1&".repeat(6_000).into_bytes(), 413, "too_many_fields"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-".to_vec(), 400, "invalid_multipart"),
        ("text/csv", b"a,a\n1,2\n".to_vec(), 400, "duplicate_key"),
    ] {
        wanted.push((status as i16, code.to_owned(), body.len() as i64));
        let refused = sent(&front, kind, None, body, status).await;
        assert_eq!(refused["error"]["code"], code, "{kind}");
    }
    // Odd characters are no reason to lose a lead.
    let odd = br#"{"id":12345678901234567890123,"first_name":"J\u0000an\ud800","email":"a@x.pl"}"#;
    sent(&front, json, None, odd.to_vec(), 202).await;
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 1);
    let key: String = sqlx::query_scalar("select key from switchyard.delivery_keys")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(key, "id:12345678901234567890123", "the id has all its digits");
    drop(owner);
    assert_eq!(audited(&front.stopped().await).await, wanted, "a row for each in the audit");
}

#[tokio::test]
async fn compressed_bodies_are_kept_as_they_came_and_bombs_are_refused() {
    let front = Front::new().await;
    front.demo().await;
    let plain = br#"{"id":"z-1","email":"a@x.pl"}"#;
    let packed = gzip(plain);
    let json = "application/json";
    sent(&front, json, Some("gzip"), packed.clone(), 202).await;
    let (stored, coding): (Vec<u8>, String) = sqlx::query_as(
        "select body, headers ->> 'content-encoding' from switchyard.webhook_events",
    )
    .fetch_one(&mut front.owner().await)
    .await
    .unwrap();
    assert_eq!((stored, coding.as_str()), (packed.clone(), "gzip"));
    let [zlib, bare] = deflated(5_000_000);
    let zstd = zstandard(40);
    let mut wanted = Vec::new();
    for (coding, body, status, code) in [
        ("gzip", gzip(&vec![b' '; 5_000_000]), 413, "compression_bomb"),
        ("deflate", zlib.clone(), 413, "compression_bomb"),
        ("deflate", bare, 413, "compression_bomb"),
        ("zstd", zstd.clone(), 413, "compression_bomb"),
        // Well below the limit, and still more than anybody's text comes to.
        ("zstd", zstandard(4), 413, "compression_bomb"),
        ("gzip", packed[..packed.len() - 9].to_vec(), 400, "invalid_compression"),
        ("deflate", zlib[..20].to_vec(), 400, "invalid_compression"),
        ("zstd", zstandard(1)[..8].to_vec(), 400, "invalid_compression"),
        ("br", plain.to_vec(), 415, "unsupported_content_encoding"),
    ] {
        assert!(body.len() < 100_000, "{coding}");
        // A coding that nobody reads is refused before the body is.
        let read = if status == 415 { 0 } else { body.len() as i64 };
        wanted.push((status as i16, code.to_owned(), read));
        let refused = sent(&front, json, Some(coding), body, status).await;
        assert_eq!(refused["error"]["code"], code, "{coding}");
    }
    assert_eq!(audited(&front.stopped().await).await, wanted, "a row for each in the audit");
}

#[tokio::test]
async fn a_portal_may_take_more_than_the_server_does_by_itself() {
    let front = Front::new().await;
    front.demo().await;
    let settings = json!({"mapping": {"fields": {"email": "email"}},
        "body": {"limits": {"bytes": 10_485_760}}});
    front.portal("large", settings, Some(KEY), None).await;
    let nine = json!({"id": 1, "message": "x".repeat(9_000_000)});
    let large = front.post("/api/webhooks/large", &nine).header("x-api-key", KEY);
    json_of(large, 202).await;
    let refused = json_of(front.deliver(&nine), 413).await;
    assert_eq!(refused["error"]["code"], "payload_too_large");
    let eleven = json!({"id": 2, "message": "x".repeat(11_000_000)});
    let large = front.post("/api/webhooks/large", &eleven).header("x-api-key", KEY);
    json_of(large, 413).await;
    let rows = audited(&front.stopped().await).await;
    assert_eq!(rows, [(413, "payload_too_large".to_owned(), 0)], "it was not read to its end");
}

#[tokio::test]
async fn senders_that_break_off_or_crawl_are_given_up() {
    let config = ApiConfig { body_timeout: Duration::from_millis(300), ..config() };
    let front = Front::with(config).await;
    front.demo().await;
    let head = format!(
        "POST /api/webhooks/demo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {KEY}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    );
    // A byte now and then: the time counts, not the silence.
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let crawl = async {
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(900), crawl).await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
    // Half a body, then the end of the connection.
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(format!("{head}{{\"id\":").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 0);
    drop(owner);
    let mut rows = audited(&front.stopped().await).await;
    // Whoever goes away in the middle may be gone before it is judged.
    rows.retain(|(_, code, _)| code != "body_broken");
    assert_eq!(rows, [(408, "body_timeout".to_owned(), 0)]);
}
