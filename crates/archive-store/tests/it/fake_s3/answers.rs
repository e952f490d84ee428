//! Replies in S3's words.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::BUCKET;
use super::faults::{self, Harm};

const DATE: &str = "Sat, 21 Nov 2026 00:00:00 GMT";

/// The key of a request's path; empty is the bucket.
pub(super) fn key_of(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let key = path.strip_prefix(BUCKET).unwrap_or(path);
    decoded(key.trim_start_matches('/'))
}

pub(super) fn error(status: u16, code: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>the fake was told to</Message></Error>"
    );
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

pub(super) fn empty(status: StatusCode) -> Response {
    Response::builder()
        .status(status)
        .header("etag", "\"fake\"")
        .body(Body::empty())
        .unwrap()
}

pub(super) fn object(bytes: &Bytes, harm: Option<&Harm>) -> Response {
    let half = bytes.slice(..bytes.len() / 2);
    let rest = bytes.slice(bytes.len() / 2..);
    let body = match harm {
        Some(Harm::CutReply) => Body::from_stream(stream::iter([
            Ok(half),
            Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        ])),
        Some(Harm::ShortReply) => Body::from_stream(stream::iter([Ok::<_, io::Error>(half)])),
        Some(Harm::Slow(pause)) => Body::from_stream(slowly(half, rest, *pause)),
        Some(Harm::FlipByte) => Body::from(faults::flipped(bytes)),
        _ => Body::from(bytes.clone()),
    };
    Response::builder()
        .header("content-length", bytes.len())
        .header("last-modified", DATE)
        .header("etag", "\"fake\"")
        .body(body)
        .unwrap()
}

fn slowly(half: Bytes, rest: Bytes, pause: Duration) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let later = stream::once(async move {
        tokio::time::sleep(pause).await;
        Ok(rest)
    });
    stream::iter([Ok(half)]).chain(later)
}

pub(super) fn list(objects: &BTreeMap<String, Bytes>, query: Option<&str>, harm: Option<&Harm>) -> Response {
    let query = query.unwrap_or_default();
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix="));
    let prefix = decoded(prefix.unwrap_or_default());
    let mut body = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    let listed = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
    for (key, bytes) in listed.filter(|_| !matches!(harm, Some(Harm::ListNothing))) {
        write!(
            body,
            "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-21T00:00:00.000Z</LastModified>\
             <ETag>\"fake\"</ETag></Contents>",
            bytes.len()
        )
        .unwrap();
    }
    body.push_str("</ListBucketResult>");
    Response::new(Body::from(body))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            bytes.extend(hex::decode(&tail[..2]).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub(super) fn sha256_base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in Sha256::digest(bytes).chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap();
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    text
}
