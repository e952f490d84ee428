//! What is asked of Prometheus' HTTP API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use eidos_sandbox::Prometheus;
use serde_json::Value;

/// One series of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    /// The newest is the last; `None`: there was none.
    pub(super) values: Vec<Option<f64>>,
}

/// Between two looks.
const POLL: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One Prometheus.
pub(super) struct Api {
    base: String,
    http: reqwest::Client,
}

impl Api {
    pub(super) fn new(prometheus: &Prometheus) -> anyhow::Result<Self> {
        Ok(Self {
            base: prometheus.url(),
            http: reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?,
        })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/{path}", self.base))?;
        url.query_pairs_mut().extend_pairs(query);
        let text = self.http.get(url).send().await?.text().await?;
        let answer: Value = serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?;
        if answer["status"] != "success" {
            bail!("{path} {query:?}: {}", answer["error"]);
        }
        Ok(answer["data"].clone())
    }

    /// Names of the alerts that fire now.
    async fn firing(&self) -> anyhow::Result<BTreeSet<String>> {
        let data = self.get("alerts", &[]).await?;
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        Ok(alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned))
            .collect())
    }

    /// Waits until `alert` fires; false if it did not in time.
    pub(super) async fn wait_for_alert(&self, alert: &str, within: Duration) -> anyhow::Result<bool> {
        let started = Instant::now();
        while started.elapsed() < within {
            if self.firing().await?.contains(alert) {
                return Ok(true);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(false)
    }

    /// Waits until nothing has fired for `lasting`; returns what still fires after `within`.
    pub(super) async fn wait_for_calm(
        &self,
        lasting: Duration,
        within: Duration,
    ) -> anyhow::Result<BTreeSet<String>> {
        let started = Instant::now();
        let mut calm_since = Instant::now();
        loop {
            let firing = self.firing().await?;
            if !firing.is_empty() {
                if started.elapsed() > within {
                    return Ok(firing);
                }
                calm_since = Instant::now();
            } else if calm_since.elapsed() >= lasting {
                return Ok(firing);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until so many services were scraped.
    pub(super) async fn wait_for_targets(&self, count: usize, within: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let data = self.get("query", &[("query", "up == 1")]).await?;
            let up = data["result"].as_array().map_or(0, Vec::len);
            if up == count {
                return Ok(());
            }
            if started.elapsed() > within {
                bail!(
                    "{up} of {count} services are scraped after {} s",
                    within.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The numbers that an expression gives, waited for; empty: none came in time. "No number" is none.
    pub(super) async fn wait_for_values(
        &self,
        expression: &str,
        within: Duration,
    ) -> anyhow::Result<Vec<f64>> {
        let started = Instant::now();
        loop {
            let values = self.values(expression).await?;
            if !values.is_empty() || started.elapsed() > within {
                return Ok(values);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What an expression gave at `count` times until now, so far apart.
    pub(super) async fn history(
        &self,
        expression: &str,
        count: usize,
        apart: Duration,
    ) -> anyhow::Result<Vec<Series>> {
        let apart_s = i64::try_from(apart.as_secs())?;
        let end_s = crate::devnet::now_ms() / 1_000;
        let start_s = end_s - apart_s * (i64::try_from(count)? - 1);
        let query = [
            ("query", expression),
            ("start", &start_s.to_string()),
            ("end", &end_s.to_string()),
            ("step", &apart_s.to_string()),
        ];
        let data = self.get("query_range", &query).await?;
        let found = data["result"].as_array().cloned().unwrap_or_default();
        let place = |at_s: i64| usize::try_from((at_s - start_s) / apart_s).ok();
        Ok(found
            .iter()
            .map(|series| Series::read(series, count, place))
            .collect())
    }

    async fn values(&self, expression: &str) -> anyhow::Result<Vec<f64>> {
        let data = self.get("query", &[("query", expression)]).await?;
        let samples = data["result"].as_array().cloned().unwrap_or_default();
        Ok(samples
            .iter()
            .filter_map(|sample| sample["value"][1].as_str()?.parse::<f64>().ok())
            .filter(|value| !value.is_nan())
            .collect())
    }
}

impl Series {
    /// `place` says which of `count` values is that of a time.
    fn read(series: &Value, count: usize, place: impl Fn(i64) -> Option<usize>) -> Self {
        let labels = series["metric"].as_object().into_iter().flatten();
        let labels =
            labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let mut values = vec![None; count];
        for sample in series["values"].as_array().into_iter().flatten() {
            let number = sample[1].as_str().and_then(|text| text.parse::<f64>().ok());
            let slot = sample[0].as_i64().and_then(&place);
            if let Some(value) = slot.and_then(|slot| values.get_mut(slot)) {
                *value = number.filter(|number| number.is_finite());
            }
        }
        Self {
            labels: labels.collect(),
            values,
        }
    }
}
