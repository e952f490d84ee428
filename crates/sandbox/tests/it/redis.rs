//! Redis: what survives, and what answers.

use std::time::Duration;

use eidos_sandbox::{AppendOnly, Redis, RedisOptions};
use redis::RedisResult;

async fn command(server: &Redis, words: &[&str]) -> RedisResult<Option<String>> {
    let mut connection = redis::Client::open(server.url())?
        .get_multiplexed_async_connection()
        .await?;
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(word);
    }
    command.query_async(&mut connection).await
}

#[tokio::test]
async fn with_an_append_only_file_writes_survive_a_kill() {
    let options = RedisOptions {
        append_only: AppendOnly::Always,
        ..RedisOptions::default()
    };
    let server = Redis::start(options).await.unwrap();
    command(&server, &["SET", "k", "v"]).await.unwrap();
    server.kill().await.unwrap();
    assert!(command(&server, &["GET", "k"]).await.is_err());
    server.start_again().await.unwrap();
    assert_eq!(
        command(&server, &["GET", "k"]).await.unwrap().as_deref(),
        Some("v")
    );
    server.flush_all().await.unwrap();
    assert_eq!(command(&server, &["GET", "k"]).await.unwrap(), None);
}

#[tokio::test]
async fn without_it_a_restart_forgets() {
    let server = Redis::start(RedisOptions::default()).await.unwrap();
    let url = server.url();
    command(&server, &["SET", "k", "v"]).await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(command(&server, &["GET", "k"]).await.unwrap(), None);
    assert_eq!(server.url(), url);
}

#[tokio::test]
async fn a_paused_server_answers_nobody_and_then_goes_on() {
    let server = Redis::start(RedisOptions::default()).await.unwrap();
    server.pause().await.unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(200), command(&server, &["PING"])).await;
    assert!(!matches!(asked, Ok(Ok(_))), "{asked:?}");
    server.resume().await.unwrap();
    assert_eq!(
        command(&server, &["PING"]).await.unwrap().as_deref(),
        Some("PONG")
    );
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let options = RedisOptions {
        password: Some("secret".into()),
        ..RedisOptions::default()
    };
    let server = Redis::start(options).await.unwrap();
    assert_eq!(
        command(&server, &["PING"]).await.unwrap().as_deref(),
        Some("PONG")
    );
    let open = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let mut connection = open.get_multiplexed_async_connection().await.unwrap();
    let refused = redis::cmd("PING")
        .query_async::<String>(&mut connection)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("NOAUTH"), "{refused}");
    // What everybody can read in `ps`.
    let arguments = std::fs::read(format!("/proc/{}/cmdline", server.pid().await.unwrap())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("secret"));
}
