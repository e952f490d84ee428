//! PostgreSQL: crash, restart, pause, reuse.

use std::time::Duration;

use eidos_sandbox::{Postgres, PostgresOptions, SandboxError, ScratchDir};

use crate::{runs, until};

/// One statement through psql, `Err` with what it said.
async fn sql(url: &str, programs: &std::path::Path, statement: &str) -> Result<String, String> {
    let output = tokio::process::Command::new(programs.join("psql"))
        .args(["--no-psqlrc", "-qtAX", "-c", statement, url])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

async fn query(server: &Postgres, statement: &str) -> Result<String, String> {
    sql(&server.url("postgres"), server.programs(), statement).await
}

/// The state letter of each living child process. A backend that ended just before its parent was stopped stays a
/// zombie until the parent goes on.
fn states_of_children(pid: u32) -> Vec<char> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children
        .split_whitespace()
        .filter_map(|child| std::fs::read_to_string(format!("/proc/{child}/stat")).ok())
        .filter_map(|stat| stat.rsplit(')').next()?.trim_start().chars().next())
        .filter(|state| *state != 'Z')
        .collect()
}

#[tokio::test]
async fn what_was_committed_survives_a_kill_and_a_restart() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    let url = server.url("postgres");
    query(&server, "CREATE TABLE t (x INT); INSERT INTO t VALUES (1)")
        .await
        .unwrap();

    server.kill().await.unwrap();
    assert!(query(&server, "SELECT 1").await.is_err());
    server.start_again().await.unwrap();
    assert_eq!(query(&server, "SELECT x FROM t").await.unwrap(), "1");

    server.restart().await.unwrap();
    assert_eq!(query(&server, "SELECT x FROM t").await.unwrap(), "1");
    assert_eq!(server.url("postgres"), url);
}

#[tokio::test]
async fn a_kill_ends_running_statements_too() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    query(&server, "CREATE TABLE t (x INT)").await.unwrap();
    let (url, programs) = (server.url("postgres"), server.programs().to_owned());
    // A backend in the middle of a statement notices the postmaster's death only afterwards: it would commit.
    let busy =
        tokio::spawn(async move { sql(&url, &programs, "INSERT INTO t SELECT 1 FROM pg_sleep(0.7)").await });
    let mut backend = 0;
    until("the statement runs", async || {
        let found = query(
            &server,
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'INSERT%' AND state = 'active'",
        );
        backend = found.await.unwrap().parse().unwrap_or(0);
        backend != 0
    })
    .await;
    server.kill().await.unwrap();
    assert!(!runs(backend));
    assert!(busy.await.unwrap().is_err());
    server.start_again().await.unwrap();
    assert_eq!(query(&server, "SELECT count(*) FROM t").await.unwrap(), "0");
}

#[tokio::test]
async fn a_paused_server_answers_nobody_and_then_goes_on() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    server.pause().await.unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(300), query(&server, "SELECT 1")).await;
    assert!(asked.is_err(), "{asked:?}");
    // Backends are processes of their own: a statement that runs must stand still as well.
    let states = states_of_children(server.pid().await.unwrap());
    assert!(
        states.len() >= 3 && states.iter().all(|state| *state == 'T'),
        "{states:?}"
    );
    server.resume().await.unwrap();
    assert_eq!(query(&server, "SELECT 1").await.unwrap(), "1");
}

#[tokio::test]
async fn databases_are_made_copied_and_dropped() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    server.create_database("one").await.unwrap();
    sql(&server.url("one"), server.programs(), "CREATE TABLE t (x INT)")
        .await
        .unwrap();
    server.create_database_from("two", "one").await.unwrap();
    assert_eq!(
        sql(&server.url("two"), server.programs(), "SELECT count(*) FROM t")
            .await
            .unwrap(),
        "0"
    );
    assert!(matches!(
        server.create_database("two").await,
        Err(SandboxError::Command { .. })
    ));
    server.fresh_database("two").await.unwrap();
    assert!(
        sql(&server.url("two"), server.programs(), "SELECT count(*) FROM t")
            .await
            .is_err()
    );
    server.drop_database("two").await.unwrap();
    server.drop_database("two").await.unwrap();
    assert!(matches!(
        server.create_database("two; DROP").await,
        Err(SandboxError::DatabaseName { .. })
    ));
}

#[tokio::test]
async fn a_directory_is_used_again_and_asks_for_its_password() {
    let scratch = ScratchDir::create("test").unwrap();
    let dir = scratch.path().join("postgres");
    let options = PostgresOptions {
        password: Some("correct".into()),
        ..PostgresOptions::default()
    };
    let first = Postgres::open(&dir, options.clone()).await.unwrap();
    query(&first, "CREATE TABLE t (x INT)").await.unwrap();
    drop(first);

    let second = Postgres::open(&dir, options).await.unwrap();
    assert_eq!(query(&second, "SELECT count(*) FROM t").await.unwrap(), "0");
    let settings = "SELECT current_setting('server_encoding') || current_setting('timezone')";
    assert_eq!(query(&second, settings).await.unwrap(), "UTF8UTC");
    let wrong = second.url("postgres").replace("correct", "wrong");
    let refused = sql(&wrong, second.programs(), "SELECT 1").await.unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
    assert!(!format!("{second:?}").contains("correct"));
}

#[tokio::test]
async fn data_of_another_version_is_refused_with_the_fix() {
    let scratch = ScratchDir::create("test").unwrap();
    let data = scratch.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("PG_VERSION"), "9\n").unwrap();
    let error = Postgres::open(scratch.path(), PostgresOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SandboxError::DataVersion { .. }), "{error}");
    assert!(error.to_string().contains("remove that directory"), "{error}");
}

#[tokio::test]
async fn data_goes_where_the_servers_user_can_reach_it() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = ScratchDir::create("test").unwrap();
    // Like a clone below `/root`.
    let private = scratch.path().join("private");
    let dir = private.join("postgres");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).unwrap();

    let server = Postgres::open(&dir, PostgresOptions::default()).await.unwrap();
    assert_eq!(query(&server, "SELECT 1").await.unwrap(), "1");
    let home = server.data_directory().parent().unwrap().to_owned();
    drop(server);
    match std::fs::read_to_string(dir.join("DATA_DIRECTORY")) {
        // We are root, the server is not.
        Ok(pointer) => {
            assert!(home.starts_with("/var/tmp"), "{}", home.display());
            assert_eq!(pointer.trim(), home.to_str().unwrap());
            std::fs::remove_dir_all(home).unwrap();
        }
        // We run it as ourselves.
        Err(_absent) => assert_eq!(home, dir),
    }
}
