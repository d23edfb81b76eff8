//! S3, with a network that works.

use crate::contract;
use crate::proxy::Proxy;
use crate::servers::{ACCESS_KEY, BUCKET, SECRET_KEY, moto, moto_one_by_one, s3s, settings};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use bytes::Bytes;
use secrecy::SecretString;
use std::sync::Arc;
use switchyard_providers::archive::{
    Archive, ArchiveConfig, ArchiveFault, ArchiveKind, LockMode, S3, S3Config, Sse, open,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_checks_signatures_and_checksums_is_satisfied() {
    let server = s3s();
    let config = ArchiveConfig {
        kind: ArchiveKind::S3,
        s3: settings(server.address),
        ..ArchiveConfig::default()
    };
    let archive = open(&config).unwrap();
    assert_eq!(archive.name(), "s3://backups/switchyard/test");
    contract::holds(archive.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_conditional_writes_is_satisfied() {
    let server = moto();
    let archive = S3::new(&settings(server.address)).unwrap();
    contract::holds(&archive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_who_write_one_key_one_wins() {
    let server = moto_one_by_one();
    contract::one_winner_of(16, Arc::new(S3::new(&settings(server.address)).unwrap())).await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused_with_what_to_do_and_without_the_secret() {
    let server = s3s();
    let wrong = S3Config {
        secret_access_key: Some(SecretString::from("not-the-secret")),
        ..settings(server.address)
    };
    let archive = S3::new(&wrong).unwrap();
    let faults = [
        archive.list("").await.err(),
        archive.put_new("full/x", Bytes::from_static(b"x")).await.err(),
        archive.read("full/x", 0).await.err(),
        contract::write(&archive, "full/x", &contract::content(9_000_000, 1)).await.err(),
    ];
    for fault in faults {
        let fault = fault.expect("it is refused");
        assert!(matches!(fault, ArchiveFault::Refused { .. }), "{fault:?}");
        let sentence = fault.to_string();
        assert!(sentence.contains("`backup.archive_secret_key`"), "{sentence}");
        assert!(!sentence.contains("not-the-secret"), "{sentence}");
    }
    assert!(!format!("{archive:?} {wrong:?}").contains("not-the-secret"));
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_refused_with_what_to_do() {
    let server = moto();
    let other = S3Config { bucket: "another-bucket".to_owned(), ..settings(server.address) };
    let fault = S3::new(&other).unwrap().list("").await.unwrap_err();
    assert!(fault.to_string().contains("make the bucket"), "{fault}");
    assert!(!fault.is_transient());
}

#[tokio::test]
async fn a_listing_goes_over_pages() {
    let server = moto();
    let archive = S3::new(&settings(server.address)).unwrap();
    let mut writing = tokio::task::JoinSet::new();
    for number in 0..1007 {
        let archive = archive.clone();
        writing.spawn(async move {
            let key = format!("log/a-1/{number:05}.json");
            archive.put_new(&key, Bytes::from_static(b"x")).await.unwrap();
        });
    }
    writing.join_all().await;
    let keys = contract::keys(&archive, "log/").await;
    assert_eq!(keys.len(), 1007);
    assert!(keys.is_sorted() && keys[1006].ends_with("01006.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runs_upload_is_taken_back_when_it_is_old() {
    let server = moto();
    let archive = S3::new(&settings(server.address)).unwrap();
    let mut upload = archive.create("full/x").await.unwrap();
    upload.write(contract::content(9 * 1024 * 1024, 1)).await.unwrap();
    std::mem::forget(upload); // as kill -9 leaves it
    // Of another prefix: somebody else's.
    let other =
        S3::new(&S3Config { prefix: "other".to_owned(), ..settings(server.address) }).unwrap();
    let mut upload = other.create("full/x").await.unwrap();
    upload.write(contract::content(9 * 1024 * 1024, 1)).await.unwrap();
    std::mem::forget(upload);
    // To moto every upload began in 2010.
    assert_eq!(archive.sweep("2010-01-01T00:00:00Z".parse().unwrap()).await.unwrap(), 0);
    assert_eq!(archive.sweep(chrono::Utc::now()).await.unwrap(), 1);
    assert_eq!(archive.sweep(chrono::Utc::now()).await.unwrap(), 0);
    assert_eq!(other.sweep(chrono::Utc::now()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_lock_and_storage_class_arrive() {
    let server = moto();
    let proxy = Proxy::before(server.address, &[]).await;
    let config = S3Config {
        sse: Sse::AwsKms,
        kms_key_id: Some("arn:aws:kms:us-east-1:123456789012:key/1234".to_owned()),
        lock_mode: Some(LockMode::Governance),
        lock_days: Some(30),
        storage_class: Some("STANDARD_IA".to_owned()),
        ..settings(proxy.address)
    };
    let archive = S3::new(&config).unwrap();
    contract::write(&archive, "full/parts", &contract::content(9_000_000, 1)).await.unwrap();
    archive.put_new("full/small", Bytes::from_static(b"x")).await.unwrap();
    let client = aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
            .endpoint_url(format!("http://{}", server.address))
            .force_path_style(true)
            .build(),
    );
    for key in ["full/small", "full/parts"] {
        let path = format!("switchyard/test/{key}");
        let head = client.head_object().bucket(BUCKET).key(path).send().await.unwrap();
        assert_eq!(head.server_side_encryption().unwrap().as_str(), "aws:kms", "{key}");
        assert_eq!(head.ssekms_key_id(), config.kms_key_id.as_deref(), "{key}");
        assert_eq!(head.storage_class().unwrap().as_str(), "STANDARD_IA", "{key}");
    }
    let small = client.head_object().bucket(BUCKET).key("switchyard/test/full/small");
    let small = small.send().await.unwrap();
    assert_eq!(small.object_lock_mode().unwrap().as_str(), "GOVERNANCE");
    let until = small.object_lock_retain_until_date().unwrap().secs();
    let days = (until - chrono::Utc::now().timestamp()).div_euclid(86_400);
    assert!((29..=30).contains(&days), "{days}");
    // moto forgets the lock of an upload in parts, so it is looked for on its way.
    let heads = proxy.heads();
    let begun = heads.iter().find(|head| head.starts_with("post") && head.contains("?uploads"));
    let begun = begun.unwrap();
    assert!(begun.contains("x-amz-object-lock-mode: governance"), "{begun}");
    assert!(begun.contains("x-amz-object-lock-retain-until-date: 20"), "{begun}");
}
