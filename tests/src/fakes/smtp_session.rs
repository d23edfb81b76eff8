//! One session with the fake mail server.

use super::record::Received;
use super::smtp::{Answer, Shared, SmtpStage};
use base64::Engine;
use serde_json::{Map, Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use switchyard_providers::TlsMode;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::TlsAcceptor;

/// Either kind of stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Session<'s> {
    stream: BufReader<Box<dyn Stream>>,
    shared: &'s Shared,
    plain: bool,
    login: Option<String>,
    from: String,
    to: Vec<String>,
}

/// What a step leaves to be done.
enum Then {
    /// Go on as without a script.
    Normal,
    /// The script replied.
    Replied,
}

/// Speaks until the client leaves or the script ends it. `plain`: not encrypted yet.
pub(super) async fn run(stream: Box<dyn Stream>, shared: &Shared, plain: bool) -> io::Result<()> {
    let mut session = Session {
        stream: BufReader::new(stream),
        shared,
        plain,
        login: None,
        from: String::new(),
        to: Vec::new(),
    };
    if let Then::Normal = session.step(SmtpStage::Greeting).await? {
        session.say("220 fake.switchyard.test ESMTP").await?;
    }
    while let Some(line) = session.line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "HELO" => session.ehlo().await?,
            "STARTTLS" => session = session.encrypt().await?,
            "AUTH" => session.auth(&line).await?,
            "MAIL" => session.mail(&line).await?,
            "RCPT" => session.rcpt(&line).await?,
            "DATA" => session.data().await?,
            "RSET" => session.reset().await?,
            "NOOP" => session.say("250 2.0.0 OK").await?,
            "QUIT" => return session.say("221 2.0.0 Bye").await,
            _ => session.say("502 5.5.2 Command not recognized").await?,
        }
    }
    Ok(())
}

impl<'s> Session<'s> {
    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line);
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    /// What the script has for this stage.
    fn scripted(&self, stage: SmtpStage) -> Answer {
        let step = self.shared.script.take(|step| step.at == stage);
        step.map_or(Answer::Normal, |step| step.answer)
    }

    async fn step(&mut self, stage: SmtpStage) -> io::Result<Then> {
        match self.scripted(stage) {
            Answer::Normal => Ok(Then::Normal),
            Answer::Reply { code, text } => {
                self.say(&format!("{code} {text}")).await?;
                Ok(Then::Replied)
            }
            Answer::Cut | Answer::TakeAndCut => Err(io::ErrorKind::ConnectionAborted.into()),
            Answer::Hang => std::future::pending().await,
            Answer::Late { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(Then::Normal)
            }
        }
    }

    async fn ehlo(&mut self) -> io::Result<()> {
        if let Then::Replied = self.step(SmtpStage::Ehlo).await? {
            return Ok(());
        }
        self.say("250-fake.switchyard.test").await?;
        if self.plain && matches!(self.shared.options.tls, Some((TlsMode::Starttls, _))) {
            self.say("250-STARTTLS").await?;
        }
        if self.shared.options.login.is_some() {
            self.say("250-AUTH PLAIN").await?;
        }
        self.say("250 ENHANCEDSTATUSCODES").await
    }

    async fn encrypt(mut self) -> io::Result<Session<'s>> {
        let Some((TlsMode::Starttls, certificates)) = &self.shared.options.tls else {
            self.say("502 5.5.1 Not offered").await?;
            return Ok(self);
        };
        self.say("220 2.0.0 Go ahead").await?;
        let acceptor = TlsAcceptor::from(Arc::clone(&certificates.server));
        let stream = acceptor.accept(self.stream.into_inner()).await?;
        Ok(Session { stream: BufReader::new(Box::new(stream)), plain: false, ..self })
    }

    async fn auth(&mut self, line: &str) -> io::Result<()> {
        if let Then::Replied = self.step(SmtpStage::Auth).await? {
            return Ok(());
        }
        let sent = line.split_whitespace().nth(2).unwrap_or_default();
        let plain = base64::engine::general_purpose::STANDARD.decode(sent).unwrap_or_default();
        let plain = String::from_utf8_lossy(&plain).into_owned();
        let given: Vec<&str> = plain.split('\0').skip(1).collect();
        let wanted = self.shared.options.login.as_ref();
        if wanted.is_some_and(|(user, password)| given == [user.as_str(), password.as_str()]) {
            self.login = Some(given.join(":"));
            return self.say("235 2.7.0 Authentication successful").await;
        }
        self.say("535 5.7.8 Authentication credentials invalid").await
    }

    async fn mail(&mut self, line: &str) -> io::Result<()> {
        if let Then::Replied = self.step(SmtpStage::Mail).await? {
            return Ok(());
        }
        if self.shared.options.login.is_some() && self.login.is_none() {
            return self.say("530 5.7.0 Authentication required").await;
        }
        self.from = address(line);
        self.to.clear();
        self.say("250 2.1.0 OK").await
    }

    async fn rcpt(&mut self, line: &str) -> io::Result<()> {
        if let Then::Replied = self.step(SmtpStage::Rcpt).await? {
            return Ok(());
        }
        self.to.push(address(line));
        self.say("250 2.1.5 OK").await
    }

    async fn data(&mut self) -> io::Result<()> {
        if let Then::Replied = self.step(SmtpStage::Data).await? {
            return Ok(());
        }
        if self.to.is_empty() {
            return self.say("503 5.5.1 No recipient").await;
        }
        self.say("354 End data with <CR><LF>.<CR><LF>").await?;
        let answer = self.scripted(SmtpStage::Content);
        let content = self.content(matches!(answer, Answer::Cut)).await?;
        let mut accepted = true;
        let mut reply = "250 2.0.0 OK: queued as FAKE1".to_owned();
        if let Answer::Reply { code, text } = &answer {
            accepted = (200..300).contains(code);
            reply = format!("{code} {text}");
        }
        accepted &= !matches!(answer, Answer::Cut);
        self.shared.record.add(self.received(&content, accepted));
        match answer {
            Answer::Cut | Answer::TakeAndCut => {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Answer::Hang => std::future::pending().await,
            Answer::Late { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Answer::Normal | Answer::Reply { .. } => {}
        }
        self.say(&reply).await
    }

    async fn reset(&mut self) -> io::Result<()> {
        if let Then::Replied = self.step(SmtpStage::Reset).await? {
            return Ok(());
        }
        self.from.clear();
        self.to.clear();
        self.say("250 2.0.0 OK").await
    }

    /// The content without its dots (RFC 5321, 4.5.2); or its headers only.
    async fn content(&mut self, headers_only: bool) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" || (headers_only && line == b"\r\n") {
                return Ok(content);
            }
            let dots = usize::from(line.starts_with(b"."));
            content.extend_from_slice(&line[dots..]);
        }
    }

    fn received(&self, content: &[u8], accepted: bool) -> Received {
        let mut body = read_mail(content);
        body.insert("from".to_owned(), json!(self.from));
        let marker = body.get("message-id").and_then(Value::as_str).unwrap_or_default().to_owned();
        Received {
            marker,
            recipient: self.to.join(","),
            accepted,
            authorization: self.login.clone(),
            body: Value::Object(body),
        }
    }
}

/// The text between the angle brackets.
fn address(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}

/// Headers by their names in lower case, decoded; the parts `text` and `html`.
fn read_mail(content: &[u8]) -> Map<String, Value> {
    let mut found = Map::new();
    let Ok(mail) = mailparse::parse_mail(content) else { return found };
    for header in mail.get_headers() {
        found.insert(header.get_key().to_lowercase(), json!(header.get_value()));
    }
    for part in std::iter::once(&mail).chain(&mail.subparts) {
        let name = match part.ctype.mimetype.as_str() {
            "text/plain" => "text",
            "text/html" => "html",
            _ => continue,
        };
        found.insert(name.to_owned(), json!(part.get_body().unwrap_or_default()));
    }
    found
}
