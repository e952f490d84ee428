//! [`Witness`]: hears what a store answers about encryption, which `object_store` keeps to itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// Below the archive's URL; nothing else is there.
pub(super) const FOLDER: &str = "probe";
/// What S3 answers to a PUT or HEAD of an object that it encrypts.
pub(super) const ENCRYPTION: &str = "x-amz-server-side-encryption";
/// The key it encrypts with.
pub(super) const ENCRYPTION_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

/// What a store said about the encryption of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// The algorithm, as `aws:kms`.
    pub(super) algorithm: Option<String>,
    /// The id or ARN of the key.
    pub(super) key: Option<String>,
}

/// The answers of the probe's own requests, by method and the last part of the path. Others are not kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness(Arc<Mutex<BTreeMap<(String, String), Said>>>);

impl Witness {
    /// What was answered last to `method` (`PUT`, `HEAD`) for the object `name`; forgets it.
    pub(super) fn take(&self, method: &str, name: &str) -> Option<Said> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.remove(&(method.to_owned(), name.to_owned()))
    }

    fn hear(&self, method: &str, name: &str, answer: &HttpResponse) {
        let header = |name| {
            let value = answer.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let said = Said {
            algorithm: header(ENCRYPTION),
            key: header(ENCRYPTION_KEY),
        };
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert((method.to_owned(), name.to_owned()), said);
    }
}

impl HttpConnector for Witness {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Heard {
            client,
            witness: self.clone(),
        }))
    }
}

/// The client whose answers are heard.
#[derive(Debug)]
struct Heard {
    client: HttpClient,
    witness: Witness,
}

#[async_trait]
impl HttpService for Heard {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let name = object_of(request.uri().path()).map(str::to_owned);
        let method = request.method().as_str().to_owned();
        let answer = self.client.execute(request).await?;
        if let Some(name) = name.filter(|_| answer.status().is_success()) {
            self.witness.hear(&method, &name, &answer);
        }
        Ok(answer)
    }
}

/// Returns the name of a probe's object in the path of a request. `None`: it is another object.
fn object_of(path: &str) -> Option<&str> {
    let (folders, name) = path.rsplit_once('/')?;
    (folders.rsplit('/').next() == Some(FOLDER) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_probes_own_objects_are_recognised() {
        assert_eq!(object_of("/bucket/db/probe/job-1"), Some("job-1"));
        assert_eq!(object_of("/probe/job-1"), Some("job-1"));
        for other in [
            "/bucket/db/probe/",
            "/bucket/probe/x/part",
            "/bucket/unprobe/x",
            "x",
        ] {
            assert_eq!(object_of(other), None, "{other}");
        }
    }
}
