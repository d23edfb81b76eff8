//! Signing in with the machine's role, each way there is: what gives the keys is a server of the test's, and
//! the store checks signatures. The environment says where to ask, so each is asked from a process of its own:
//! this very test program, which runs its one ignored test.

use crate::contract;
use crate::servers::{ACCESS_KEY, SECRET_KEY, s3s, settings};
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use switchyard_providers::archive::{
    Archive, ArchiveConfig, ArchiveFault, ArchiveKind, S3Config, open,
};

/// What stands before what the process says: libtest writes to the same stream.
const SAYS: &str = "@@ ";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that the other tests start"]
async fn the_process_that_has_a_role() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let Ok(address) = text.trim().parse::<SocketAddr>() else { return };
    let nobody = S3Config {
        access_key_id: String::new(),
        secret_access_key: None,
        attempts: 1,
        ..settings(address)
    };
    let config = ArchiveConfig { kind: ArchiveKind::S3, s3: nobody, ..ArchiveConfig::default() };
    let archive = open(&config).unwrap();
    let said = match write_and_list(archive.as_ref()).await {
        Ok(keys) => keys.join(" "),
        Err(fault) => format!("{fault:?} {fault}"),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{SAYS}{said}").unwrap();
}

async fn write_and_list(archive: &dyn Archive) -> Result<Vec<String>, ArchiveFault> {
    archive.put_new("log/a-1/one.json", Bytes::from_static(b"one")).await?;
    contract::write(archive, "full/x", &contract::content(9_000_000, 1)).await?;
    let entries = archive.list("").await?;
    Ok(entries.into_iter().map(|e| e.key).collect())
}

/// What a process says that has only this environment.
fn with_role(store: SocketAddr, home: &Path, environment: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["s3_role::the_process_that_has_a_role", "--exact", "--ignored", "--nocapture"])
        .env_clear()
        .env("HOME", home)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    write!(child.stdin.take().unwrap(), "{store}").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text.lines().find_map(|line| line.strip_prefix(SAYS));
    said.unwrap_or_else(|| panic!("it said nothing: {text}")).to_owned()
}

/// What gives roles their keys, as far as it is asked here: the metadata service of an instance (IMDSv2), the
/// endpoint of a container, and the exchange of a web identity's token.
fn roles(secret: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever hangs up early is no concern of this thread.
            let _ = answer(stream, secret);
        }
    });
    address
}

fn answer(mut stream: TcpStream, secret: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let (head, body) = loop {
        let n = stream.read(&mut piece)?;
        request.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if n == 0 {
                return Ok(());
            }
            continue;
        };
        let length = head.to_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").and_then(|n| n.trim().parse::<usize>().ok())
        });
        if n == 0 || body.len() >= length.unwrap_or(0) {
            break (head.to_lowercase(), body.to_owned());
        }
    };
    let (status, content) = role(&head, &body, secret);
    let length = content.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n{content}"
    )
}

fn role(head: &str, body: &str, secret: &str) -> (&'static str, String) {
    let first = head.lines().next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let keys = format!(
        r#"{{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId":
           "{ACCESS_KEY}", "SecretAccessKey": "{secret}", "Token": "of-the-role", "Expiration":
           "2099-01-01T00:00:00Z"}}"#
    );
    let instance = "/latest/meta-data/iam/security-credentials/";
    match path {
        "/latest/api/token" if first.starts_with("put") => ("200 OK", "its-token".to_owned()),
        _ if path.starts_with(instance) && !head.contains("its-token") => {
            ("401 Unauthorized", String::new())
        }
        _ if path == instance => ("200 OK", "backups".to_owned()),
        _ if path == format!("{instance}backups") => ("200 OK", keys),
        "/task" if head.contains("authorization: the-task") => ("200 OK", keys),
        "/" if body.contains("AssumeRoleWithWebIdentity") && body.contains("the-identity") => {
            ("200 OK", exchanged(secret))
        }
        _ => ("404 Not Found", String::new()),
    }
}

fn exchanged(secret: &str) -> String {
    format!(
        r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
           <AssumeRoleWithWebIdentityResult><AssumedRoleUser>
           <Arn>arn:aws:sts::123456789012:assumed-role/backups/s</Arn><AssumedRoleId>AROA:s</AssumedRoleId>
           </AssumedRoleUser><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>
           <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>of-the-role</SessionToken>
           <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
           </AssumeRoleWithWebIdentityResponse>"#
    )
}

#[test]
fn an_instance_a_task_and_a_service_account_sign_in_without_an_access_key() {
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("token");
    std::fs::write(&token, "the-identity").unwrap();
    let token = token.display().to_string();
    let roles = format!("http://{}", roles(SECRET_KEY));
    let task = format!("{roles}/task");
    let environments: [&[(&str, &str)]; 3] = [
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &roles)],
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &task),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "the-task"),
        ],
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backups"),
            ("AWS_ENDPOINT_URL_STS", &roles),
        ],
    ];
    for environment in environments {
        let store = s3s();
        let said = with_role(store.address, home.path(), environment);
        assert_eq!(said, "full/x log/a-1/one.json probe/if-none-match", "{environment:?}");
    }
}

#[test]
fn without_a_role_and_with_a_wrong_one_it_is_said_what_to_do_and_never_the_secret() {
    let home = tempfile::tempdir().unwrap();
    let store = s3s();
    let none = [("AWS_EC2_METADATA_DISABLED", "true")];
    let said = with_role(store.address, home.path(), &none);
    assert!(said.starts_with("Refused") && said.contains("give the machine a role"), "{said}");
    let wrong = format!("http://{}", roles("not-the-secret"));
    let wrong = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", wrong.as_str())];
    let said = with_role(store.address, home.path(), &wrong);
    assert!(said.starts_with("Refused") && !said.contains("not-the-secret"), "{said}");
}
