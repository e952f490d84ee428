//! [`Email`]: messages by SMTP.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::pager_duty::cut;
use super::webhook::time;
use super::{SendError, Sink};
use crate::{Notice, NoticeKind};

/// Longer subjects are cut by what shows them.
const LONGEST_SUBJECT: usize = 200;
/// Of what a server says.
const LONGEST_REASON: usize = 300;
/// Out-of-office replies are not sent to such a message (RFC 3834).
const AUTOMATIC: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// From the first byte.
    Tls,
    /// By STARTTLS; a server without it is refused.
    Starttls,
    /// Not at all.
    None,
}

/// Where mail is handed over, and to whom it goes.
#[derive(Debug, Clone)]
pub struct EmailSettings {
    /// The name of the sink.
    pub name: String,
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Of the account; `None`: no login.
    pub login: Option<(String, SecretString)>,
    /// The authority of its certificate (PEM), beside the public ones; `None`: only those.
    pub authority: Option<Vec<u8>>,
    /// The sender.
    pub from: String,
    /// Whoever is told. Each gets a message of its own: one wrong address delays no other.
    pub to: Vec<String>,
    /// Time limit of one message, connecting included.
    pub timeout: Duration,
}

/// Sends one message for each notice and address.
pub struct Email {
    settings: EmailSettings,
    from: Mailbox,
    to: Vec<Mailbox>,
    server: AsyncSmtpTransport<Tokio1Executor>,
}

impl Email {
    /// Makes the sink; nothing is connected.
    ///
    /// # Errors
    /// Names what cannot be used: an address, or the authority.
    pub fn new(settings: EmailSettings) -> Result<Self, String> {
        // Whoever installed a TLS provider before us wins.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.as_str())
            .port(settings.port)
            .tls(tls(&settings)?)
            .timeout(Some(settings.timeout));
        if let Some((username, password)) = &settings.login {
            let password = password.expose_secret().to_owned();
            server = server.credentials(Credentials::new(username.clone(), password));
        }
        let to = settings.to.iter().map(|to| mailbox("to", to));
        Ok(Self {
            from: mailbox("from", &settings.from)?,
            to: to.collect::<Result<_, _>>()?,
            server: server.build(),
            settings,
        })
    }

    async fn send_to_all(&self, notice: &Notice, now_ms: i64) -> Result<(), SendError> {
        let (mut refused, mut accepted, mut later) = (None, false, None);
        for to in &self.to {
            match self.send_to(to, notice, now_ms).await {
                Ok(()) => accepted = true,
                Err(SendError::Refused(why)) => refused = Some(format!("{}: {why}", to.email)),
                Err(SendError::Later(why)) => later = Some(format!("{}: {why}", to.email)),
            }
        }
        match (later, refused) {
            (Some(why), _) => Err(SendError::Later(why)),
            (None, Some(why)) if accepted => {
                tracing::warn!(sink = self.settings.name, why, "one of the addresses was refused");
                Ok(())
            }
            (None, Some(why)) => Err(SendError::Refused(why)),
            (None, None) => Ok(()),
        }
    }

    async fn send_to(&self, to: &Mailbox, notice: &Notice, now_ms: i64) -> Result<(), SendError> {
        let message = message(&self.from, to, notice, now_ms).map_err(SendError::Refused)?;
        let sending = tokio::time::timeout(self.settings.timeout, self.server.send(message));
        match sending.await {
            Ok(Ok(_answer)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(SendError::Refused(why(&error))),
            Ok(Err(error)) => Err(SendError::Later(why(&error))),
            Err(_elapsed) => Err(SendError::Later(format!(
                "the mail server did not take the message within {:?}",
                self.settings.timeout
            ))),
        }
    }
}

impl Sink for Email {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn delivers_within(&self) -> Duration {
        let count = u32::try_from(self.to.len()).unwrap_or(u32::MAX);
        self.settings.timeout.saturating_mul(count)
    }

    fn send<'a>(&'a self, notice: &'a Notice, now_ms: i64) -> BoxFuture<'a, Result<(), SendError>> {
        self.send_to_all(notice, now_ms).boxed()
    }
}

fn tls(settings: &EmailSettings) -> Result<Tls, String> {
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = &settings.authority {
        let authority = Certificate::from_pem(pem);
        let authority = authority.map_err(|error| format!("ca_cert holds no certificate: {error}"))?;
        parameters = parameters.add_root_certificate(authority);
    }
    if settings.encryption == Encryption::None {
        return Ok(Tls::None);
    }
    let parameters = parameters
        .build_rustls()
        .map_err(|error| format!("host cannot be the name in a certificate: {error}"))?;
    Ok(match settings.encryption {
        Encryption::Tls => Tls::Wrapper(parameters),
        _ => Tls::Required(parameters),
    })
}

fn mailbox(key: &str, text: &str) -> Result<Mailbox, String> {
    text.parse()
        .map_err(|error| format!("{key} '{text}' is not an address of mail: {error}"))
}

/// Another attempt of a notice has the same id; all of an episode are one thread.
fn message(from: &Mailbox, to: &Mailbox, notice: &Notice, now_ms: i64) -> Result<Message, String> {
    let alert = &notice.alert;
    let sent_at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
    let thread = format!("<{}@health-probe.eidos>", alert.episode);
    let (kind, number) = (notice.kind.as_str(), notice.number);
    let id = format!(
        "<{}.{number}.{kind}.{}@health-probe.eidos>",
        alert.episode, alert.severity
    );
    let message = Message::builder()
        .from(from.clone())
        .to(to.clone())
        .subject(subject(notice))
        .date(sent_at)
        .message_id(Some(id))
        .references(thread)
        .raw_header(HeaderValue::new(AUTOMATIC, "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN);
    let message = message.body(text(notice));
    message.map_err(|error| format!("the message cannot be written: {error}"))
}

/// One line, whatever a server has put into a name.
fn subject(notice: &Notice) -> String {
    let alert = &notice.alert;
    let state = match notice.kind {
        NoticeKind::Resolved => "RESOLVED".to_owned(),
        NoticeKind::Reminder => format!("STILL {}", alert.severity.as_str().to_uppercase()),
        _ => alert.severity.as_str().to_uppercase(),
    };
    let target = alert.labels.get("target").map_or("", String::as_str);
    let line = format!("[{state}] {} {target}", alert.name);
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    cut(line.trim_end(), LONGEST_SUBJECT)
}

fn text(notice: &Notice) -> String {
    let alert = &notice.alert;
    let mut text = String::new();
    let at = |ms: i64| time(ms).unwrap_or_default();
    for (name, value) in &alert.annotations {
        let _ = writeln!(text, "{name}: {value}");
    }
    let _ = writeln!(
        text,
        "\nseverity: {}\nsince: {}",
        alert.severity,
        at(alert.starts_at_ms)
    );
    if let Some(ended_ms) = notice.ends_at_ms {
        let _ = writeln!(text, "until: {}", at(ended_ms));
    }
    for (name, value) in &alert.labels {
        let _ = writeln!(text, "{name}: {value}");
    }
    let _ = writeln!(text, "episode: {}", alert.episode);
    text
}

/// With what the server said, on one line.
fn why(error: &lettre::transport::smtp::Error) -> String {
    let line: String = error.to_string().chars().filter(|c| !c.is_control()).collect();
    cut(&line, LONGEST_REASON)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Alert, EpisodeId, Fingerprint, Severity};

    #[test]
    fn a_message_is_one_thread_per_episode_and_no_text_of_a_server_becomes_a_header() {
        let labels = BTreeMap::from([("target".to_owned(), "x\r\nBcc: all@example.com".to_owned())]);
        let summary = "trading: answered 503\r\n.\r\nMAIL FROM:<x@example.com>".to_owned();
        let notice = Notice {
            kind: NoticeKind::Open,
            alert: Alert {
                name: "TargetUnhealthy".to_owned(),
                episode: EpisodeId::of(&Fingerprint::of("TargetUnhealthy", &labels), 0),
                labels,
                annotations: BTreeMap::from([("summary".to_owned(), summary)]),
                severity: Severity::Critical,
                starts_at_ms: 0,
            },
            ends_at_ms: None,
            number: 1,
            accepted: None,
            accepted_at_ms: None,
        };
        let from = "Eidos <alerts@example.com>".parse().unwrap();
        let to = "ops@example.com".parse().unwrap();
        let sent = String::from_utf8(message(&from, &to, &notice, 0).unwrap().formatted()).unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        let episode = &notice.alert.episode;
        for line in [
            "Subject: [CRITICAL] TargetUnhealthy xBcc: all@example.com".to_owned(),
            "Auto-Submitted: auto-generated".to_owned(),
            "Date: Thu, 01 Jan 1970 00:00:00 +0000".to_owned(),
            format!("References: <{episode}@health-probe.eidos>"),
            format!("Message-ID: <{episode}.1.open.critical@health-probe.eidos>"),
        ] {
            assert!(
                head.lines().any(|found| found == line),
                "{line} is not in:\n{head}"
            );
        }
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(body.contains("summary: trading: answered 503"), "{body}");
    }
}
