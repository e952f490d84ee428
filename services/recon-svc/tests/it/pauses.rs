//! The keys that money-moving services read, when a person lifts a pause while a run sets it again.

use std::time::Duration;

use eidos_settings::Input;
use eidos_testkit::{TestDb, TestRedis};
use eidos_types::{BreakId, Clock, SystemClock};
use recon_svc::ReconSettings;
use recon_svc::jobs::reconciliation::events;
use recon_svc::jobs::reconciliation::pause_keys::PauseKeys;
use recon_svc::store::pauses;
use redis::AsyncCommands;
use sqlx::PgPool;

use crate::fixture::Fixture;

const OPERATION: &str = "withdrawal";
const TOKEN: &str = "USDC";
const WITHIN: Duration = Duration::from_mins(1);
/// Tokens of the roles viewer and operator in the world's configuration.
const VIEWER: &str = "quickstart-viewer-token";
const OPERATOR: &str = "quickstart-operator-token";

/// A pause needs the break that it is for.
async fn broken(pool: &PgPool) -> BreakId {
    let id = BreakId::new(&SystemClock::default());
    sqlx::query(
        "INSERT INTO eidos_jobs_breaks (break_id, dimension, token, kind, severity, direction, first_seen, last_seen, evidence)
         VALUES ($1, 'balance', $2, 'shortfall', 'critical', 'shortfall', now(), now(), '{}')",
    )
    .bind(id.as_uuid())
    .bind(TOKEN)
    .execute(pool)
    .await
    .unwrap();
    id
}

#[tokio::test]
async fn ruling_26_a_lift_does_not_take_the_key_of_a_pause_that_was_set_meanwhile() {
    // The program's bootstrap does this; a second time in one process is refused and does no harm.
    let _installed_already = rustls::crypto::ring::default_provider().install_default();
    let (db, redis) = (TestDb::migrated().await, TestRedis::shared().await);
    let env = vec![
        ("EIDOS__REDIS__URL".to_owned(), redis.url().to_owned()),
        (
            "EIDOS__RECONCILIATION__PAUSE_KEY_PREFIX".to_owned(),
            redis.prefix().to_owned(),
        ),
    ];
    let settings = eidos_settings::load::<ReconSettings>(&Input { file: None, env }).unwrap();
    let keys = PauseKeys::new(&settings.service.reconciliation, &settings.suite.redis).unwrap();
    let key = format!("{}:{OPERATION}:{TOKEN}", redis.prefix());
    let mut client = redis::Client::open(redis.url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let (now, cause) = (SystemClock::default().now(), broken(db.pool()).await);
    let mut conn = db.pool().acquire().await.unwrap();

    assert!(
        pauses::set(
            &mut conn,
            OPERATION,
            TOKEN,
            Some(cause),
            "a break",
            "reconciliation",
            now
        )
        .await
        .unwrap()
        .is_some()
    );
    keys.sync(db.pool(), &[]).await.unwrap();
    assert!(client.exists::<_, bool>(&key).await.unwrap());

    let lifted = pauses::lift(db.pool(), OPERATION, TOKEN, "ann", "repaired", now)
        .await
        .unwrap()
        .unwrap();
    // Between the lift and its announcement a run pauses the operation again.
    assert!(
        pauses::set(
            &mut conn,
            OPERATION,
            TOKEN,
            Some(cause),
            "another break",
            "reconciliation",
            now
        )
        .await
        .unwrap()
        .is_some()
    );
    keys.sync(db.pool(), std::slice::from_ref(&lifted)).await.unwrap();
    assert!(
        client.exists::<_, bool>(&key).await.unwrap(),
        "an active pause has a key"
    );

    let again = pauses::lift(db.pool(), OPERATION, TOKEN, "ann", "repaired too", now)
        .await
        .unwrap()
        .unwrap();
    keys.sync(db.pool(), std::slice::from_ref(&again)).await.unwrap();
    assert!(
        !client.exists::<_, bool>(&key).await.unwrap(),
        "a lifted one has none"
    );
}

#[tokio::test]
async fn the_event_of_a_pause_carries_the_id_that_the_table_and_the_lift_know() {
    let db = TestDb::migrated().await;
    let clock = SystemClock::default();
    let cause = broken(db.pool()).await;
    let mut conn = db.pool().acquire().await.unwrap();
    // Another one before: the first id of a table proves little.
    for token in ["WETH", TOKEN] {
        let set = pauses::set(
            &mut conn,
            OPERATION,
            token,
            Some(cause),
            "a break",
            "reconciliation",
            clock.now(),
        )
        .await;
        let row = set.unwrap().unwrap();
        let told = serde_json::to_value(events::pause(&row, false, &clock)).unwrap();
        let stored: i64 = sqlx::query_scalar(
            "SELECT id FROM eidos_jobs_operation_pauses WHERE token = $1 AND lifted_at IS NULL",
        )
        .bind(token)
        .fetch_one(db.pool())
        .await
        .unwrap();
        assert_eq!(told["payload"]["id"], stored, "{told}");
        let lifted = pauses::lift(db.pool(), OPERATION, token, "ann", "repaired", clock.now()).await;
        assert_eq!(lifted.unwrap().unwrap().id, stored);
    }
}

/// The event of a lift is written with the lift: it is there when the answer is, and without it nothing is lifted.
#[tokio::test]
async fn a_lift_and_its_event_are_stored_together_or_not_at_all() {
    let _installed_already = rustls::crypto::ring::default_provider().install_default();
    let fixture = Fixture::clean().await;
    let pool = fixture.jobs.pool();
    let (now, cause) = (SystemClock::default().now(), broken(pool).await);
    let mut conn = pool.acquire().await.unwrap();
    let set = pauses::set(
        &mut conn,
        OPERATION,
        TOKEN,
        Some(cause),
        "a break",
        "reconciliation",
        now,
    )
    .await;
    let pause = set.unwrap().unwrap();
    let service = fixture.serve();
    let line = service.wait_for_line("serving", WITHIN).await;
    let mut words = line.split_whitespace();
    let address = words.find_map(|word| word.strip_prefix("http=")).unwrap();
    let client = reqwest::Client::builder().timeout(WITHIN).build().unwrap();
    let lift = async || {
        let request = client
            .post(format!("http://{address}/v1/pauses/{OPERATION}/{TOKEN}/lift"))
            .bearer_auth(OPERATOR)
            .json(&serde_json::json!({ "reason": "repaired" }));
        request.send().await.unwrap().status()
    };
    let active = async || pauses::active(pool).await.unwrap().len();

    let refuse = "ALTER TABLE eidos_jobs_outbox ADD CONSTRAINT refused CHECK (kind <> 'operation.resumed')";
    sqlx::raw_sql(refuse).execute(pool).await.unwrap();
    assert_eq!(lift().await, reqwest::StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(active().await, 1, "no lift without its event");

    let allow = "ALTER TABLE eidos_jobs_outbox DROP CONSTRAINT refused";
    sqlx::raw_sql(allow).execute(pool).await.unwrap();
    assert_eq!(lift().await, reqwest::StatusCode::OK);
    assert_eq!(active().await, 0);
    let events: Vec<(String, i64)> =
        sqlx::query_as("SELECT event_key, (payload ->> 'id')::bigint FROM eidos_jobs_outbox WHERE kind = 'operation.resumed'")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(events, [(format!("{OPERATION}:{TOKEN}"), pause.id)]);
}

/// A person need not wait for a break: the pause, its event and its key are there with the answer, and a second one changes nothing.
#[tokio::test]
async fn a_person_pauses_an_operation() {
    let _installed_already = rustls::crypto::ring::default_provider().install_default();
    let fixture = Fixture::clean().await;
    let pool = fixture.jobs.pool();
    let cause = broken(pool).await;
    let service = fixture.serve();
    let line = service.wait_for_line("serving", WITHIN).await;
    let mut words = line.split_whitespace();
    let address = words.find_map(|word| word.strip_prefix("http=")).unwrap();
    let client = reqwest::Client::builder().timeout(WITHIN).build().unwrap();
    let pause = async |path: &str, who: &str, body: serde_json::Value| {
        let request = client
            .post(format!("http://{address}/v1/pauses/{path}"))
            .bearer_auth(who)
            .json(&body);
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<serde_json::Value>().await.unwrap(),
        )
    };
    let why = serde_json::json!({ "reason": "the vault's key may be known" });
    let of_usdc = format!("{OPERATION}/{TOKEN}");
    for (path, who, body, status) in [
        (of_usdc.as_str(), VIEWER, why.clone(), 403),
        ("lottery/USDC", OPERATOR, why.clone(), 404),
        ("withdrawal/NOPE", OPERATOR, why.clone(), 422),
        (&of_usdc, OPERATOR, serde_json::json!({ "reason": " " }), 422),
        (&of_usdc, OPERATOR, serde_json::json!({ "why": "x" }), 422),
        (
            "withdrawal/WETH",
            OPERATOR,
            serde_json::json!({ "reason": "x", "break_id": cause }),
            422,
        ),
    ] {
        let (answered, problem) = pause(path, who, body).await;
        assert_eq!(answered, status, "{path} {problem}");
    }
    assert!(
        pauses::active(pool).await.unwrap().is_empty(),
        "a refusal pauses nothing"
    );

    let (status, answer) = pause(&of_usdc, OPERATOR, why.clone()).await;
    assert_eq!((status, &answer["announced"]), (201, &true.into()), "{answer}");
    let [row] = &pauses::active(pool).await.unwrap()[..] else {
        panic!("one pause")
    };
    assert_eq!(
        (row.break_id, row.reason.as_str()),
        (None, "the vault's key may be known")
    );
    let events: Vec<(String, i64)> = sqlx::query_as(
        "SELECT event_key, (payload ->> 'id')::bigint FROM eidos_jobs_outbox WHERE kind = 'operation.paused'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(events, [(format!("{OPERATION}:{TOKEN}"), row.id)]);

    let (status, problem) = pause(&of_usdc, OPERATOR, why).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(pauses::active(pool).await.unwrap().len(), 1);
}
