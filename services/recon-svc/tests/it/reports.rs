//! The figures that existing gRPC clients ask for.

use std::sync::Arc;

use eidos_proto::common::v1::PaginationRequest;
use eidos_proto::jobs::v1::jobs_service_client::JobsServiceClient;
use eidos_proto::jobs::v1::{
    GetReconciliationReportRequest, GetStatisticsRequest, ListReconciliationRecordsRequest,
};
use eidos_runtime::{Parts, Start};
use eidos_server::{Service, ServiceDefinition, Serving};
use eidos_settings::Input;
use eidos_testkit::{TestDb, TestRedis};
use eidos_types::SystemClock;
use futures::FutureExt;
use recon_svc::ReconSettings;
use serde_json::json;
use sqlx::PgPool;
use tonic::transport::Channel;
use tonic::{Code, Request};

const VIEWER: &str = "viewer-token-0123456789";

/// 2026-01-01T00:00:00Z, epoch ms.
const AT_MS: i64 = 1_767_225_600_000;

/// Status, wallet, token, difference, difference beyond NUMERIC(36,18), time in epoch ms.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    i64,
);

/// recon-svc without its job, so that it needs neither chain nor books.
struct World {
    db: TestDb,
    redis: TestRedis,
}

struct Node {
    serving: Serving,
}

impl World {
    async fn new() -> Self {
        Self {
            db: TestDb::migrated().await,
            redis: TestRedis::shared().await,
        }
    }

    async fn start(&self, _more: &[(&str, &str)]) -> Node {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let tokens = json!([{ "name": "vera", "role": "viewer", "token": VIEWER }]);
        let env = [
            ("EIDOS__DATABASES__JOBS__URL", self.db.url()),
            ("EIDOS__REDIS__URL", self.redis.url().to_owned()),
            ("EIDOS__REDIS__LOCK_PREFIX", self.redis.prefix().to_owned()),
            ("EIDOS__SERVICE__ENV", "dev".to_owned()),
            ("EIDOS__SERVICE__HTTP_HOST", "127.0.0.1".to_owned()),
            ("EIDOS__SERVICE__GRPC_HOST", "127.0.0.1".to_owned()),
            ("EIDOS__SERVICE__HTTP_PORT", "0".to_owned()),
            ("EIDOS__SERVICE__GRPC_PORT", "0".to_owned()),
            ("EIDOS__AUTH__TOKENS", tokens.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        let settings = eidos_settings::load::<ReconSettings>(&Input { file: None, env }).unwrap();
        let definition = ServiceDefinition {
            name: "recon-svc",
            about: "reports",
            start: Start::Connected,
            build: |_deps| async { Ok(Parts::default()) }.boxed(),
            routes: None,
            openapi: None,
            reports: Some(recon_svc::reports::reports),
            commands: &[],
            queries: &[],
        };
        let clock = Arc::new(SystemClock::default());
        let service = Service::connect(&definition, Arc::new(settings), clock)
            .await
            .unwrap();
        Node {
            serving: service.serve().await.unwrap(),
        }
    }
}

impl Node {
    async fn grpc(&self) -> JobsServiceClient<Channel> {
        JobsServiceClient::connect(format!("http://{}", self.serving.grpc_address()))
            .await
            .unwrap()
    }
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// Accounts that agree have no row of their own: the run's totals say how many were compared.
#[tokio::test]
async fn accounts_that_agree_are_counted_from_the_totals_of_a_run() {
    let world = World::new().await;
    for (status, wallet, kind, checked) in [
        ("matched", None, "totals", Some(r#"{"checked": 151}"#)),
        ("mismatched", Some("0xAA"), "shortfall", None),
    ] {
        sqlx::query(
            "INSERT INTO eidos_jobs_reconciliation_records (job_type, reconcile_type, status, wallet_address, token, kind, \
                 details, diff_value, created_at, run_id) \
             VALUES ('balance', 'full', $1, $2, 'USDC', $3, $4::jsonb, -1, 1000, gen_random_uuid())",
        )
        .bind(status)
        .bind(wallet)
        .bind(kind)
        .bind(checked)
        .execute(world.db.pool())
        .await
        .unwrap();
    }
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let report = client
        .get_reconciliation_report(with(VIEWER, GetReconciliationReportRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let counts = (
        report.total_checked,
        report.matched_count,
        report.mismatched_count,
    );
    assert_eq!(counts, (151, 150, 1));
    let records = client
        .list_reconciliation_records(with(VIEWER, ListReconciliationRecordsRequest::default()))
        .await
        .unwrap()
        .into_inner()
        .records;
    assert_eq!(records.len(), 1, "totals are no account's record");
    node.serving.shut_down().await;
}

/// "Nothing" would read as "all is well".
#[tokio::test]
async fn a_filter_that_no_record_can_match_is_refused_and_an_unknown_size_is_not_summed_as_zero() {
    let world = World::new().await;
    for (wallet, diff) in [("0xaa", None), ("0xbb", Some("2.5"))] {
        sqlx::query(
            "INSERT INTO eidos_jobs_reconciliation_records (job_type, reconcile_type, status, wallet_address, token, \
                 diff_value, created_at, run_id) \
             VALUES ('balance', 'full', 'mismatched', $1, 'HUGE', $2::numeric, 1000, gen_random_uuid())",
        )
        .bind(wallet)
        .bind(diff)
        .execute(world.db.pool())
        .await
        .unwrap();
    }
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let report = client
        .get_reconciliation_report(with(VIEWER, GetReconciliationReportRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((report.mismatched_count, report.total_diff.as_str()), (2, ""));
    assert_eq!(report.by_token[0].total_diff, "", "2.5 would be too small");

    for (job_type, from, until) in [("bogus", 0, 0), ("Balance", 0, 0), ("balance", 2_000, 1_000)] {
        let request = GetReconciliationReportRequest {
            job_type: job_type.to_owned(),
            start_time: from,
            end_time: until,
        };
        let refused = client
            .get_reconciliation_report(with(VIEWER, request))
            .await
            .unwrap_err();
        assert_eq!(
            refused.code(),
            tonic::Code::InvalidArgument,
            "{job_type} {from}: {refused}"
        );
    }
    for (status, wallet) in [("open", ""), ("", "0x61")] {
        let request = ListReconciliationRecordsRequest {
            status: status.to_owned(),
            wallet_address: wallet.to_owned(),
            ..ListReconciliationRecordsRequest::default()
        };
        let refused = client
            .list_reconciliation_records(with(VIEWER, request))
            .await
            .unwrap_err();
        assert_eq!(
            refused.code(),
            tonic::Code::InvalidArgument,
            "{status} {wallet}: {refused}"
        );
    }
    node.serving.shut_down().await;
}

/// Five records of balances: three of the wallet `0xAA…`, one of them beyond what a column of 36 digits holds.
async fn store_records(pool: &PgPool) {
    let insert = "INSERT INTO eidos_jobs_reconciliation_records (job_type, reconcile_type, status, wallet_address, token, \
        offchain_value, onchain_value, diff_value, diff_exact, created_at, run_id) \
        VALUES ('balance', 'full', $1, $2, $3, 1, 1, $4::numeric, $5, $6, gen_random_uuid())";
    let rows: [Row; 5] = [
        (
            "mismatched",
            "0xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "USDC",
            Some("-0.000000000000000001"),
            None,
            AT_MS + 1_000,
        ),
        (
            "mismatched",
            "0xBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
            "USDC",
            Some("2.5"),
            None,
            AT_MS + 2_000,
        ),
        (
            "matched",
            "0xCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC",
            "USDC",
            Some("0"),
            None,
            AT_MS + 2_000,
        ),
        (
            "mismatched",
            "0xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "WETH",
            None,
            Some("1000000000000000000000000000000"),
            AT_MS + 2_000,
        ),
        (
            "mismatched",
            "0xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "USDC",
            Some("7"),
            None,
            AT_MS + 9_000,
        ),
    ];
    for (status, wallet, token, diff, exact, at_ms) in rows {
        sqlx::query(insert)
            .bind(status)
            .bind(wallet)
            .bind(token)
            .bind(diff)
            .bind(exact)
            .bind(at_ms)
            .execute(pool)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn reconciliation_totals_are_exact_by_token_and_bounded_in_time() {
    let world = World::new().await;
    store_records(world.db.pool()).await;
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let request = GetReconciliationReportRequest {
        job_type: "balance".to_owned(),
        start_time: AT_MS + 1_000,
        end_time: AT_MS + 9_000,
    };
    let in_seconds = GetReconciliationReportRequest {
        start_time: AT_MS / 1_000,
        ..request.clone()
    };
    let refused = client
        .get_reconciliation_report(with(VIEWER, in_seconds))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(
        refused.message().contains("start_time") && refused.message().contains("seconds"),
        "{refused}"
    );
    let report = client
        .get_reconciliation_report(with(VIEWER, request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            report.total_checked,
            report.matched_count,
            report.mismatched_count
        ),
        (4, 1, 3)
    );
    assert_eq!(report.total_diff, "", "tokens are never summed together");
    let by_token: Vec<(&str, i64, &str)> = report
        .by_token
        .iter()
        .map(|token| {
            (
                token.token.as_str(),
                token.mismatched_count,
                token.total_diff.as_str(),
            )
        })
        .collect();
    assert_eq!(
        by_token,
        [
            ("USDC", 2, "2.500000000000000001"),
            ("WETH", 1, "1000000000000000000000000000000")
        ]
    );
    node.serving.shut_down().await;
}

#[tokio::test]
async fn records_of_a_wallet_are_found_however_it_is_written_newest_first() {
    let world = World::new().await;
    store_records(world.db.pool()).await;
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let request = ListReconciliationRecordsRequest {
        wallet_address: format!("0x{}", "a".repeat(40)),
        status: "mismatched".to_owned(),
        pagination: Some(PaginationRequest {
            page: 1,
            page_size: 1000,
        }),
        ..ListReconciliationRecordsRequest::default()
    };
    let page = client
        .list_reconciliation_records(with(VIEWER, request))
        .await
        .unwrap()
        .into_inner();
    let pagination = page.pagination.unwrap();
    assert_eq!(
        (page.records.len(), pagination.total, pagination.page_size),
        (3, 3, 100)
    );
    assert_eq!(page.records[0].diff_value, "7");
    node.serving.shut_down().await;
}

#[tokio::test]
async fn statistics_are_filtered_by_date_market_and_metric() {
    let world = World::new().await;
    sqlx::query(
        "INSERT INTO eidos_jobs_statistics (stat_type, stat_date, stat_hour, market, metric_name, metric_value) VALUES \
         ('daily', '2026-01-01', NULL, 'BTC-USDC', 'trade_volume', 12.5), \
         ('daily', '2026-01-02', NULL, 'BTC-USDC', 'trade_volume', 13), \
         ('daily', '2026-01-02', NULL, NULL, 'trade_count', 4), \
         ('hourly', '2026-01-02', 7, 'BTC-USDC', 'trade_volume', 1)",
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let request = GetStatisticsRequest {
        stat_type: "daily".to_owned(),
        start_date: "2026-01-02".to_owned(),
        end_date: "2026-01-02".to_owned(),
        metric_names: vec!["trade_volume".to_owned()],
        ..GetStatisticsRequest::default()
    };
    let data = client
        .get_statistics(with(VIEWER, request))
        .await
        .unwrap()
        .into_inner()
        .data;
    assert_eq!(data.len(), 1);
    assert_eq!(
        (data[0].stat_date.as_str(), data[0].metric_value.as_str()),
        ("2026-01-02", "13")
    );
    let wrong = GetStatisticsRequest {
        start_date: "yesterday".to_owned(),
        ..GetStatisticsRequest::default()
    };
    let refused = client.get_statistics(with(VIEWER, wrong)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("yesterday"), "{}", refused.message());
    assert_eq!(json!(data[0].stat_hour), json!(0));
    node.serving.shut_down().await;
}
