//! From settings to a store.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use eidos_settings::SecuritySection;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector as _, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;
use secrecy::ExposeSecret as _;

use crate::error::StoreError;
use crate::place::{Place, Scheme};
use crate::settings::{ArchiveStoreSettings, StoreChecksum, StoreProblem, demands_encryption};
use crate::store::access::{Access, Encryption};
use crate::store::bucket::Bucket;
use crate::store::witness::Witness;

pub(super) fn open(
    settings: &ArchiveStoreSettings,
    security: &SecuritySection,
) -> Result<Access, StoreError> {
    let problems = settings.problems().into_iter();
    if let Some(problem) = problems.chain(settings.encryption_problems(security)).next() {
        return Err(refused(problem));
    }
    let place = Place::parse(&settings.url).map_err(refused)?;
    if place.scheme != Scheme::File && rustls::crypto::CryptoProvider::get_default().is_none() {
        // Without this the HTTP client would panic.
        return Err(StoreError::Task(
            "no crypto provider of rustls is installed in this process".to_owned(),
        ));
    }
    if place.scheme == Scheme::S3
        && let Some(problem) = profile_problem(settings, |name| std::env::var(name).ok())
    {
        return Err(refused(problem));
    }
    let client = client(settings, security)?;
    let encryption = encryption(&place, security);
    let opened = match place.scheme {
        Scheme::File => Ok(Opened::at_home(local(&place)?)),
        Scheme::S3 => s3(&place, client, settings, encryption.as_ref()),
        Scheme::Azure => azure(&place, client, settings),
        Scheme::Google => google(&place, client, settings),
    };
    let opened = opened.map_err(|error| unusable(&place, &error))?;
    let mut access = Access::new(place, opened.objects, settings).encrypting(encryption);
    (access.bucket, access.elsewhere) = (opened.bucket, opened.elsewhere);
    Ok(access)
}

/// A client, and what is known about where it leads.
struct Opened {
    objects: Arc<dyn ObjectStore>,
    bucket: Option<Bucket>,
    elsewhere: Option<String>,
}

impl Opened {
    fn at_home(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            bucket: None,
            elsewhere: None,
        }
    }
}

/// `endpoint=…` of an endpoint that is not the provider's own, wherever it was set; written the same however it was
/// typed, and without credentials.
fn at_endpoint(endpoint: Option<String>) -> Option<String> {
    let endpoint = Url::parse(&endpoint?).ok()?;
    Some(format!(
        "endpoint={}{}",
        endpoint.origin().ascii_serialization(),
        endpoint.path().trim_end_matches('/')
    ))
}

/// Returns what S3 is asked for with every object. `None`: encryption is not in force.
fn encryption(place: &Place, security: &SecuritySection) -> Option<Encryption> {
    let asked = &security.archive_storage;
    (place.scheme == Scheme::S3 && demands_encryption(security)).then(|| Encryption {
        algorithm: asked.s3_sse.clone(),
        key: asked.kms_key_id.clone().filter(|_| asked.s3_sse == "aws:kms"),
        witness: Witness::default(),
    })
}

/// Refuses a profile of the AWS tools, which is not read here: without it, whatever credentials there are would be used.
fn profile_problem(
    settings: &ArchiveStoreSettings,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<StoreProblem> {
    let profile = variable("AWS_PROFILE").filter(|profile| !profile.is_empty())?;
    if settings.access_key_id.is_some() || variable("AWS_ACCESS_KEY_ID").is_some() {
        return None;
    }
    Some(StoreProblem::new(
        "access_key_id",
        format!("(none; AWS_PROFILE={profile})"),
        "is not set, and profiles of the AWS tools are not read",
        "set archive_store.access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or unset \
         AWS_PROFILE to use the identity of the instance or pod",
    ))
}

pub(super) fn local(place: &Place) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let denied = |cause: String| StoreError::Denied {
        operation: "open",
        object: place.to_string(),
        cause,
        fix: format!(
            "make the folder {} and give it to the service's user, or change archive_store.url",
            place.folder.display()
        ),
    };
    make(&place.folder).map_err(|error| denied(error.to_string()))?;
    let store = LocalFileSystem::new_with_prefix(&place.folder).map_err(|error| denied(error.to_string()))?;
    // What a drop will rely on must have reached the disk.
    Ok(Arc::new(store.with_fsync(true)))
}

/// Checks whether the archive's folder is there: a mount that is gone leaves none.
pub(super) async fn folder_is_there(place: &Place) -> Result<(), StoreError> {
    let found = tokio::fs::metadata(&place.folder).await;
    let cause = match found {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "it is not a folder".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(StoreError::Denied {
        operation: "open",
        object: place.to_string(),
        cause,
        fix: format!(
            "mount or make the folder {}, or change archive_store.url",
            place.folder.display()
        ),
    })
}

/// Makes a folder and whatever is missing above it, so that it is there after a power failure too.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(folder)?;
    for parent in missing.iter().filter_map(|made| made.parent()) {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn s3(
    place: &Place,
    client: ClientOptions,
    settings: &ArchiveStoreSettings,
    encryption: Option<&Encryption>,
) -> object_store::Result<Opened> {
    let http = ReqwestConnector::default().connect(&client)?;
    let mut builder = AmazonS3Builder::from_env();
    // First, so that no option weakens what follows.
    for (option, value) in &settings.options {
        builder = builder.with_config(option.parse()?, value.expose_secret());
    }
    builder = builder
        .with_bucket_name(&place.bucket)
        // One object at a time by plain requests, which every store knows.
        .with_disable_bulk_delete(true)
        .with_retry(no_retry())
        .with_client_options(client);
    if settings.checksum == StoreChecksum::Sha256 {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &settings.endpoint {
        // Both, or a variable of the environment would beat the setting.
        builder = builder
            .with_endpoint(endpoint)
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
        builder = builder
            .with_access_key_id(id)
            .with_secret_access_key(secret.expose_secret());
    }
    if let Some(encryption) = encryption {
        builder = builder
            .with_config("aws_server_side_encryption".parse()?, &encryption.algorithm)
            .with_http_connector(encryption.witness.clone());
        if let Some(key) = &encryption.key {
            builder = builder.with_sse_kms_encryption(key);
        }
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    let s3 = builder.build()?;
    Ok(Opened {
        objects: Arc::new(s3.clone()),
        bucket: Some(Bucket { s3, http }),
        elsewhere: at_endpoint(endpoint),
    })
}

fn azure(
    place: &Place,
    client: ClientOptions,
    settings: &ArchiveStoreSettings,
) -> object_store::Result<Opened> {
    let mut builder = MicrosoftAzureBuilder::from_env();
    // First, so that no option weakens what follows.
    for (option, value) in &settings.options {
        builder = builder.with_config(option.parse()?, value.expose_secret());
    }
    builder = builder
        .with_container_name(&place.bucket)
        .with_retry(no_retry())
        .with_client_options(client);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if let (Some(account), Some(key)) = (&settings.access_key_id, &settings.secret_access_key) {
        builder = builder.with_account(account).with_access_key(key.expose_secret());
    }
    // Containers of one name exist in every account.
    let account = builder.get_config_value(&AzureConfigKey::AccountName);
    let known = [
        account.map(|account| format!("account={account}")),
        at_endpoint(builder.get_config_value(&AzureConfigKey::Endpoint)),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    Ok(Opened {
        elsewhere: (!known.is_empty()).then(|| known.join("&")),
        ..Opened::at_home(Arc::new(builder.build()?))
    })
}

fn google(
    place: &Place,
    client: ClientOptions,
    settings: &ArchiveStoreSettings,
) -> object_store::Result<Opened> {
    let mut builder = GoogleCloudStorageBuilder::from_env();
    // First, so that no option weakens what follows.
    for (option, value) in &settings.options {
        builder = builder.with_config(option.parse()?, value.expose_secret());
    }
    builder = builder
        .with_bucket_name(&place.bucket)
        .with_retry(no_retry())
        .with_client_options(client);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    Ok(Opened {
        elsewhere: at_endpoint(builder.get_config_value(&GoogleConfigKey::BaseUrl)),
        ..Opened::at_home(Arc::new(builder.build()?))
    })
}

fn client(settings: &ArchiveStoreSettings, security: &SecuritySection) -> Result<ClientOptions, StoreError> {
    let mut options = ClientOptions::new()
        // `access` limits the time of an attempt, whatever it does.
        .with_timeout_disabled()
        .with_connect_timeout(settings.connect_timeout)
        .with_allow_http(settings.allow_http && !demands_encryption(security));
    if let Some(path) = &settings.ca_cert {
        let unusable = |error: String| StoreError::Settings {
            key: "ca_cert".to_owned(),
            value: path.clone(),
            reason: format!("cannot be used: {error}"),
            fix: "name a readable file with certificates in PEM".to_owned(),
        };
        let pem = fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
        if authorities.is_empty() {
            return Err(unusable("it holds no certificate".to_owned()));
        }
        for authority in authorities {
            options = options.with_root_certificate(authority);
        }
    }
    Ok(options)
}

/// One layer of attempts, ours: it asks for credentials anew, hears of cancellations and compares what a lost reply
/// may have left.
fn no_retry() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

fn refused(problem: StoreProblem) -> StoreError {
    StoreError::Settings {
        key: problem.key,
        value: problem.value,
        reason: problem.reason,
        fix: problem.fix,
    }
}

fn unusable(place: &Place, error: &object_store::Error) -> StoreError {
    StoreError::Settings {
        key: "url".to_owned(),
        value: place.to_string(),
        reason: format!("cannot be used: {error}"),
        fix: "correct the settings of archive_store or the environment of the service".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_is_one_text_however_it_is_typed() {
        let at = |text: &str| at_endpoint(Some(text.to_owned()));
        let expected = Some("endpoint=https://minio.internal:9000".to_owned());
        assert_eq!(at("https://minio.internal:9000"), expected);
        assert_eq!(at("HTTPS://Minio.Internal:9000/"), expected);
        let below = at("https://host/S3/Path/").unwrap();
        assert_eq!(below, "endpoint=https://host/S3/Path");
        let secret = at("https://id:hunter2@host").unwrap();
        assert_eq!(secret, "endpoint=https://host");
        assert_eq!(at("https://host?token=hunter2").unwrap(), secret);
        assert_eq!(at("https://host:443").unwrap(), secret);
        assert_eq!(at("https://host/a@b").unwrap(), "endpoint=https://host/a@b");
        assert_ne!(at("https://host/a"), at("https://host/b"), "two places");
        assert_eq!(at_endpoint(None), None);
    }

    #[test]
    fn a_profile_that_would_not_be_read_is_refused_by_name() {
        let settings = ArchiveStoreSettings::at("s3://bucket/db");
        let only_profile = |name: &str| (name == "AWS_PROFILE").then(|| "archive".to_owned());
        let problem = profile_problem(&settings, only_profile).unwrap();
        assert!(problem.value.contains("AWS_PROFILE=archive"), "{problem:?}");
        assert_eq!(profile_problem(&settings, |_| None), None);
        let both = |name: &str| Some(name.to_owned());
        assert_eq!(profile_problem(&settings, both), None);
    }
}
