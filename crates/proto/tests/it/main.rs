//! The committed code is what the `.proto` sources generate (`UPDATE=1` rewrites it).
#![expect(
    clippy::unwrap_used,
    reason = "a failing helper must fail the test that called it"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 3] = [
    "eidos/common/v1/pagination.proto",
    "eidos/jobs/v1/jobs.proto",
    "eidos/matching/v1/matching.proto",
];

fn generate() -> BTreeMap<String, Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut compiler = protox::Compiler::new([&root]).unwrap();
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(SOURCES).unwrap();
    let with_comments = compiler.file_descriptor_set();
    let descriptors = protox::Compiler::new([&root])
        .unwrap()
        .include_imports(true)
        .open_files(SOURCES)
        .unwrap()
        .encode_file_descriptor_set();

    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .emit_rerun_if_changed(false)
        .compile_fds(with_comments)
        .unwrap();
    let mut files: BTreeMap<String, Vec<u8>> = std::fs::read_dir(out.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.insert("descriptors.bin".to_owned(), descriptors);
    files
}

#[test]
fn the_committed_code_is_what_the_sources_generate() {
    let committed: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    for (name, content) in generate() {
        let path = committed.join(&name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, content).unwrap();
            continue;
        }
        let on_disk = std::fs::read(&path).unwrap_or_default();
        assert!(
            on_disk == content,
            "{} differs from its source: run UPDATE=1 cargo test -p eidos-proto",
            path.display()
        );
    }
}

/// The fields existing clients use, from `reference/eidos-data-model.md` §3. A renumbering breaks them silently.
const KEPT_FIELDS: &str = "
TriggerJobResponse accepted=1 message=2
ListJobExecutionsRequest job_name=1 status=2 start_time=3 end_time=4 pagination=5
JobStatus job_name=1 enabled=2 cron=3 timeout_seconds=4 is_locked=5 last_status=6 last_started_at=7 last_finished_at=8
JobStatus last_duration_ms=9 last_error=10
JobExecution id=1 job_name=2 status=3 started_at=4 finished_at=5 duration_ms=6 error_message=7 result=8
GetReconciliationReportResponse job_type=1 total_checked=4 matched_count=5 mismatched_count=6 total_diff=7 by_token=8
ReconciliationRecord id=1 wallet_address=5 offchain_value=7 onchain_value=8 diff_value=9 created_at=10
StatisticsData stat_type=1 stat_date=2 stat_hour=3 market=4 metric_name=5 metric_value=6
";

const KEPT_METHODS: [&str; 7] = [
    "GetJobStatus",
    "ListJobStatus",
    "TriggerJob",
    "ListJobExecutions",
    "GetReconciliationReport",
    "ListReconciliationRecords",
    "GetStatistics",
];

#[test]
fn the_field_numbers_existing_clients_use_are_kept() {
    let pool = protox::prost_reflect::DescriptorPool::decode(eidos_proto::FILE_DESCRIPTOR_SET).unwrap();
    for line in KEPT_FIELDS.lines().filter(|line| !line.is_empty()) {
        let (message, fields) = line.split_once(' ').unwrap();
        let message = pool
            .get_message_by_name(&format!("eidos.jobs.v1.{message}"))
            .unwrap();
        for field in fields.split(' ') {
            let (name, number) = field.split_once('=').unwrap();
            let found = message.get_field_by_name(name).unwrap().number();
            assert_eq!(found.to_string(), number, "{}.{name}", message.name());
        }
    }
    let service = pool.get_service_by_name("eidos.jobs.v1.JobsService").unwrap();
    for method in KEPT_METHODS {
        assert!(
            service.methods().any(|known| known.name() == method),
            "{method} is gone"
        );
    }
}
