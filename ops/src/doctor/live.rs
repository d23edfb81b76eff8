//! Asks a running process for a sign of life: what a container's health check calls. One HTTP
//! request by hand, so that the image needs no `curl`.

use crate::Fault;
use crate::config::Config;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the process that this configuration describes: where it shows metrics if that is set
/// (workers, schedulers), else where the API listens.
///
/// # Errors
/// If it does not answer with 200.
pub(crate) async fn ask(config: &Config) -> Result<SocketAddr, Fault> {
    let address = reachable(config.metrics_listen.unwrap_or(config.listen));
    let dead = |what: String| {
        Fault::new("not_alive", format!("{address} {what}"))
            .remedy("look at the process's log; `switchyard doctor` looks at what it stands on")
    };
    let status = tokio::time::timeout(PATIENCE, status(address))
        .await
        .map_err(|e| dead("does not answer".into()).caused_by(e))?
        .map_err(|e| dead("cannot be reached".into()).caused_by(e))?;
    if status == "200" { Ok(address) } else { Err(dead(format!("answers {status}"))) }
}

async fn status(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    // `HTTP/1.1 200 OK`
    Ok(text.split(' ').nth(1).unwrap_or("nothing that is HTTP").to_owned())
}

/// Who listens everywhere is asked on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
