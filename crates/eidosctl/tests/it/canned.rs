//! A service whose answers are written down beforehand: it misbehaves on request.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::program::{Ran, eidosctl};

pub(crate) const TOKEN: &str = "a-token-of-thirty-two-characters!";

/// One answer of the canned service.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Json(u16, Value),
    Text(u16, &'static str),
    /// Takes the request and closes the connection.
    Nothing,
}

pub(crate) struct Canned {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    /// Answers one connection after the other, with the last answer for all that follow.
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let mut turn = 0;
        Self::answering(move |_request| {
            let answer = answers[turn.min(answers.len() - 1)].clone();
            turn += 1;
            answer
        })
        .await
    }

    /// Answers each path with its own answers, in turn and the last one for ever; 404 where there is none.
    pub(crate) async fn with_paths(paths: Vec<(&'static str, Vec<Answer>)>) -> Self {
        let mut paths: Vec<_> = paths
            .into_iter()
            .map(|(path, answers)| (path, 0, answers))
            .collect();
        Self::answering(move |request| {
            let asked = request.split(' ').nth(1).unwrap_or_default();
            let asked = asked.split('?').next().unwrap_or_default();
            let Some((_, turn, answers)) = paths.iter_mut().find(|(path, ..)| *path == asked) else {
                return problem(404, "Not Found", &format!("there is no {asked}"));
            };
            let answer = answers[(*turn).min(answers.len() - 1)].clone();
            *turn += 1;
            answer
        })
        .await
    }

    async fn answering(mut answer: impl FnMut(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                let answer = answer(&request);
                seen.lock().unwrap().push(request);
                send(stream, &answer).await;
            }
        });
        Self { url, requests }
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        eidosctl(arguments, &[("EIDOS_URL", &self.url), ("EIDOS_TOKEN", TOKEN)]).await
    }

    pub(crate) fn request(&self, index: usize) -> String {
        self.requests()[index].clone()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.unwrap();
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request);
        let complete = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            length.map_or(0, |length| length.parse().unwrap()) <= body.len()
        });
        if read == 0 || complete {
            return String::from_utf8(request).unwrap();
        }
    }
}

async fn send(mut stream: TcpStream, answer: &Answer) {
    let (status, kind, body) = match answer {
        Answer::Json(status, body) if *status >= 400 => {
            (*status, "application/problem+json", body.to_string())
        }
        Answer::Json(status, body) => (*status, "application/json", body.to_string()),
        Answer::Text(status, body) => (*status, "text/html", (*body).to_owned()),
        Answer::Nothing => return,
    };
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

pub(crate) fn problem(status: u16, title: &str, detail: &str) -> Answer {
    Answer::Json(
        status,
        json!({ "type": "urn:eidos:problem:x", "title": title, "status": status, "detail": detail }),
    )
}
