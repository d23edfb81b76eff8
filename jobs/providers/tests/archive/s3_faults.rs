//! S3, with a network and a server that fail.

use crate::contract::{content, keys, read, write};
use crate::proxy::{Fault, Proxy};
use crate::servers::{moto, settings};
use bytes::Bytes;
use switchyard_providers::archive::{Archive, ArchiveFault, S3, S3Config};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_asks_for_patience_gets_it() {
    let server = moto();
    let rules = [
        ("PUT /backups/switchyard/test/probe", Fault::SlowDown),
        ("one.json", Fault::SlowDown),
        ("one.json", Fault::SlowDown),
        ("POST", Fault::SlowDown),
        ("partNumber=2", Fault::SlowDown),
        ("POST", Fault::SlowDown),
        ("GET", Fault::SlowDown),
        ("GET", Fault::SlowDown),
        ("list-type=2", Fault::SlowDown),
        ("DELETE", Fault::SlowDown),
    ];
    let proxy = Proxy::before(server.address, &rules).await;
    let archive = S3::new(&settings(proxy.address)).unwrap();
    archive.put_new("log/a-1/one.json", Bytes::from_static(b"one")).await.unwrap();
    let large = content(17 * 1024 * 1024, 1);
    write(&archive, "full/large", &large).await.unwrap();
    assert!(read(&archive, "full/large", 0).await.unwrap() == large);
    assert_eq!(keys(&archive, "full/").await, ["full/large"]);
    archive.delete("full/large").await.unwrap();
    assert_eq!(proxy.unused(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_goes_on_where_the_connection_broke() {
    let server = moto();
    let large = content(6 * 1024 * 1024, 2);
    let direct = S3::new(&settings(server.address)).unwrap();
    write(&direct, "full/large", &large).await.unwrap();
    let rules = [
        ("GET", Fault::CutAfter(1_000_000)),
        ("GET", Fault::CutAfter(2_000_000)),
        ("GET", Fault::CutAfter(0)),
        ("GET", Fault::CutAfter(100)),
    ];
    let proxy = Proxy::before(server.address, &rules).await;
    let archive = S3::new(&settings(proxy.address)).unwrap();
    assert!(read(&archive, "full/large", 0).await.unwrap() == large);
    assert_eq!(proxy.unused(), []);
    let from = 3 * 1024 * 1024 + 1;
    assert!(read(&archive, "full/large", from as u64).await.unwrap() == large[from..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_does_not_go_on_in_another_object() {
    let server = moto();
    let direct = S3::new(&settings(server.address)).unwrap();
    write(&direct, "full/x", &content(2_000_000, 1)).await.unwrap();
    let proxy = Proxy::before(server.address, &[("GET", Fault::CutAfter(500_000))]).await;
    let archive = S3::new(&settings(proxy.address)).unwrap();
    let stream = archive.read("full/x", 0).await.unwrap();
    write(&direct, "full/x", &content(2_000_000, 2)).await.unwrap();
    let all: Result<Vec<Bytes>, _> = futures::TryStreamExt::try_collect(stream).await;
    assert!(matches!(all, Err(ArchiveFault::Unavailable { .. })), "{:?}", all.map(|_| ()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_whose_answer_was_lost_is_known_for_our_own() {
    let server = moto();
    let proxy = Proxy::before(server.address, &[("one.json", Fault::CutAfter(0))]).await;
    let archive = S3::new(&settings(proxy.address)).unwrap();
    let ours = Bytes::from_static(b"ours");
    archive.put_new("log/a-1/one.json", ours.clone()).await.unwrap();
    assert_eq!(proxy.unused(), []);
    assert_eq!(read(&archive, "log/a-1/one.json", 0).await.unwrap(), ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_that_is_tried_again_does_not_take_anothers_for_its_own() {
    let server = moto();
    let direct = S3::new(&settings(server.address)).unwrap();
    direct.put_new("log/a-1/one.json", Bytes::from_static(b"ours, but longer")).await.unwrap();
    for theirs in ["their", "ours", "ours, but longer, and longer"] {
        let proxy = Proxy::before(server.address, &[("one.json", Fault::CutAfter(0))]).await;
        let archive = S3::new(&settings(proxy.address)).unwrap();
        let fault = archive.put_new("log/a-1/one.json", theirs.into()).await.unwrap_err();
        assert!(matches!(fault, ArchiveFault::AlreadyThere { .. }), "{fault:?}");
        assert_eq!(proxy.unused(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_completion_was_not_heard_of_is_there() {
    let server = moto();
    let rules = [("POST /backups/switchyard/test/full/large?uploadId", Fault::CutAfter(0))];
    let proxy = Proxy::before(server.address, &rules).await;
    let archive = S3::new(&settings(proxy.address)).unwrap();
    let large = content(17 * 1024 * 1024, 3);
    write(&archive, "full/large", &large).await.unwrap();
    assert_eq!(proxy.unused(), []);
    assert!(read(&archive, "full/large", 0).await.unwrap() == large);
}

#[tokio::test]
async fn a_store_that_is_away_is_a_fault_that_passes() {
    let server = moto();
    let config = S3Config { attempts: 2, ..settings(server.address) };
    drop(server);
    let archive = S3::new(&config).unwrap();
    let faults = [
        archive.list("").await.err(),
        archive.put_new("full/x", Bytes::new()).await.err(),
        archive.read("full/x", 0).await.err(),
        archive.delete("full/x").await.err(),
    ];
    for fault in faults {
        assert!(fault.as_ref().is_some_and(ArchiveFault::is_transient), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_away_ends_the_reading_with_a_fault_that_passes() {
    let server = moto();
    let direct = S3::new(&settings(server.address)).unwrap();
    write(&direct, "full/x", &content(1_000_000, 1)).await.unwrap();
    let proxy = Proxy::before(server.address, &[("GET", Fault::CutAfter(300_000))]).await;
    let archive = S3::new(&S3Config { attempts: 2, ..settings(proxy.address) }).unwrap();
    let stream = archive.read("full/x", 0).await.unwrap();
    drop(server);
    let all: Result<Vec<Bytes>, _> = futures::TryStreamExt::try_collect(stream).await;
    assert!(all.is_err_and(|fault| fault.is_transient()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_what_it_is_to_leave_alone_is_refused_before_it_gets_anything() {
    let server = moto();
    // All that stands between us and a store that keeps to conditions.
    let proxy = Proxy::forgetting(server.address, "if-none-match").await;
    let archive = S3::new(&settings(proxy.address)).unwrap();
    let faults = [
        archive.create("full/x").await.err(),
        archive.put_new("log/a-1/one.json", Bytes::from_static(b"one")).await.err(),
    ];
    for fault in faults {
        let fault = fault.expect("it is refused");
        assert!(matches!(fault, ArchiveFault::Refused { .. }), "{fault:?}");
        let said = fault.to_string();
        assert!(said.contains("If-None-Match") && said.contains("use a store"), "{said}");
    }
    // What it has can be read.
    assert_eq!(keys(&archive, "").await, ["probe/if-none-match"]);
    assert_eq!(read(&archive, "probe/if-none-match", 0).await.unwrap().first(), Some(&b'S'));
    // The same store without the proxy will do, and is asked once.
    let proxy = Proxy::before(server.address, &[]).await;
    let archive = S3::new(&settings(proxy.address)).unwrap();
    for key in ["log/a-1/one.json", "log/a-1/two.json"] {
        archive.put_new(key, Bytes::from_static(b"one")).await.unwrap();
    }
    let asked = proxy.heads().iter().filter(|h| h.contains("probe/if-none-match")).count();
    assert_eq!(asked, 1);
}
