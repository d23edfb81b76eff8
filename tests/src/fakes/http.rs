//! What the fakes of HTTP providers share: a server whose connections can be cut.

use super::record::{Received, Record, Script};
use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a fake does with one request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpStep {
    /// Takes the message over.
    Accept,
    /// Takes it over and answers after a wait.
    AcceptLate {
        /// Milliseconds.
        ms: u64,
    },
    /// Takes it over and closes the connection without an answer.
    AcceptAndCut,
    /// Refuses it with an error of the provider's.
    Refuse {
        /// HTTP status.
        status: u16,
        /// The provider's code.
        code: i64,
        /// The provider's words.
        message: String,
        /// The header `Retry-After`, as it is sent.
        retry_after: Option<String>,
    },
    /// Answers with any status and text: what a proxy in between might say.
    Say {
        /// HTTP status.
        status: u16,
        /// The body.
        text: String,
    },
    /// Reads it and closes the connection.
    Cut,
}

impl HttpStep {
    /// A refusal without `Retry-After`.
    #[must_use]
    pub fn refuse(status: u16, code: i64, message: &str) -> Self {
        Self::Refuse { status, code, message: message.to_owned(), retry_after: None }
    }
}

/// A request as a provider's API understands it, or the error with which it refuses it.
pub(super) struct Understood {
    pub(super) received: Received,
    pub(super) refusal: Option<(u16, Value)>,
}

/// What makes a fake the fake of one provider.
pub(super) trait Api: Send + Sync + 'static {
    /// Reads a request.
    fn read(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Understood;
    /// Status and body of a success.
    fn success(&self, received: &Received) -> (u16, Value);
    /// Body of an error.
    fn error(&self, status: u16, code: i64, message: &str) -> Value;
}

/// A running server; it ends with this.
pub(super) struct HttpFake {
    pub(super) addr: SocketAddr,
    pub(super) record: Record,
    pub(super) script: Script<HttpStep>,
    _stop: DropGuard,
}

struct Served {
    api: Box<dyn Api>,
    record: Record,
    script: Script<HttpStep>,
}

impl HttpFake {
    pub(super) async fn start(api: impl Api) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let (record, script) = (Record::default(), Script::default());
        let served = Served { api: Box::new(api), record: record.clone(), script: script.clone() };
        let app = Router::new().fallback(handle).with_state(Arc::new(served));
        let app = app.into_make_service_with_connect_info::<Cutter>();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let _ = stopped
                .run_until_cancelled(axum::serve(Cuttable(listener), app).into_future())
                .await;
        });
        Self { addr, record, script, _stop: stop.drop_guard() }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

async fn handle(
    State(served): State<Arc<Served>>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Understood { mut received, refusal } = served.api.read(&uri, &headers, &body);
    if let Some((status, body)) = refusal {
        served.record.add(received);
        return json(status, &body);
    }
    let step = served.script.take(|_| true).unwrap_or(HttpStep::Accept);
    received.accepted =
        matches!(step, HttpStep::Accept | HttpStep::AcceptLate { .. } | HttpStep::AcceptAndCut);
    served.record.add(received.clone());
    match step {
        HttpStep::Accept => {}
        HttpStep::AcceptLate { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
        HttpStep::AcceptAndCut | HttpStep::Cut => cutter.cut(),
        HttpStep::Say { status, text } => {
            return (StatusCode::from_u16(status).expect("a status"), text).into_response();
        }
        HttpStep::Refuse { status, code, message, retry_after } => {
            let mut answer = json(status, &served.api.error(status, code, &message));
            if let Some(wait) = retry_after {
                let wait = wait.parse().expect("a header's value");
                answer.headers_mut().insert(header::RETRY_AFTER, wait);
            }
            return answer;
        }
    }
    let (status, body) = served.api.success(&received);
    json(status, &body)
}

fn json(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, axum::Json(body)).into_response()
}

pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// Closes the connection on which a request came, before anything is written to it.
#[derive(Clone, Default)]
struct Cutter(Arc<AtomicBool>);

impl Cutter {
    fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().cutter.clone()
    }
}

struct Cuttable(TcpListener);

impl Listener for Cuttable {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, addr) = Listener::accept(&mut self.0).await;
        (CuttableStream { stream, cutter: Cutter::default() }, addr)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

struct CuttableStream {
    stream: TcpStream,
    cutter: Cutter,
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cutter.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cutter.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
