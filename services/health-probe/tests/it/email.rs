//! Mail, by a server that misbehaves as it is told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{Fixture, becomes, rounds, said};
use crate::http::{Does, OK, Server};

/// What the server does when it is handed a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mail {
    Takes,
    /// 451 after the message.
    TriesLater,
    /// 554 after the message.
    Refuses,
    /// Says nothing after the message.
    Hangs,
    /// Closes in the middle of the message.
    Drops,
    /// 550 to the address bad@example.com, and takes what goes to others.
    RefusesOne,
}

/// SMTP without encryption and login.
pub(crate) struct MailServer {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    does: Mutex<Mail>,
    /// Messages that it took.
    messages: Mutex<Vec<String>>,
    attempts: Mutex<usize>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            does: Mutex::new(Mail::Takes),
            messages: Mutex::default(),
            attempts: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Self { port, shared }
    }

    /// Its settings, without those that a test adds.
    pub(crate) fn section(&self) -> String {
        self.section_to("ops@example.com")
    }

    fn section_to(&self, to: &str) -> String {
        format!(
            "{{ host: 127.0.0.1, port: {}, encryption: none, from: \"Eidos <alerts@example.com>\", to: [{to}], timeout: 1s }}",
            self.port
        )
    }

    fn now(&self, does: Mail) {
        *self.shared.does.lock().unwrap() = does;
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.shared.messages.lock().unwrap().clone()
    }

    fn attempts(&self) -> usize {
        *self.shared.attempts.lock().unwrap()
    }

    /// The subject of each message that it took.
    fn subjects(&self) -> Vec<String> {
        self.messages()
            .iter()
            .map(|message| header(message, "Subject"))
            .collect()
    }
}

fn header(message: &str, name: &str) -> String {
    let line = message
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_default().to_owned()
}

impl Shared {
    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 mail.example.com\r\n").await.ok()?;
        while let Some(line) = lines.next_line().await.ok()? {
            let does = *self.does.lock().unwrap();
            let answer = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
                "DATA" => {
                    *self.attempts.lock().unwrap() += 1;
                    write.write_all(b"354 go on\r\n").await.ok()?;
                    if does == Mail::Drops {
                        return None;
                    }
                    let mut message = String::new();
                    while let Some(line) = lines.next_line().await.ok()?.filter(|line| line != ".") {
                        message.push_str(&line);
                        message.push('\n');
                    }
                    match does {
                        Mail::Hangs => std::future::pending().await,
                        Mail::TriesLater => "451 try again later",
                        Mail::Refuses => "554 not wanted here",
                        _ => {
                            self.messages.lock().unwrap().push(message);
                            "250 taken"
                        }
                    }
                }
                "RCPT" if does == Mail::RefusesOne && line.contains("bad@example.com") => "550 no such user",
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        }
        None
    }
}

fn fixture(target: &Server, section: &str) -> Fixture {
    Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        &format!("  emails: {{ ops: {section} }}"),
    )
}

const OPEN: &str = "[CRITICAL] TargetUnhealthy trading";
const END: &str = "[RESOLVED] TargetUnhealthy trading";

#[tokio::test]
async fn a_mail_is_sent_once_after_a_server_that_tries_later_hangs_and_drops() {
    let (target, mail) = (Server::start(Does::Close).await, MailServer::start().await);
    mail.now(Mail::TriesLater);
    let fixture = fixture(&target, &mail.section());
    let child = fixture.serve();
    for does in [Mail::TriesLater, Mail::Hangs, Mail::Drops] {
        mail.now(does);
        let before = mail.attempts();
        becomes("it is tried again", &child, &true, || mail.attempts() > before).await;
    }
    assert!(mail.messages().is_empty(), "{:?}", mail.messages());
    mail.now(Mail::Takes);
    becomes("it is sent", &child, &vec![OPEN.to_owned()], || mail.subjects()).await;
    rounds(&child, 4).await;
    assert_eq!(mail.subjects(), [OPEN], "once");
    target.now(OK);
    let both = [OPEN, END].map(str::to_owned).to_vec();
    becomes("its end is sent", &child, &both, || mail.subjects()).await;
    let threads: Vec<String> = mail
        .messages()
        .iter()
        .map(|message| header(message, "References"))
        .collect();
    assert_eq!(threads[0], threads[1], "one thread");
    assert!(
        mail.messages()[0].contains("summary: trading:"),
        "{:?}",
        mail.messages()
    );

    // What it refuses is said, and not repeated before the next reminder.
    mail.now(Mail::Refuses);
    target.now(Does::Close);
    child.wait_for_line("554", crate::fixture::WITHIN).await;
    let before = mail.attempts();
    rounds(&child, 4).await;
    assert_eq!(mail.attempts(), before, "a refused message is not repeated");
}

#[tokio::test]
async fn one_wrong_address_delays_no_other() {
    let (target, mail) = (Server::start(Does::Close).await, MailServer::start().await);
    mail.now(Mail::RefusesOne);
    let fixture = fixture(&target, &mail.section_to("bad@example.com, ops@example.com"));
    let child = fixture.serve();
    becomes("the other is sent", &child, &vec![OPEN.to_owned()], || {
        mail.subjects()
    })
    .await;
    rounds(&child, 4).await;
    assert_eq!(mail.subjects(), [OPEN], "once");
    assert!(
        said(&child).contains("bad@example.com: permanent error"),
        "{}",
        said(&child)
    );
}

#[tokio::test]
async fn settings_of_mail_that_make_no_sense_are_refused_at_start() {
    let target = Server::start(OK).await;
    let fixture = fixture(
        &target,
        "{ host: mail, encryption: none, username: u, password: hunter2, from: nonsense, to: [] }",
    );
    let (status, child) = fixture
        .command(&["check-config"])
        .run(crate::fixture::WITHIN)
        .await;
    assert_eq!(status.code(), Some(78));
    for part in [
        "notifications.emails.ops.to: names 0 addresses",
        "notifications.emails.ops.encryption: is none: the password would be sent in the clear",
        "from 'nonsense' is not an address of mail",
    ] {
        assert!(
            child.stderr().contains(part),
            "{part} is not in:\n{}",
            child.stderr()
        );
    }
    assert!(!child.stderr().contains("hunter2"), "{}", child.stderr());
}
