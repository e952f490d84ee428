//! A new store, by the real binary: refused, shown by the plan, accepted by the command that the message names.

use std::time::Duration;

use crate::aging::aged;
use crate::fixture::Fixture;
use crate::process::report_of;

const WITHIN: Duration = Duration::from_secs(90);
const SLOT: [&str; 2] = ["--slot", "2026-10-21T03:00:00Z"];

/// Exit code, and everything that was printed.
async fn said(fixture: &Fixture, args: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let (status, child) = fixture.command(args, settings).run(WITHIN).await;
    (status.code(), format!("{}{}", child.stdout(), child.stderr()))
}

async fn units(fixture: &Fixture) -> i64 {
    fixture
        .jobs_number("SELECT count(*) FROM eidos_jobs_disposal_units")
        .await
}

#[tokio::test]
async fn a_new_store_takes_no_export_until_the_command_of_the_message_was_run() {
    let fixture = aged(20, "").await;
    fixture.jobs.sql("DELETE FROM eidos_jobs_archive_stores").await;
    let location = fixture.store.location();
    let command = format!("archiver store accept --location '{location}' --reason");
    let run_job = [&["run", "archive-data"], &SLOT[..]].concat();
    let plan = [&["plan", "--format", "json"], &SLOT[..]].concat();

    let (status, child) = fixture.command(&plan, &[]).run(WITHIN).await;
    assert!(status.success(), "{}", child.stderr());
    let report = report_of(&child);
    let blocked = report["plan"]["items"][0]["blocked"].as_str().unwrap().to_owned();
    assert!(blocked.contains(&command), "{report:#}");
    let (code, text) = said(&fixture, &run_job, &[]).await;
    assert!(code == Some(1) && text.contains(&command), "{code:?} {text}");
    let (code, text) = said(&fixture, &["store", "show"], &[]).await;
    assert!(
        code == Some(0) && text.contains("NOT accepted"),
        "{code:?} {text}"
    );
    assert_eq!(units(&fixture).await, 0, "nothing was frozen or exported");

    for (refused, exit) in [
        (vec!["store", "accept"], 2),
        (vec!["store", "accept", "--location", &location], 2),
        (
            vec![
                "store",
                "accept",
                "--location",
                "s3://misspelt/db",
                "--reason",
                "T-1",
            ],
            1,
        ),
    ] {
        let (code, text) = said(&fixture, &refused, &[]).await;
        assert_eq!(code, Some(exit), "{refused:?}: {text}");
    }
    let accept = [
        "store",
        "accept",
        "--location",
        &location,
        "--reason",
        "T-1: first store",
    ];
    let (code, text) = said(&fixture, &accept, &[]).await;
    assert!(code == Some(0) && text.contains("accepted"), "{code:?} {text}");
    let (_, text) = said(&fixture, &["store", "show"], &[]).await;
    for part in ["T-1: first store", "cli:", "keeps no versions"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (code, text) = said(&fixture, &run_job, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(units(&fixture).await, 1);
}

#[tokio::test]
async fn another_place_in_the_settings_is_refused_again() {
    let fixture = aged(20, "").await;
    let other = format!("file://{}/misspelt", fixture.dir.path().display());
    let run_job = [&["run", "archive-data"], &SLOT[..]].concat();
    let (code, text) = said(&fixture, &run_job, &[("ARCHIVE_STORE__URL", &other)]).await;
    assert!(
        code == Some(1) && text.contains("was never accepted"),
        "{code:?} {text}"
    );
    assert!(text.contains(&other), "{text}");
    assert_eq!(units(&fixture).await, 0);
}
