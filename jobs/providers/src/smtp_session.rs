//! Connections to the mail server: opened, signed in, kept for the next message. lettre speaks the
//! protocol; its own transport is not used because its errors do not tell whether the content was
//! already on the way, and that decides whether a message may be sent again.

use crate::{ConfigFault, SmtpConfig, TlsMode};
use lettre::address::Envelope;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Servers close idle connections after a minute or so; ours go first.
const IDLE: Duration = Duration::from_secs(30);
/// Many servers end a connection after 100 messages.
const MESSAGES: u32 = 90;

/// How far a message had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connect,
    Tls,
    Login,
    Sender,
    Recipient,
    Data,
    /// The content was being written or its reply awaited: the server may have it.
    Content,
}

impl Stage {
    /// Code of a failure without a reply.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Login => "login",
            _ => "reset",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Connect => "when connecting",
            Self::Tls => "when the connection was being encrypted",
            Self::Login => "when signing in",
            Self::Sender => "to the sender's address",
            Self::Recipient => "to the recipient's address",
            Self::Data => "before the content",
            Self::Content => "to the content",
        }
    }
}

/// What stopped a message, and where.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Smtp(SmtpError),
    Timeout,
    /// The server does not announce this extension.
    Lacks(&'static str),
}

impl Failure {
    /// The reply code, if the server answered.
    pub(crate) fn code(&self) -> Option<u16> {
        match &self.cause {
            Cause::Smtp(e) => e.status().map(u16::from),
            Cause::Timeout | Cause::Lacks(_) => None,
        }
    }

    pub(crate) fn is_timeout(&self) -> bool {
        match &self.cause {
            Cause::Smtp(e) => e.is_timeout(),
            Cause::Timeout => true,
            Cause::Lacks(_) => false,
        }
    }

    /// Nothing went over the wire: the server does not offer what is needed.
    pub(crate) fn is_ours(&self) -> bool {
        match &self.cause {
            Cause::Smtp(e) => e.is_client(),
            Cause::Timeout => false,
            Cause::Lacks(_) => true,
        }
    }

    /// The server's words.
    pub(crate) fn reply(&self) -> String {
        use std::error::Error;
        match &self.cause {
            Cause::Smtp(e) => e.source().map(ToString::to_string).unwrap_or_default(),
            Cause::Timeout | Cause::Lacks(_) => String::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Smtp(_) => write!(f, "SMTP failed {}", self.stage.about()),
            Cause::Timeout => write!(f, "SMTP took too long {}", self.stage.about()),
            Cause::Lacks(extension) => write!(f, "the server does not announce {extension}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Smtp(e) => Some(e),
            Cause::Timeout | Cause::Lacks(_) => None,
        }
    }
}

/// The connections to one server.
pub(crate) struct Sessions {
    host: String,
    port: u16,
    mode: TlsMode,
    tls: TlsParameters,
    hello: ClientId,
    login: Option<(String, SecretString)>,
    slots: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Idle>>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, mode) = (&self.host, self.port, self.mode);
        f.debug_struct("Sessions")
            .field("host", host)
            .field("port", &port)
            .field("tls", &mode)
            .finish_non_exhaustive()
    }
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
    sent: u32,
}

impl Sessions {
    pub(crate) fn new(config: &SmtpConfig) -> Result<Self, ConfigFault> {
        let login = config.username.clone().zip(config.password.clone());
        Ok(Self {
            host: config.host.clone(),
            port: config.port.unwrap_or(config.tls.default_port()),
            mode: config.tls,
            tls: tls(&config.host, config.ca_file.as_deref())?,
            hello: ClientId::default(),
            login,
            slots: Arc::new(Semaphore::new(config.connections as usize)),
            idle: Arc::default(),
        })
    }

    /// An open connection: a kept one that still answers, or a new one.
    pub(crate) async fn take(&self, deadline: Instant) -> Result<Session, Failure> {
        let slot = within(Stage::Connect, deadline, async {
            // The semaphore is never closed; were it, an answer in time would not matter.
            Ok(Arc::clone(&self.slots).acquire_owned().await.ok())
        })
        .await?;
        while let Some(mut idle) = self.pop() {
            let fresh = idle.since.elapsed() < IDLE && idle.sent < MESSAGES;
            // Clears what an earlier message left behind, and shows that the server is there.
            let clean = within(Stage::Connect, deadline, idle.connection.command(Rset));
            if fresh && clean.await.is_ok() {
                return Ok(self.session(idle.connection, idle.sent, slot));
            }
        }
        let connection = self.open(deadline).await?;
        Ok(self.session(connection, 0, slot))
    }

    fn session(
        &self,
        connection: AsyncSmtpConnection,
        sent: u32,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Session {
        Session { connection, sent, home: Arc::clone(&self.idle), _slot: slot }
    }

    fn pop(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn open(&self, deadline: Instant) -> Result<AsyncSmtpConnection, Failure> {
        let wrapped = (self.mode == TlsMode::Tls).then(|| self.tls.clone());
        let server = (self.host.as_str(), self.port);
        let connecting =
            AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, wrapped, None);
        let mut connection = within(Stage::Connect, deadline, connecting).await.map_err(|f| {
            let tls = matches!(&f.cause, Cause::Smtp(e) if is_tls(e));
            Failure { stage: if tls { Stage::Tls } else { f.stage }, ..f }
        })?;
        if self.mode == TlsMode::Starttls {
            let upgrade = connection.starttls(self.tls.clone(), &self.hello);
            within(Stage::Tls, deadline, upgrade).await?;
        }
        if let Some((user, password)) = &self.login {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            within(Stage::Login, deadline, connection.auth(&mechanisms, &credentials)).await?;
        }
        Ok(connection)
    }
}

fn tls(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, ConfigFault> {
    let fault = |message: String| ConfigFault { key: "smtp.ca_file".to_owned(), message };
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca_file {
        let pem = std::fs::read(path)
            .map_err(|e| fault(format!("`{}` cannot be read: {e}", path.display())))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|e| fault(format!("`{}` holds no PEM certificate: {e}", path.display())))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|e| fault(format!("no TLS can be set up: {e}")))
}

/// lettre wraps a failed handshake as a connection error, so the chain is searched.
fn is_tls(e: &SmtpError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(e) = cause {
        let inner = e.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if e.is::<rustls::Error>() || inner.is_some_and(|i| i.is::<rustls::Error>()) {
            return true;
        }
        cause = e.source();
    }
    e.is_tls()
}

async fn within<T>(
    stage: Stage,
    deadline: Instant,
    work: impl Future<Output = Result<T, SmtpError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout_at(deadline, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(Failure { stage, cause: Cause::Smtp(e) }),
        Err(_) => Err(Failure { stage, cause: Cause::Timeout }),
    }
}

/// One open connection. Dropped without [`Session::keep`], it is closed.
pub(crate) struct Session {
    connection: AsyncSmtpConnection,
    sent: u32,
    home: Arc<Mutex<Vec<Idle>>>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Puts the connection back for the next message.
    pub(crate) fn keep(self) {
        let idle = Idle { connection: self.connection, since: Instant::now(), sent: self.sent + 1 };
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
    }

    pub(crate) async fn mail_from(
        &mut self,
        envelope: &Envelope,
        content: &[u8],
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut parameters = Vec::new();
        let server = self.connection.server_info();
        let mut addresses = envelope.from().into_iter().chain(envelope.to());
        if addresses.any(|a| !AsRef::<str>::as_ref(a).is_ascii()) {
            // RFC 6531, 3.1: without the extension such an address must not be sent.
            if !server.supports_feature(Extension::SmtpUtfEight) {
                return Err(Failure { stage: Stage::Sender, cause: Cause::Lacks("SMTPUTF8") });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !content.is_ascii() && server.supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let command = Mail::new(envelope.from().cloned(), parameters);
        within(Stage::Sender, deadline, self.connection.command(command)).await.map(drop)
    }

    pub(crate) async fn rcpt_to(
        &mut self,
        envelope: &Envelope,
        deadline: Instant,
    ) -> Result<(), Failure> {
        for to in envelope.to() {
            let command = Rcpt::new(to.clone(), Vec::new());
            within(Stage::Recipient, deadline, self.connection.command(command)).await?;
        }
        Ok(())
    }

    pub(crate) async fn data(&mut self, deadline: Instant) -> Result<(), Failure> {
        within(Stage::Data, deadline, self.connection.command(Data)).await.map(drop)
    }

    pub(crate) async fn content(
        &mut self,
        content: &[u8],
        deadline: Instant,
    ) -> Result<String, Failure> {
        let reply = within(Stage::Content, deadline, self.connection.message(content)).await?;
        Ok(reply.message().collect::<Vec<_>>().join(" "))
    }
}
