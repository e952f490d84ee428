use std::process::Command;

use eidos_sandbox::{Moto, python};

#[test]
fn the_environment_has_the_readers_of_parquet() {
    let done = Command::new(python().unwrap())
        .args(["-c", "import duckdb, pyarrow.parquet"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn moto_answers_as_s3() {
    let moto = Moto::start().await.unwrap();
    let put = "import sys, urllib.request as r; \
               r.urlopen(r.Request(sys.argv[1] + '/bucket', method='PUT')); \
               print(r.urlopen(sys.argv[1] + '/bucket?list-type=2').status)";
    let done = Command::new(python().unwrap())
        .args(["-c", put, &moto.url()])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "200",
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
