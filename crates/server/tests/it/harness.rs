//! Starts the small service on a database and Redis prefix of the test's own, and talks to it.

use std::sync::Arc;
use std::time::Duration;

use eidos_proto::jobs::v1::jobs_service_client::JobsServiceClient;
use eidos_server::{Service, Serving};
use eidos_settings::{Effective, Input};
use eidos_testkit::{TestDb, TestRedis, eventually};
use eidos_types::{SharedClock, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::small_service::{SmallSettings, definition};

pub(crate) const VIEWER: &str = "viewer-token-0123456789";
pub(crate) const OPERATOR: &str = "operator-token-0123456789";
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// The servers of one test.
pub(crate) struct Fixture {
    pub(crate) db: TestDb,
    pub(crate) redis: TestRedis,
}

/// One process's worth of service.
pub(crate) struct Node {
    pub(crate) serving: Serving,
    http: reqwest::Client,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self {
            db: TestDb::migrated().await,
            redis: TestRedis::shared().await,
        }
    }

    /// Settings with further environment variables.
    pub(crate) fn settings(&self, more: &[(&str, &str)]) -> Arc<Effective<SmallSettings>> {
        let tokens = json!([
            { "name": "vera", "role": "viewer", "token": VIEWER },
            { "name": "otto", "role": "operator", "token": OPERATOR },
        ]);
        let mut env: Vec<(String, String)> = [
            ("EIDOS__DATABASES__JOBS__URL", self.db.url()),
            ("EIDOS__REDIS__URL", self.redis.url().to_owned()),
            ("EIDOS__REDIS__LOCK_PREFIX", self.redis.prefix().to_owned()),
            ("EIDOS__SERVICE__ENV", "dev".to_owned()),
            ("EIDOS__SERVICE__HTTP_HOST", "127.0.0.1".to_owned()),
            ("EIDOS__SERVICE__GRPC_HOST", "127.0.0.1".to_owned()),
            ("EIDOS__SERVICE__HTTP_PORT", "0".to_owned()),
            ("EIDOS__SERVICE__GRPC_PORT", "0".to_owned()),
            ("EIDOS__SERVICE__SHUTDOWN_SOFT", "1s".to_owned()),
            ("EIDOS__SERVICE__SHUTDOWN_GRACE", "5s".to_owned()),
            ("EIDOS__SCHEDULER__POLL_INTERVAL", "50ms".to_owned()),
            ("EIDOS__SCHEDULER__CANCEL_GRACE", "500ms".to_owned()),
            ("EIDOS__SCHEDULER__HEARTBEAT_INTERVAL", "200ms".to_owned()),
            ("EIDOS__AUTH__TOKENS", tokens.to_string()),
            (
                "EIDOS__AUTH__METRICS_TOKEN",
                "metrics-token-0123456789".to_owned(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        env.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        match eidos_settings::load(&Input { file: None, env }) {
            Ok(settings) => Arc::new(settings),
            Err(errors) => panic!("{errors}"),
        }
    }

    pub(crate) async fn service(&self, more: &[(&str, &str)]) -> Service {
        let settings = self.settings(more);
        let clock: SharedClock = Arc::new(SystemClock::default());
        Service::connect(&definition(), settings, clock).await.unwrap()
    }

    pub(crate) async fn start(&self, more: &[(&str, &str)]) -> Node {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        Node::of(self.service(more).await.serve().await.unwrap())
    }

    /// Executions of a job as (status, failure kind, attempt), oldest first.
    pub(crate) async fn history(&self, job: &str) -> Vec<(String, Option<String>, i32)> {
        sqlx::query_as(
            "SELECT status, failure_kind, attempt FROM eidos_jobs_executions WHERE job_name = $1 ORDER BY id",
        )
        .bind(job)
        .fetch_all(self.db.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.pool()).await.unwrap()
    }
}

impl Node {
    pub(crate) fn of(serving: Serving) -> Self {
        Self {
            serving,
            http: reqwest::Client::builder().timeout(SOON).build().unwrap(),
        }
    }

    pub(crate) async fn grpc(&self) -> JobsServiceClient<Channel> {
        JobsServiceClient::connect(format!("http://{}", self.serving.grpc_address()))
            .await
            .unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.serving.http_address());
        let request = self.http.request(method, url);
        if token.is_empty() {
            request
        } else {
            request.bearer_auth(token)
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path, VIEWER)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path, OPERATOR).json(body)).await
    }

    /// Triggers and returns the execution's id.
    pub(crate) async fn trigger(&self, job: &str, body: Value) -> String {
        let (status, answer) = self.post(&format!("/v1/jobs/{job}/trigger"), &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answer["execution_id"].as_str().unwrap().to_owned()
    }

    /// Waits until an execution has one of these states.
    pub(crate) async fn execution_in(&self, id: &str, states: &[&str]) -> Value {
        eventually(&format!("execution {id} is {states:?}"), SOON, async || {
            let (_, execution) = self.get(&format!("/v1/executions/{id}")).await;
            let state = execution["status"].as_str().unwrap_or_default();
            if states.contains(&state) {
                Ok(execution)
            } else {
                Err(execution.to_string())
            }
        })
        .await
    }
}

/// Sends a request; the body is JSON or null.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}
