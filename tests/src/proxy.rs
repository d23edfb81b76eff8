//! A bad network: a TCP proxy whose connections can be slowed down, cut, or left open with nothing
//! coming through.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It works.
    Good,
    /// Whatever is sent arrives this much later.
    Slow(Duration),
    /// All connections are closed, and new ones at once.
    Cut,
    /// Half-open: connections stand, and whatever is sent either way, a close included, is lost. New
    /// ones are taken and never answered. Once the network is any better, all of these are closed,
    /// as a side would that is asked about a connection of which it has lost a part.
    Silent,
}

/// See the module. Everything is closed when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `server`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(server: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (network, seen) = watch::channel(Network::Good);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server.clone(), seen.clone()));
            }
        });
        Ok(Self { address, network, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the network is like this.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

/// Lives until a side closes it or the network does.
async fn connection(client: TcpStream, server: String, mut network: watch::Receiver<Network>) {
    let now = *network.borrow_and_update();
    match now {
        Network::Cut => return,
        Network::Silent => {
            let _ = network.changed().await;
            return;
        }
        Network::Good | Network::Slow(_) => {}
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, network.clone()) => {}
        () = pump(from_server, to_client, network) => {}
    }
}

/// One direction. When it returns, the connection is over.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut hung_up = false;
    let mut now = *network.borrow_and_update();
    loop {
        let read = tokio::select! {
            changed = network.changed() => {
                let next = *network.borrow_and_update();
                if changed.is_err() || next == Network::Cut || now == Network::Silent {
                    return;
                }
                now = next;
                continue;
            }
            read = from.read(&mut buffer), if !hung_up => read.unwrap_or(0),
        };
        match now {
            Network::Silent => hung_up = read == 0,
            Network::Cut => return,
            _ if read == 0 => return,
            Network::Good | Network::Slow(_) => {
                if let Network::Slow(delay) = now {
                    tokio::time::sleep(delay).await;
                }
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
