//! The reusable sandbox of the quickstart.

use eidos_sandbox::{Sandbox, SandboxError, ScratchDir};

#[tokio::test]
async fn the_second_opening_finds_the_data_of_the_first() {
    let scratch = ScratchDir::create("test").unwrap();
    let dir = scratch.path().join("quickstart");
    {
        let sandbox = Sandbox::open(&dir).unwrap();
        assert!(matches!(Sandbox::open(&dir), Err(SandboxError::InUse { .. })));
        let (postgres, redis) = (sandbox.postgres().await.unwrap(), sandbox.redis().await.unwrap());
        postgres.create_database("kept").await.unwrap();
        let mut connection = redis::Client::open(redis.url())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        redis::cmd("SET")
            .arg("k")
            .arg("v")
            .query_async::<()>(&mut connection)
            .await
            .unwrap();
    }
    let sandbox = Sandbox::open(&dir).unwrap();
    let (postgres, redis) = (sandbox.postgres().await.unwrap(), sandbox.redis().await.unwrap());
    assert!(matches!(
        postgres.create_database("kept").await,
        Err(SandboxError::Command { .. })
    ));
    let mut connection = redis::Client::open(redis.url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let kept: String = redis::cmd("GET")
        .arg("k")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, "v");
}
