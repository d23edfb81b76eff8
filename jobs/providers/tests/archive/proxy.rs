//! A network that fails, in front of a server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not arrive: the answer is 503 SlowDown.
    SlowDown,
    /// It arrives, and of its answer only so many bytes come back.
    CutAfter(usize),
}

/// A proxy. Every rule is used once, by the first request whose first line contains its text.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// A header that does not get through.
    forgets: Option<&'static str>,
    rules: Mutex<Vec<(&'static str, Fault)>>,
    heads: Mutex<Vec<String>>,
}

impl Proxy {
    pub async fn before(server: SocketAddr, rules: &[(&'static str, Fault)]) -> Self {
        Self::start(server, rules, None).await
    }

    /// Makes the server one that does not know a header (in lower case).
    pub async fn forgetting(server: SocketAddr, header: &'static str) -> Self {
        Self::start(server, &[], Some(header)).await
    }

    async fn start(
        server: SocketAddr,
        rules: &[(&'static str, Fault)],
        forgets: Option<&'static str>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let heads = Mutex::default();
        let shared = Arc::new(Shared { forgets, rules: Mutex::new(rules.to_vec()), heads });
        let passing = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&passing);
                tokio::spawn(async move {
                    // A broken connection is what this is for.
                    let _ = pass(client, server, &shared).await;
                });
            }
        });
        Self { address, shared }
    }

    /// What stood before the bodies of the requests, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().expect("no panic").clone()
    }

    /// The rules that no request has met.
    pub fn unused(&self) -> Vec<(&'static str, Fault)> {
        self.shared.rules.lock().expect("no panic").clone()
    }
}

/// One request a connection: the server is told to close it.
async fn pass(mut client: TcpStream, server: SocketAddr, shared: &Shared) -> std::io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).into_owned();
    let first = text.lines().next().unwrap_or_default();
    let fault = {
        shared.heads.lock().expect("no panic").push(text.to_lowercase());
        let mut rules = shared.rules.lock().expect("no panic");
        let met = rules.iter().position(|(contained, _)| first.contains(contained));
        met.map(|at| rules.remove(at).1)
    };
    if fault == Some(Fault::SlowDown) {
        return slow_down(client, &text, request.len() - head - 4).await;
    }
    let mut upstream = TcpStream::connect(server).await?;
    match shared.forgets {
        Some(header) => upstream.write_all(without(header, &text).as_bytes()).await?,
        None => upstream.write_all(&request[..head]).await?,
    }
    upstream.write_all(b"\r\nConnection: close").await?;
    upstream.write_all(&request[head..]).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let sending = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        (from_client, to_server)
    });
    let mut left = match fault {
        Some(Fault::CutAfter(bytes)) => bytes,
        _ => usize::MAX,
    };
    // The request has arrived whole when the server closes.
    let mut piece = vec![0; 64 * 1024];
    loop {
        let n = from_server.read(&mut piece).await?;
        if n == 0 {
            break;
        }
        let through = n.min(left);
        to_client.write_all(&piece[..through]).await?;
        left -= through;
    }
    sending.abort();
    Ok(())
}

/// The head of a request without a header.
fn without(header: &str, head: &str) -> String {
    let named = |line: &&str| line.split(':').next().unwrap_or_default().to_lowercase() != header;
    head.split("\r\n").filter(named).collect::<Vec<_>>().join("\r\n")
}

async fn slow_down(mut client: TcpStream, head: &str, have: usize) -> std::io::Result<()> {
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let waits = head.to_ascii_lowercase().contains("100-continue");
    let mut left = if waits { 0 } else { length.saturating_sub(have) };
    let mut piece = vec![0; 64 * 1024];
    while left > 0 {
        let n = client.read(&mut piece).await?;
        if n == 0 {
            return Ok(());
        }
        left = left.saturating_sub(n);
    }
    let body =
        "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let answer = format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await
}
