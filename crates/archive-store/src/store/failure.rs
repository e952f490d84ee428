//! What a failed request means: try again, or an error that says what to do.
//!
//! `object_store` keeps the type of a failed request to itself, so the HTTP status and the provider's error code are
//! read from its text. `tests/it` holds it to that with a server that fails in every way.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use object_store::Error as ObjectError;

use crate::error::StoreError;
use crate::place::Scheme;
use crate::store::access::Access;

/// Longest cause that is shown, in characters.
const MAX_CAUSE: usize = 300;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The store's error.
    Store(ObjectError),
    /// Worth another attempt.
    Again(String),
    /// The object is there and not what it must be.
    Differs(String),
    /// Not worth another attempt.
    Final(StoreError),
}

impl From<ObjectError> for Failed {
    fn from(error: ObjectError) -> Self {
        Self::Store(error)
    }
}

/// Returns the cause, if another attempt may help, or the error.
pub(super) fn judge(
    access: &Access,
    operation: &'static str,
    key: &str,
    failed: Failed,
) -> Result<String, StoreError> {
    match failed {
        Failed::Again(cause) => Ok(cause),
        Failed::Differs(what) => Err(access.corrupt(key, what)),
        Failed::Final(error) => Err(error),
        Failed::Store(error) => judge_store(access, operation, key, &error),
    }
}

fn judge_store(
    access: &Access,
    operation: &'static str,
    key: &str,
    error: &ObjectError,
) -> Result<String, StoreError> {
    let answer = Answer::of(error);
    let cause = answer.cause.clone();
    let incapable = |what: &str, fix: &str| Err(access.incapable(key, what, fix));
    if let Some(io) = io_error(error) {
        return judge_io(access, operation, key, io, cause);
    }
    if answer.is("NoSuchBucket") || answer.is("ContainerNotFound") {
        return incapable("has no such bucket", "create it, or correct archive_store.url");
    }
    match error {
        // Any gateway says 404; only the provider's own word means that an archived object is gone.
        ObjectError::NotFound { .. } if operation == "get" && answer.names_a_missing_object() => {
            Err(StoreError::Missing {
                object: access.location(key),
            })
        }
        ObjectError::NotFound { .. } => incapable(
            &format!("is not found there ({cause})"),
            "correct archive_store.url and archive_store.endpoint",
        ),
        ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => {
            Err(denied(access, operation, key, &answer))
        }
        ObjectError::NotImplemented { .. } | ObjectError::NotSupported { .. } => incapable(
            &format!("cannot do this ({cause})"),
            "use a store that can create objects conditionally",
        ),
        ObjectError::InvalidPath { .. } | ObjectError::UnknownConfigurationKey { .. } => incapable(
            &format!("cannot be asked for this ({cause})"),
            "correct archive_store.url",
        ),
        _ => match answer.status {
            Some(501) => incapable(
                &format!("does not know a header of ours ({cause})"),
                answer.fix_of_header(),
            ),
            Some(300..=399) => incapable(
                &format!("sends us elsewhere ({cause})"),
                "correct archive_store.region and archive_store.endpoint",
            ),
            Some(413) => incapable(
                &format!("takes no objects of this size ({cause})"),
                "lower archive_store.part_bytes",
            ),
            Some(400) if !answer.is_passing() => Err(denied(access, operation, key, &answer)),
            Some(402..=407 | 410..=412 | 414..=428 | 430..=499) => {
                Err(denied(access, operation, key, &answer))
            }
            _ => Ok(advised(cause, &answer)),
        },
    }
}

/// Returns a cause that another attempt may get past, with what to do where attempts will not help.
fn advised(cause: String, answer: &Answer) -> String {
    let advice = if answer.text_has("169.254.169.254") || answer.text_has("169.254.170.2") {
        "no credentials are set, and the machine's own identity does not answer: set archive_store.access_key_id and \
         secret_access_key, or give the instance or pod a role"
    } else if answer.text_has("UnknownIssuer") || answer.text_has("unknown issuer") {
        "the authority of its certificate is not known: name the authority's certificate in archive_store.ca_cert"
    } else {
        return cause;
    };
    format!("{cause}; {advice}")
}

fn judge_io(
    access: &Access,
    operation: &'static str,
    key: &str,
    error: &io::Error,
    cause: String,
) -> Result<String, StoreError> {
    match error.kind() {
        // A limit on the size of files (EFBIG) is one more way of having no room.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Err(StoreError::DiskFull {
                path: file_of(access, key),
            })
        }
        // A folder that was removed while it was written to is made again.
        io::ErrorKind::NotFound if operation != "get" => Ok(cause),
        io::ErrorKind::NotFound => Err(StoreError::Missing {
            object: access.location(key),
        }),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Err(StoreError::Denied {
            operation,
            object: access.location(key),
            cause,
            fix: format!(
                "give the service's user the right to read and write below {}, on a file system that is not read-only",
                access.place.folder.display()
            ),
        }),
        _ => Ok(cause),
    }
}

fn file_of(access: &Access, key: &str) -> PathBuf {
    access.place.folder.join(key)
}

/// Returns the I/O error of a local store. `None`: it is not one; those of HTTP connections are transport errors.
fn io_error(error: &ObjectError) -> Option<&io::Error> {
    let local = match error {
        ObjectError::Generic { store, .. } => *store == "LocalFileSystem",
        ObjectError::NotFound { .. } => true,
        _ => false,
    };
    chain(error)
        .filter(|_| local)
        .find_map(|error| error.downcast_ref::<io::Error>())
}

fn denied(access: &Access, operation: &'static str, key: &str, answer: &Answer) -> StoreError {
    let fix = if answer.is("RequestTimeTooSkewed") {
        "set this machine's clock".to_owned()
    } else if answer.is("SignatureDoesNotMatch") || answer.is("InvalidAccessKeyId") {
        "correct archive_store.access_key_id and secret_access_key".to_owned()
    } else if answer.text_has("KMS") {
        "let the key of security.archive_storage.kms_key_id be used (kms:GenerateDataKey, kms:Decrypt), in the \
         bucket's region"
            .to_owned()
    } else {
        permission(access, operation)
    };
    StoreError::Denied {
        operation,
        object: access.location(key),
        cause: answer.cause.clone(),
        fix,
    }
}

fn permission(access: &Access, operation: &str) -> String {
    let place = &access.place;
    let resource = if place.prefix.as_ref().is_empty() {
        place.bucket.clone()
    } else {
        format!("{}/{}", place.bucket, place.prefix)
    };
    match (place.scheme, operation) {
        (Scheme::S3, "list") => format!(
            "allow s3:ListBucket on {} for the prefix {}",
            place.bucket, place.prefix
        ),
        (Scheme::S3, "delete") => format!("allow s3:DeleteObject on {resource}/*"),
        (Scheme::S3, "get") => {
            format!("allow s3:GetObject on {resource}/* (and kms:Decrypt if the bucket uses a key)")
        }
        (Scheme::S3, _) => {
            format!("allow s3:PutObject on {resource}/* (and kms:GenerateDataKey if the bucket uses a key)")
        }
        (Scheme::Azure, _) => format!("give the role Storage Blob Data Contributor on {}", place.bucket),
        (Scheme::Google, _) => format!("give the role roles/storage.objectUser on {}", place.bucket),
        (Scheme::File, _) => format!("give the service's user rights on {}", place.folder.display()),
    }
}

/// What can be read from an error's text.
struct Answer {
    status: Option<u16>,
    /// The provider's code, as `SlowDown`.
    code: Option<String>,
    text: String,
    /// For people: short, without the query of a URL (it may hold a signature).
    cause: String,
}

impl Answer {
    fn of(error: &ObjectError) -> Self {
        let mut text = error.to_string();
        let root = chain(error).last().map(ToString::to_string);
        if let Some(root) = root.filter(|root| !text.contains(root)) {
            text.push_str(": ");
            text.push_str(&root);
        }
        // A redirect without a target, S3's way of saying that the region is wrong, has no status in the text.
        let redirected = text.contains("Received redirect without LOCATION").then_some(301);
        let status = between(&text, "status code: ", " ").and_then(|status| status.parse().ok());
        let status = status.or(redirected);
        let code = between(&text, "<Code>", "</Code>").map(str::to_owned);
        let message = between(&text, "<Message>", "</Message>");
        let cause = match (&code, status) {
            (Some(code), Some(status)) => format!("{status} {code}: {}", message.unwrap_or_default()),
            (None, _) | (_, None) => without_queries(&text),
        };
        let cause = cause.chars().take(MAX_CAUSE).collect();
        Self {
            status,
            code,
            text,
            cause,
        }
    }

    fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    fn text_has(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    /// What to do about the header that the store names.
    fn fix_of_header(&self) -> &'static str {
        let header = between(&self.text, "<Header>", "</Header>").unwrap_or_default();
        if header.to_lowercase().contains("checksum") {
            "set archive_store.checksum: none; what is stored is read back and compared all the same"
        } else {
            "an archive needs If-None-Match: * on put (and SSE headers if encryption is demanded); use such a store. If it \
             is the checksum that it does not know, set archive_store.checksum: none"
        }
    }

    fn names_a_missing_object(&self) -> bool {
        ["NoSuchKey", "NoSuchVersion", "BlobNotFound"]
            .iter()
            .any(|code| self.is(code))
    }

    /// Returns whether another attempt may get past a 400: the bytes were damaged or cut in transit, or credentials ran
    /// out (each attempt asks for them again).
    fn is_passing(&self) -> bool {
        [
            "BadDigest",
            "XAmzContentSHA256Mismatch",
            "IncompleteBody",
            "RequestTimeout",
            "ExpiredToken",
        ]
        .iter()
        .any(|code| self.is(code))
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// `GET https://host/key?sig=… in 3ms` → `GET https://host/key?… in 3ms`.
fn without_queries(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        match word.split_once('?').filter(|(url, _)| url.contains("://")) {
            Some((url, query)) => {
                let space = query.chars().last().filter(|last| last.is_whitespace());
                shown.push_str(url);
                shown.push_str("?…");
                shown.extend(space);
            }
            None => shown.push_str(word),
        }
    }
    shown
}

fn chain(error: &ObjectError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_in_urls_are_not_shown() {
        let shown = without_queries("GET https://a.blob/key?sig=hunter2&x=1 in 3ms - why?\nHTTP error");
        assert_eq!(shown, "GET https://a.blob/key?… in 3ms - why?\nHTTP error");
    }
}
