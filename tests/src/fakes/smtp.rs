//! A stand-in for a mail server: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA, RSET, NOOP, QUIT
//! (RFC 5321, 3207, 4954), answering as a script says.

use super::record::{Record, Script};
use super::smtp_session;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use switchyard_providers::{EmailKind, ProvidersConfig, SmtpConfig, TlsMode};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where in a session something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpStage {
    /// The connection was made.
    Greeting,
    /// `EHLO`
    Ehlo,
    /// `AUTH`
    Auth,
    /// `MAIL FROM`
    Mail,
    /// `RCPT TO`
    Rcpt,
    /// `DATA`
    Data,
    /// The content.
    Content,
    /// `RSET`, with which a client asks a kept connection whether it still lives.
    Reset,
}

/// What the fake does there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What it would do without a script.
    Normal,
    /// A reply of its own; a refusal unless the code is 2xx.
    Reply {
        /// Three digits.
        code: u16,
        /// The words after them.
        text: String,
    },
    /// Closes the connection; at the content after its headers, before its end.
    Cut,
    /// At the content: takes the message over and closes the connection without a reply.
    TakeAndCut,
    /// Says nothing more.
    Hang,
    /// The normal reply after a wait.
    Late {
        /// Milliseconds.
        ms: u64,
    },
}

/// One step: taken when a session comes to its stage and the step is the next one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmtpStep {
    /// Where.
    pub at: SmtpStage,
    /// What.
    pub answer: Answer,
}

impl SmtpStep {
    /// A step.
    #[must_use]
    pub fn at(at: SmtpStage, answer: Answer) -> Self {
        Self { at, answer }
    }

    /// A step that replies.
    #[must_use]
    pub fn reply(at: SmtpStage, code: u16, text: &str) -> Self {
        Self::at(at, Answer::Reply { code, text: text.to_owned() })
    }
}

/// What the server asks of its clients.
#[derive(Clone, Default)]
pub struct SmtpOptions {
    /// User and password, if one has to sign in.
    pub login: Option<(String, String)>,
    /// How connections are protected.
    pub tls: Option<(TlsMode, Certificates)>,
}

/// A certificate for `localhost` and 127.0.0.1, and the authority that signed it.
#[derive(Clone)]
pub struct Certificates {
    /// The authority, PEM.
    pub ca_pem: String,
    pub(super) server: Arc<ServerConfig>,
}

impl Certificates {
    /// Makes new ones.
    #[must_use]
    pub fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
        let issuer = Issuer::new(ca, ca_key);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(names)
            .and_then(|leaf| leaf.signed_by(&key, &issuer))
            .expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a key that fits its certificate");
        Self { ca_pem, server: Arc::new(server) }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

/// A running mail server; it stops when this is dropped. Its marker is the `Message-ID`.
pub struct FakeSmtp {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

pub(super) struct Shared {
    pub(super) record: Record,
    pub(super) script: Script<SmtpStep>,
    pub(super) options: SmtpOptions,
    sessions: AtomicUsize,
}

impl FakeSmtp {
    /// Starts one on a free port, without login and encryption.
    pub async fn start() -> Self {
        Self::with(SmtpOptions::default()).await
    }

    /// Starts one with options.
    pub async fn with(options: SmtpOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            record: Record::default(),
            script: Script::default(),
            options,
            sessions: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, Arc::clone(&shared), stop.clone()));
        Self { addr, shared, _stop: stop.drop_guard() }
    }

    /// What came.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.shared.record
    }

    /// What happens next.
    #[must_use]
    pub fn script(&self) -> &Script<SmtpStep> {
        &self.shared.script
    }

    /// `127.0.0.1:port`
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that were made so far.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::SeqCst)
    }

    /// A configuration that sends here. `ca_file` is where to put the authority's certificate.
    #[must_use]
    pub fn config(&self, ca_file: Option<&Path>) -> ProvidersConfig {
        let options = &self.shared.options;
        if let (Some(path), Some((_, certificates))) = (ca_file, &options.tls) {
            std::fs::write(path, &certificates.ca_pem).expect("a file for the certificate");
        }
        let (username, password) = options.login.clone().unzip();
        let smtp = SmtpConfig {
            host: "127.0.0.1".to_owned(),
            port: Some(self.addr.port()),
            tls: options.tls.as_ref().map_or(TlsMode::None, |(mode, _)| *mode),
            ca_file: ca_file.map(Path::to_owned),
            username,
            password: password.map(Into::into),
            from: "Switchyard <leads@switchyard.test>".to_owned(),
            ..SmtpConfig::default()
        };
        ProvidersConfig { email: EmailKind::Smtp, smtp, ..ProvidersConfig::default() }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        shared.sessions.fetch_add(1, Ordering::SeqCst);
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            let session = async {
                match &shared.options.tls {
                    Some((TlsMode::Tls, certificates)) => {
                        let acceptor = TlsAcceptor::from(Arc::clone(&certificates.server));
                        let stream = acceptor.accept(stream).await?;
                        smtp_session::run(Box::new(stream), &shared, false).await
                    }
                    _ => smtp_session::run(Box::new(stream), &shared, true).await,
                }
            };
            // A client that goes away is no fault of the fake's.
            let _ = stop.run_until_cancelled(session).await;
        });
    }
}
