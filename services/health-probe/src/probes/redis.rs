//! `INFO` over a connection of its own. The few bytes of the protocol are written here, so that no answer is read further than
//! its limit.

use reqwest::Url;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    BufReader,
};
use tokio::net::TcpStream;

use super::finding::Finding;
use super::target::Target;
use super::trust;
use crate::domain::redis::Info;

const PORT: u16 = 6379;
/// All answers of a connection together.
const LONGEST_ANSWER: u64 = 256 * 1024;

/// Asks, and returns what the server says of itself.
pub(super) async fn ask(target: &Target, url: &Url) -> Result<Info, Finding> {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, url.port().unwrap_or(PORT)))
        .await
        .map_err(|error| Finding::of_error(&error))?;
    if url.scheme() != "rediss" {
        return talk(stream, url).await;
    }
    let name = trust::server_name(target.server_name.as_deref().unwrap_or(host)).map_err(Finding::unknown)?;
    let verifier = trust::verifier(target.authority.as_ref()).map_err(Finding::unknown)?;
    let stream = trust::handshake(stream, name, verifier)
        .await
        .map_err(|error| Finding::of_error(&error))?;
    talk(stream, url).await
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, url: &Url) -> Result<Info, Finding> {
    let (reading, mut writing) = tokio::io::split(stream);
    let mut reading = BufReader::new(reading.take(LONGEST_ANSWER));
    let failed = |error: std::io::Error| Finding::of_error(&error);
    if let Some(login) = login(url) {
        let login: Vec<&str> = login.iter().map(String::as_str).collect();
        writing.write_all(&command(&login)).await.map_err(failed)?;
        answer(&mut reading).await?;
    }
    writing.write_all(&command(&["INFO"])).await.map_err(failed)?;
    let info = answer(&mut reading).await?;
    Ok(Info::parse(&info))
}

/// User and password of the URL; `None`: it has no password.
fn login(url: &Url) -> Option<Vec<String>> {
    let password = decoded(url.password()?);
    let user = decoded(url.username());
    let mut login = vec!["AUTH".to_owned()];
    login.extend((!user.is_empty()).then_some(user));
    login.push(password);
    Some(login)
}

/// `%40` is `@`. What is not such a code stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// One answer: a line, or a text of a stated length.
async fn answer(reading: &mut (impl AsyncBufRead + Unpin)) -> Result<String, Finding> {
    let failed = |error: std::io::Error| Finding::of_error(&error);
    let mut line = Vec::new();
    reading.read_until(b'\n', &mut line).await.map_err(failed)?;
    let line = String::from_utf8_lossy(&line);
    let line = line.trim_end();
    match line.split_at_checked(1) {
        Some(("+", text)) => Ok(text.to_owned()),
        // The text of an error is the server's and may hold what it was sent; its first word is the kind.
        Some(("-", text)) => {
            let kind = text.split_ascii_whitespace().next().unwrap_or_default();
            Err(Finding::failed(format!("answered {kind}")))
        }
        Some(("$", length)) => {
            let length = length
                .parse::<u64>()
                .ok()
                .filter(|length| *length <= LONGEST_ANSWER);
            let Some(length) = length else {
                return Err(Finding::failed("its answer is longer than any of Redis"));
            };
            let mut text = Vec::new();
            reading
                .take(length + 2)
                .read_to_end(&mut text)
                .await
                .map_err(failed)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        Some(_) => Err(Finding::failed("its answer is not Redis's")),
        None => Err(Finding::failed("it closed the connection without an answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_logins_are_written_as_the_protocol_has_them() {
        assert_eq!(command(&["AUTH", "a b"]), b"*2\r\n$4\r\nAUTH\r\n$3\r\na b\r\n");
        let url = |text: &str| login(&text.parse().unwrap());
        assert_eq!(url("redis://a"), None);
        assert_eq!(url("redis://:p%40ss@a").unwrap(), ["AUTH", "p@ss"]);
        assert_eq!(url("redis://me:100%25@a").unwrap(), ["AUTH", "me", "100%"]);
    }
}
