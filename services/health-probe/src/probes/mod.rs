//! One probe of each kind. A probe never takes longer than its limit and never fails otherwise than by what it observed.

mod evm;
mod finding;
mod grpc;
mod history;
mod http;
mod kafka;
mod machine;
mod postgres;
mod redis;
mod target;
mod tcp;
mod tls;
mod trust;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eidos_types::{SharedClock, SystemClock};
use reqwest::Client;
use sqlx::PgPool;
use tokio::time::{Instant, timeout};

use self::finding::Finding;
use crate::domain::address::Address;
use crate::domain::limits::Limits;
use crate::domain::observation::Observation;
use crate::domain::redis::{Evictions, judge};

pub use target::Target;
pub use trust::Authority;

/// Makes probes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prober {
    http: Client,
    limit: Duration,
    limits: Limits,
    clock: SharedClock,
    jobs: Option<PgPool>,
    busy: machine::Busy,
    /// What each Redis had evicted at the last probe.
    evictions: Arc<Mutex<BTreeMap<String, Evictions>>>,
}

impl Prober {
    /// Makes a prober whose probes take at most `limit`, with the default limits of values and this machine's clock.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub fn new(limit: Duration) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: http::client(None)?,
            limit,
            limits: Limits::defaults(),
            clock: Arc::new(SystemClock::default()),
            jobs: None,
            busy: machine::Busy::default(),
            evictions: Arc::default(),
        })
    }

    /// Measures values by these limits, and times by this clock.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits, clock: SharedClock) -> Self {
        (self.limits, self.clock) = (limits, clock);
        self
    }

    /// Reads the history of jobs and the reconciliation there.
    #[must_use]
    pub fn with_jobs(mut self, pool: PgPool) -> Self {
        self.jobs = Some(pool);
        self
    }

    /// Probes once.
    pub async fn probe(&self, target: &Target) -> Observation {
        let started = Instant::now();
        let finding = timeout(self.limit, self.ask(target))
            .await
            .unwrap_or_else(|_elapsed| {
                let limit = self.limit.as_millis();
                Finding::failed(format!("no whole answer within {limit} ms"))
            });
        Observation {
            seen: finding.seen,
            why: finding.why,
            took: started.elapsed(),
        }
    }

    async fn ask(&self, target: &Target) -> Finding {
        let (limits, now_ms) = (&self.limits, self.clock.now_ms());
        let client = target
            .authority
            .as_ref()
            .map_or(&self.http, |authority| &authority.client);
        match &target.address {
            Address::Http(url) => http::probe(client, url, target.token.as_ref()).await,
            Address::Tcp(endpoint) => tcp::probe(endpoint).await,
            Address::Tls(endpoint) => tls::probe(target, endpoint, now_ms, limits).await,
            Address::Grpc {
                endpoint,
                is_tls,
                service,
            } => grpc::probe(target, endpoint, *is_tls, service).await,
            Address::Postgres(url) => postgres::probe(target, url, self.limit, limits).await,
            Address::Redis(url) => match redis::ask(target, url).await {
                Ok(info) => self.judge_redis(target, &info),
                Err(finding) => finding,
            },
            Address::Kafka(brokers) => kafka::probe(target, brokers, self.limit, limits).await,
            Address::Evm(url) => evm::probe(client, target, url, now_ms, limits).await,
            Address::Disk(path) => {
                let (path, limits) = (path.clone(), limits.clone());
                machine::probe(&self.busy, &target.name, move || machine::disk(&path, &limits)).await
            }
            Address::Memory(root) => {
                let (root, limits) = (root.clone(), limits.clone());
                machine::probe(&self.busy, &target.name, move || machine::memory(&root, &limits)).await
            }
            Address::Jobs | Address::Breaks | Address::Reconciliation => {
                history::probe(self.jobs.as_ref(), target, now_ms, limits).await
            }
        }
    }

    fn judge_redis(&self, target: &Target, info: &crate::domain::redis::Info) -> Finding {
        let mut evictions = self.evictions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match info.evictions() {
            Some(now) => evictions.insert(target.name.clone(), now),
            None => evictions.remove(&target.name),
        };
        judge(info, before.as_ref(), target.role, &self.limits).into()
    }
}
