//! A session of PostgreSQL, and one statement in it.

use std::time::Duration;

use eidos_core::db::session_options;
use reqwest::Url;
use sqlx::{Connection as _, PgConnection};

use super::finding::Finding;
use super::target::Target;
use crate::domain::limits::Limits;
use crate::domain::observation::Seen;
use crate::domain::postgres::judge;
use crate::domain::verdict::Verdict;
use crate::store::server;

pub(super) async fn probe(target: &Target, url: &Url, limit: Duration, limits: &Limits) -> Finding {
    let options = match session_options(&url.as_str().into(), "health-probe", &target.name) {
        Ok(options) => options,
        Err(error) => return Finding::of_error(&error),
    };
    let mut session = match PgConnection::connect_with(&options).await {
        Ok(session) => session,
        Err(error) => return Finding::of_error(&error),
    };
    let verdict = match server::facts(&mut session, limit).await {
        Ok(facts) => judge(&facts, target.role, limits),
        Err(error) => Verdict::of(Seen::Failed, format!("accepts sessions, and answers: {error}")),
    };
    // The answer is there; whether the server hears the farewell says nothing.
    let _closed = session.close().await;
    verdict.into()
}
