//! S3 servers, each started for one test and stopped with it.

use secrecy::SecretString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use switchyard_providers::archive::S3Config;
use tempfile::TempDir;

/// What s3s-fs knows; moto takes anything.
pub const ACCESS_KEY: &str = "AKIASWITCHYARD";
pub const SECRET_KEY: &str = "a-secret-of-the-tests";
pub const BUCKET: &str = "backups";

/// A server. It ends with this value.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    _data: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tool(path: &str) -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    let tool = PathBuf::from(home).join(".cache/switchyard-tools").join(path);
    assert!(tool.exists(), "{} is not installed: `ops/test` installs it", tool.display());
    tool
}

/// moto, with a bucket in which objects can be locked.
pub fn moto() -> Server {
    moto_with(|port| {
        let mut command = Command::new(tool("moto/bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    })
}

/// moto answering one request after the other. With threads it looks and writes in two steps, so that of
/// several conditional writes more than one can win, which S3 rules out.
pub fn moto_one_by_one() -> Server {
    const PROGRAM: &str = "import sys\n\
        from werkzeug.serving import run_simple\n\
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app\n\
        app = DomainDispatcherApplication(create_backend_app)\n\
        run_simple('127.0.0.1', int(sys.argv[1]), app, threaded=False)\n";
    moto_with(|port| {
        let mut command = Command::new(tool("moto/bin/python"));
        command.args(["-c", PROGRAM, &port.to_string()]);
        command
    })
}

fn moto_with(command: impl Fn(u16) -> Command) -> Server {
    let server = start(tempfile::tempdir().expect("a folder"), command);
    let made = request(
        server.address,
        &format!("PUT /{BUCKET} HTTP/1.1\r\nx-amz-bucket-object-lock-enabled: true\r\n"),
    );
    assert!(made.lines().next().is_some_and(|line| line.contains(" 200 ")), "{made}");
    server
}

/// s3s-fs, with a bucket.
pub fn s3s() -> Server {
    let data = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(data.path().join(BUCKET)).expect("a bucket");
    let root = data.path().to_owned();
    start(data, |port| {
        let mut command = Command::new(tool("bin/s3s-fs"));
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]);
        command.arg(&root);
        command
    })
}

fn start(data: TempDir, command: impl Fn(u16) -> Command) -> Server {
    // Another process may take the port between the asking and the starting: then another one is asked for.
    for _ in 0..5 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let mut child = command(address.port())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let patience = Instant::now() + Duration::from_secs(60);
        while Instant::now() < patience && child.try_wait().expect("its state").is_none() {
            if TcpStream::connect(address).is_ok() {
                return Server { child, address, _data: data };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    panic!("the server did not come up");
}

/// A request without a signature, and the whole answer. `head` ends with a line feed.
pub fn request(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let rest = format!("Host: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{rest}").as_bytes()).expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Settings for a server, or for a proxy before it.
pub fn settings(address: SocketAddr) -> S3Config {
    S3Config {
        bucket: BUCKET.to_owned(),
        prefix: "switchyard/test".to_owned(),
        endpoint: Some(format!("http://{address}")),
        path_style: true,
        access_key_id: ACCESS_KEY.to_owned(),
        secret_access_key: Some(SecretString::from(SECRET_KEY)),
        ..S3Config::default()
    }
}
