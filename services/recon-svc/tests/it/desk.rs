//! The service as an operator talks to it: `recon-svc serve`, a viewer's and an operator's token.

use std::time::Duration;

use eidos_testkit::ChildProcess;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::fixture::Fixture;

const WITHIN: Duration = Duration::from_mins(1);
/// Tokens of the roles viewer and operator in the world's configuration.
pub(crate) const VIEWER: &str = "quickstart-viewer-token";
pub(crate) const OPERATOR: &str = "quickstart-operator-token";

pub(crate) struct Desk {
    pub(crate) service: ChildProcess,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: Option<String>,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

impl Desk {
    pub(crate) async fn of(fixture: &Fixture) -> Self {
        Self::to(fixture.serve()).await
    }

    /// Of a replica that looks at the gauges often.
    pub(crate) async fn observing(fixture: &Fixture) -> Self {
        let often = [("SCHEDULER__OBSERVE_INTERVAL", "200ms")];
        Self::to(fixture.serve_with(&often)).await
    }

    pub(crate) async fn to(service: ChildProcess) -> Self {
        // Several tests of one process may do so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let line = service.wait_for_line("serving", WITHIN).await;
        let mut words = line.split_whitespace();
        let address = words.find_map(|word| word.strip_prefix("http=")).unwrap();
        Self {
            url: format!("http://{address}"),
            client: reqwest::Client::builder().timeout(WITHIN).build().unwrap(),
            service,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.bearer_auth(token)
    }

    pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let (status, etag, content_type) = (response.status(), header("etag"), header("content-type"));
        let text = response.text().await.unwrap();
        Answer {
            status,
            etag,
            content_type: content_type.unwrap_or_default(),
            body: serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Self::answer(self.request(Method::GET, path, VIEWER)).await
    }

    /// An operator's edit, which is accepted.
    pub(crate) async fn edit(&self, id: &str, action: &str, body: Value) -> Value {
        let path = format!("/v1/breaks/{id}/{action}");
        let answer = Self::answer(self.request(Method::POST, &path, OPERATOR).json(&body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{action} {body}: {}", answer.body);
        assert_eq!(answer.etag, Some(format!("\"{}\"", answer.body["version"])));
        answer.body
    }
}
