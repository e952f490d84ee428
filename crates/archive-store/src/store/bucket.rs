//! [`Bucket`]: what S3 is asked about a bucket itself, which `object_store` has no calls for.
//!
//! None of it is needed to archive: a store that does not know a question, or may not answer it, is an unknown and not a
//! failure. So each question is asked once, within the time limit of a request.

use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use serde::Deserialize;

use crate::versions::Versions;

/// How long a signed request is valid: clocks differ.
const SIGNED_FOR: Duration = Duration::from_mins(5);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// A bucket of S3.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) s3: AmazonS3,
    pub(super) http: HttpClient,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The store does not know the question, or we may not ask it.
    Refused(String),
    /// Nothing was heard: asking again may help.
    Silent(String),
}

impl Unanswered {
    /// For people; without the signed URL.
    pub(super) fn cause(self) -> String {
        match self {
            Self::Refused(cause) | Self::Silent(cause) => cause,
        }
    }
}

/// An answer, by its root element. Some stores answer a question that they do not know with a listing.
#[derive(Debug, Deserialize)]
enum Answer {
    // moto answers with the second name.
    #[serde(alias = "GetBucketVersioningResponse")]
    VersioningConfiguration(Versioning),
    ObjectLockConfiguration(ObjectLock),
    ListVersionsResult(Listing),
}

#[derive(Debug, Deserialize)]
struct Versioning {
    #[serde(rename = "Status")]
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ObjectLock {
    #[serde(rename = "ObjectLockEnabled")]
    enabled: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(rename = "Version", default)]
    versions: Vec<Version>,
    #[serde(rename = "DeleteMarker", default)]
    markers: Vec<Version>,
}

/// A version, or the mark that an object was removed.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    #[serde(rename = "Key")]
    pub(super) key: String,
    #[serde(rename = "VersionId")]
    pub(super) id: String,
}

/// The code of an error.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(rename = "Code")]
    code: Option<String>,
}

impl Bucket {
    /// Asks what becomes of objects that are removed.
    pub(super) async fn versions(&self, limit: Duration) -> Result<Versions, Unanswered> {
        let Answer::VersioningConfiguration(found) = self.question(&[("versioning", "")], limit).await?
        else {
            return Err(another_answer());
        };
        match found.status.as_deref() {
            None | Some("") => Ok(Versions::NotKept),
            Some("Suspended") => Ok(Versions::Suspended),
            Some("Enabled") => Ok(self.locked(limit).await),
            Some(other) => Err(Unanswered::Refused(format!("versioning is '{other}'"))),
        }
    }

    /// Asks for object lock: a bucket without it answers with an error, as one that may not be asked does.
    async fn locked(&self, limit: Duration) -> Versions {
        match self.question(&[("object-lock", "")], limit).await {
            Ok(Answer::ObjectLockConfiguration(lock)) if lock.enabled.as_deref() == Some("Enabled") => {
                Versions::Locked
            }
            _ => Versions::Kept,
        }
    }

    /// Lists versions and marks of objects whose whole key begins with `prefix`; at most a thousand.
    pub(super) async fn below(&self, prefix: &str, limit: Duration) -> Result<Vec<Version>, Unanswered> {
        let Answer::ListVersionsResult(found) = self
            .question(&[("versions", ""), ("prefix", prefix)], limit)
            .await?
        else {
            return Err(another_answer());
        };
        Ok(found.versions.into_iter().chain(found.markers).collect())
    }

    /// Removes one version, or one mark, for good.
    pub(super) async fn remove(&self, version: &Version, limit: Duration) -> Result<(), Unanswered> {
        let key = Path::parse(&version.key).map_err(|_error| another_answer())?;
        self.send(Method::DELETE, &key, &[("versionId", &version.id)], limit)
            .await
            .map(drop)
    }

    async fn question(&self, query: &[(&str, &str)], limit: Duration) -> Result<Answer, Unanswered> {
        let text = self.send(Method::GET, &Path::default(), query, limit).await?;
        quick_xml::de::from_str(&text).map_err(|_error| another_answer())
    }

    async fn send(
        &self,
        method: Method,
        key: &Path,
        query: &[(&str, &str)],
        limit: Duration,
    ) -> Result<String, Unanswered> {
        let asked = tokio::time::timeout(limit, self.send_unlimited(method, key, query));
        asked
            .await
            .unwrap_or_else(|_elapsed| Err(Unanswered::Silent(format!("no answer within {limit:?}"))))
    }

    async fn send_unlimited(
        &self,
        method: Method,
        key: &Path,
        query: &[(&str, &str)],
    ) -> Result<String, Unanswered> {
        let options = SignedUrlOptions::default().with_query(query.iter().copied());
        let signed = self
            .s3
            .signed_url_opts(method.clone(), key, SIGNED_FOR, &options)
            .await;
        // The words of these errors may hold the signed URL, which is a credential.
        let url =
            signed.map_err(|_error| Unanswered::Silent("the request could not be signed".to_owned()))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(|_error| another_answer())?;
        let silent = |kind| Unanswered::Silent(format!("no answer: {kind:?}"));
        let answer = self
            .http
            .execute(request)
            .await
            .map_err(|error| silent(error.kind()))?;
        let status = answer.status();
        let (mut body, mut chunks) = (Vec::new(), answer.into_body().bytes_stream());
        while let Some(chunk) = chunks.try_next().await.map_err(|error| silent(error.kind()))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(another_answer());
            }
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        let code = quick_xml::de::from_str::<Refusal>(&text).ok();
        let code = code.and_then(|refusal| refusal.code).unwrap_or_default();
        let cause = format!("{} {code}", status.as_u16()).trim_end().to_owned();
        Err(if status.is_server_error() && status.as_u16() != 501 {
            Unanswered::Silent(cause)
        } else {
            Unanswered::Refused(cause)
        })
    }
}

fn another_answer() -> Unanswered {
    Unanswered::Refused("it answers with something else".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_root() {
        let read = |text: &str| quick_xml::de::from_str::<Answer>(text);
        let enabled = read(
            "<?xml version=\"1.0\"?><VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Status>Enabled</Status></VersioningConfiguration>",
        );
        let Ok(Answer::VersioningConfiguration(found)) = enabled else {
            panic!("{enabled:?}");
        };
        assert_eq!(found.status.as_deref(), Some("Enabled"));
        let never = read("<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>");
        assert!(
            matches!(&never, Ok(Answer::VersioningConfiguration(found)) if found.status.is_none()),
            "{never:?}"
        );
        let listing = read("<ListBucketResult><Name>b</Name><Status>Enabled</Status></ListBucketResult>");
        assert!(listing.is_err(), "{listing:?}");
    }

    #[test]
    fn versions_and_marks_come_in_any_order() {
        let text = "<ListVersionsResult><Name>b</Name>\
            <Version><Key>db/probe/a</Key><VersionId>1</VersionId><IsLatest>false</IsLatest></Version>\
            <DeleteMarker><Key>db/probe/a</Key><VersionId>2</VersionId></DeleteMarker>\
            <Version><Key>db/probe/b</Key><VersionId>3</VersionId></Version></ListVersionsResult>";
        let Ok(Answer::ListVersionsResult(found)) = quick_xml::de::from_str(text) else {
            panic!("not read");
        };
        assert_eq!((found.versions.len(), found.markers.len()), (2, 1));
    }
}
