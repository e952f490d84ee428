//! [`Environment`]: the services that a command may ask, and which of them answers for a job.

use anyhow::Result;
use eidos_types::{ExecutionId, JobName};
use futures::future::join_all;
use reqwest::Url;
use serde_json::Value;

use crate::Failure;
use crate::cli::Common;
use crate::client::{Client, base_url, token_of};
use crate::profiles::{self, Profile};

/// Asked when neither `--url` nor a profile says anything else: a service on this machine.
const LOCAL: &str = "http://127.0.0.1:8080";

/// The services of a profile, or the one service of `--url`.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// The profile. `None`: a single service was named by its URL.
    pub(crate) profile: Option<String>,
    /// At least one.
    pub(crate) services: Vec<Service>,
    /// Base URL of Alertmanager, if the profile or the command line names one.
    pub(crate) alertmanager: Option<Url>,
}

/// One service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// Its name in the profile; host and port for one that was named by its URL.
    pub(crate) name: String,
    pub(crate) client: Client,
}

/// Whose answer a command needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// The service that has this job.
    Job(&'a JobName),
    /// The service that ran this execution.
    Execution(ExecutionId),
    /// The service of this name.
    Named(&'static str),
}

impl Environment {
    /// Reads the command line, the environment and the profiles' file.
    pub(crate) fn new(common: &Common) -> Result<Self> {
        let alertmanager = common.alertmanager.as_deref();
        if let Some(url) = &common.url {
            return Self::of_url(common, url, alertmanager);
        }
        match profiles::select(common.profiles.as_deref(), common.profile.as_deref())? {
            None => Self::of_url(common, LOCAL, alertmanager),
            Some((name, profile)) => Self::of_profile(common, name, &profile),
        }
    }

    fn of_url(common: &Common, url: &str, alertmanager: Option<&str>) -> Result<Self> {
        let base = base_url("--url", url)?;
        let port = base.port_or_known_default().unwrap_or_default();
        let name = format!("{}:{port}", base.host_str().unwrap_or_default());
        let client = Client::new(base, token_of(common.token_file.as_deref(), None)?)?;
        Ok(Self {
            profile: None,
            services: vec![Service { name, client }],
            alertmanager: alertmanager
                .map(|url| base_url("--alertmanager", url))
                .transpose()?,
        })
    }

    fn of_profile(common: &Common, name: String, profile: &Profile) -> Result<Self> {
        let token = token_of(common.token_file.as_deref(), profile.token_file.as_deref())?;
        let mut services = Vec::new();
        for (service, url) in &profile.services {
            if common.service.as_ref().is_some_and(|only| only != service) {
                continue;
            }
            let base = base_url(&format!("profiles.{name}.services.{service}"), url)?;
            services.push(Service {
                name: service.clone(),
                client: Client::new(base, token.clone())?,
            });
        }
        if services.is_empty() {
            let known = profile.services.keys().cloned().collect::<Vec<_>>().join(", ");
            let only = common.service.as_deref().unwrap_or_default();
            return Err(Failure::Settings(format!(
                "--service {only}: the profile {name} has no such service; it has: {known}"
            ))
            .into());
        }
        let alertmanager = match (&common.alertmanager, &profile.alertmanager) {
            (Some(url), _) => Some(base_url("--alertmanager", url)?),
            (None, Some(url)) => Some(base_url(&format!("profiles.{name}.alertmanager"), url)?),
            (None, None) => None,
        };
        Ok(Self {
            profile: Some(name),
            services,
            alertmanager,
        })
    }

    /// Returns the service that answers for `owner`. With one service nothing is asked: it says itself what it lacks.
    pub(crate) async fn owner(&self, owner: Owner<'_>) -> Result<Client> {
        if let [only] = self.services.as_slice() {
            return Ok(only.client.clone());
        }
        let id;
        let (path, what) = match owner {
            Owner::Named(name) => return self.named(name),
            Owner::Job(job) => (["jobs", job.as_str()], format!("the job {job}")),
            Owner::Execution(execution) => {
                id = execution.to_string();
                (["executions", id.as_str()], format!("the execution {id}"))
            }
        };
        let asked = self
            .services
            .iter()
            .map(async |service| (service, service.client.get(&path).send().await));
        let mut others = Vec::new();
        for (service, answer) in join_all(asked).await {
            match answer {
                Ok(_) => return Ok(service.client.clone()),
                Err(error) => others.push((service, error)),
            }
        }
        Err(self.nobody_has(&what, others))
    }

    fn named(&self, name: &str) -> Result<Client> {
        let found = self.services.iter().find(|service| service.name == name);
        found.map(|service| service.client.clone()).ok_or_else(|| {
            Failure::Settings(format!(
                "{} has no service {name}, which alone answers this; name its address with --url",
                self.name()
            ))
            .into()
        })
    }

    /// Services that answered "not found" do not have it; of the others it is not known.
    fn nobody_has(&self, what: &str, answers: Vec<(&Service, anyhow::Error)>) -> anyhow::Error {
        let is_absent = |error: &anyhow::Error| matches!(error.downcast_ref::<Failure>(), Some(Failure::Refused(problem)) if problem.status == 404);
        let (absent, unknown): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, error)| is_absent(error));
        let names = absent
            .iter()
            .map(|(service, _)| service.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let Some((service, error)) = unknown.into_iter().next() else {
            return anyhow::anyhow!("no service of {} has {what}; asked: {names}", self.name());
        };
        let without = if names.is_empty() {
            String::new()
        } else {
            format!(" (not in {names})")
        };
        error.context(format!(
            "cannot tell whether {} has {what}{without}",
            service.name
        ))
    }

    /// Returns how the environment is called in messages.
    pub(crate) fn name(&self) -> String {
        match &self.profile {
            Some(profile) => format!("the profile {profile}"),
            None => self
                .services
                .iter()
                .map(|service| service.name.as_str())
                .collect(),
        }
    }
}

/// Asks every service the same, all at once.
pub(crate) async fn ask_each<'a>(
    services: &'a [Service],
    path: &[&str],
) -> Vec<(&'a Service, Result<Value>)> {
    join_all(
        services
            .iter()
            .map(async |service| (service, service.client.get(path).send().await)),
    )
    .await
}
