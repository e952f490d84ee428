//! A disk that is full, for real: a process whose files may not grow past 16 KiB gets an error from the kernel in the
//! middle of a write, as from a full disk or a quota. Works for root and for users.

use std::path::Path;
use std::process::Command;

use super::*;

/// Names the folder that the child writes to.
const FOLDER: &str = "EIDOS_TEST_FULL_DISK";

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    // The signal would end the process; ignored, the write fails. In bash the unit is 1024 bytes.
    let child = Command::new("bash")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact store::disk_full::the_limited_process --nocapture",
        ])
        .arg(&this)
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(
        said.contains("no space left for") && said.contains("/part-0000"),
        "{said}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "something stayed behind"
    );
}

/// The child's half of the test above; without a folder it has nothing to do.
#[tokio::test]
async fn the_limited_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let settings = ArchiveStoreSettings {
        part_bytes: 64 << 10,
        ..quick(format!("file://{}", folder.display()))
    };
    let store = open(&settings).await;
    let failed = store
        .export(&request(ArchiveFormat::Parquet), rows(5_000), &never())
        .await;
    let error = failed.unwrap_err();
    println!("{error}");
    match &error {
        StoreError::DiskFull { path } => assert!(path.starts_with(folder), "{path:?}"),
        other => panic!("{other:?}"),
    }
    assert!(!error.is_retryable());
}
