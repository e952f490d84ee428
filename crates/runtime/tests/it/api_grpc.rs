//! gRPC: the same rules under other names, and the figures existing clients ask for.

use eidos_proto::common::v1::PaginationRequest;
use eidos_proto::jobs::v1::{
    CancelExecutionRequest, GetExecutionRequest, GetJobStatusRequest, GetReconciliationReportRequest,
    GetStatisticsRequest, ListJobExecutionsRequest, ListReconciliationRecordsRequest, PauseJobRequest,
    ResumeJobRequest, TriggerJobRequest,
};
use eidos_testkit::eventually;
use serde_json::json;
use tonic::{Code, Request};

use crate::harness::{OPERATOR, SOON, VIEWER, World};

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

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn trigger(job: &str, key: &str, params_json: &str) -> TriggerJobRequest {
    TriggerJobRequest {
        job_name: job.to_owned(),
        idempotency_key: key.to_owned(),
        params_json: params_json.to_owned(),
        ..TriggerJobRequest::default()
    }
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let world = World::new().await;
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let refused = [
        (with("", trigger("fine", "", "")), Code::Unauthenticated),
        (with("wrong", trigger("fine", "", "")), Code::Unauthenticated),
        (with(VIEWER, trigger("fine", "", "")), Code::PermissionDenied),
        (with(OPERATOR, trigger("none", "", "")), Code::NotFound),
        (
            with(OPERATOR, trigger("fine", "", "{not json")),
            Code::InvalidArgument,
        ),
        (
            with(OPERATOR, trigger("fine", "", r#"{"nota":1}"#)),
            Code::InvalidArgument,
        ),
    ];
    for (request, code) in refused {
        let shown = format!("{request:?}");
        assert_eq!(
            client.trigger_job(request).await.unwrap_err().code(),
            code,
            "{shown}"
        );
    }
    let pause = PauseJobRequest {
        job_name: "fine".to_owned(),
        reason: "x".to_owned(),
    };
    assert_eq!(
        client.pause_job(with(VIEWER, pause)).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let unknown = GetExecutionRequest {
        execution_id: "0197a000-0000-7000-8000-000000000000".to_owned(),
    };
    assert_eq!(
        client
            .get_execution(with(VIEWER, unknown))
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    assert_eq!(world.count("SELECT count(*) FROM eidos_jobs_triggers").await, 0);

    client
        .trigger_job(with(OPERATOR, trigger("waits", "k", "")))
        .await
        .unwrap();
    let busy = client
        .trigger_job(with(OPERATOR, trigger("waits", "l", "")))
        .await
        .unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    node.serving.shut_down().await;
}

#[tokio::test]
async fn an_execution_is_triggered_followed_and_cancelled() {
    let world = World::new().await;
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let first = client
        .trigger_job(with(OPERATOR, trigger("waits", "key", "")))
        .await
        .unwrap()
        .into_inner();
    let again = client
        .trigger_job(with(OPERATOR, trigger("waits", "key", "")))
        .await
        .unwrap()
        .into_inner();
    assert!(first.accepted && first.created && again.accepted && !again.created);
    assert_eq!(first.execution_id, again.execution_id);

    let id = first.execution_id;
    eventually("it runs", SOON, async || {
        let request = with(
            VIEWER,
            GetJobStatusRequest {
                job_name: "waits".to_owned(),
            },
        );
        let status = node
            .grpc()
            .await
            .get_job_status(request)
            .await
            .unwrap()
            .into_inner()
            .status
            .unwrap();
        if status.is_locked {
            Ok(())
        } else {
            Err(status.last_status)
        }
    })
    .await;
    client
        .cancel_execution(with(
            OPERATOR,
            CancelExecutionRequest {
                execution_id: id.clone(),
            },
        ))
        .await
        .unwrap();
    eventually("it is cancelled", SOON, async || {
        let request = with(
            VIEWER,
            GetExecutionRequest {
                execution_id: id.clone(),
            },
        );
        let execution = node
            .grpc()
            .await
            .get_execution(request)
            .await
            .unwrap()
            .into_inner()
            .execution
            .unwrap();
        if execution.failure_kind == "cancelled" {
            Ok(())
        } else {
            Err(execution.status)
        }
    })
    .await;
    let list = ListJobExecutionsRequest {
        job_name: "waits".to_owned(),
        ..ListJobExecutionsRequest::default()
    };
    let page = client
        .list_job_executions(with(VIEWER, list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.executions.len(), page.pagination.unwrap().total), (1, 1));
    node.serving.shut_down().await;
}

#[tokio::test]
async fn pause_and_resume_show_in_the_status() {
    let world = World::new().await;
    let node = world.start(&[]).await;
    let mut client = node.grpc().await;
    let pause = PauseJobRequest {
        job_name: "fine".to_owned(),
        reason: "migration".to_owned(),
    };
    let paused = client
        .pause_job(with(OPERATOR, pause))
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert!(paused.paused && paused.next_run_at == 0);
    assert_eq!(
        (paused.paused_by.as_str(), paused.paused_reason.as_str()),
        ("otto", "migration")
    );
    let refused = client
        .trigger_job(with(OPERATOR, trigger("fine", "", "")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let resume = ResumeJobRequest {
        job_name: "fine".to_owned(),
        ..ResumeJobRequest::default()
    };
    let resumed = client
        .resume_job(with(OPERATOR, resume))
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert!(!resumed.paused && resumed.next_run_at > 0);
    node.serving.shut_down().await;
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

#[tokio::test]
async fn reconciliation_totals_are_exact_by_token_and_bounded_in_time() {
    let world = World::new().await;
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
            .execute(world.db.pool())
            .await
            .unwrap();
    }
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
