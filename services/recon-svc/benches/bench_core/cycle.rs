//! A fenced acquire and release beside the usual recipe (`SET NX PX`, compare-and-delete), on the same Redis.

use std::time::{Duration, Instant};

use eidos_core::fence::Epoch;
use eidos_core::lease::{Acquired, LeaseClient, LeaseRequest, Owner, RedisSettings};
use eidos_testkit::Quantiles;
use eidos_types::{ExecutionId, NodeId, SystemClock};
use serde_json::{Value, json};

use crate::arena::Arena;

const CYCLES: usize = 5_000;
/// The peer's release: what every Redis lock recipe uses.
const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

pub(crate) async fn measure(arena: &Arena) -> anyhow::Result<Value> {
    let (mut fenced, mut plain) = (Vec::new(), Vec::new());
    // Interleaved, so that both see the same machine.
    for _ in 0..5 {
        plain.extend(plain_cycles(arena, CYCLES / 5).await?);
        fenced.extend(fenced_cycles(arena, CYCLES / 5).await?);
    }
    let (fenced, plain) = (Quantiles::of(fenced), Quantiles::of(plain));
    let ratio = fenced.p50_ms / plain.p50_ms;
    println!(
        "lease cycle (acquire + release)\n  fenced              {fenced}\n  SET NX + Lua        {plain}"
    );
    println!("  ratio of p50        {ratio:.2}\n");
    Ok(json!({ "fenced": fenced, "set_nx": plain, "ratio_p50": ratio }))
}

async fn fenced_cycles(arena: &Arena, count: usize) -> anyhow::Result<Vec<Duration>> {
    let clock = SystemClock::default();
    let client = LeaseClient::connect(RedisSettings::new(arena.redis.url().into())).await?;
    let mut request = LeaseRequest {
        job: "bench".parse()?,
        owner: Owner {
            node: NodeId::new(&clock),
            execution: ExecutionId::new(&clock),
        },
        ttl: Duration::from_secs(30),
        watchdog: true,
        max_hold: Duration::from_mins(1),
        grace: Duration::from_secs(1),
        floor: Epoch::NONE,
    };
    let mut durations = Vec::with_capacity(count);
    for _ in 0..count {
        request.owner.execution = ExecutionId::new(&clock);
        let begun = Instant::now();
        let Acquired::Held(lease) = client.acquire(&request).await? else {
            anyhow::bail!("nobody else is there")
        };
        lease.release().await?;
        durations.push(begun.elapsed());
    }
    Ok(durations)
}

async fn plain_cycles(arena: &Arena, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut redis = redis::Client::open(arena.redis.url())?
        .get_multiplexed_async_connection()
        .await?;
    let release = redis::Script::new(COMPARE_AND_DELETE);
    let mut durations = Vec::with_capacity(count);
    for cycle in 0..count {
        let begun = Instant::now();
        let _: () = redis::cmd("SET")
            .arg("plain")
            .arg(cycle)
            .arg("NX")
            .arg("PX")
            .arg(30_000)
            .query_async(&mut redis)
            .await?;
        let deleted: u8 = release.key("plain").arg(cycle).invoke_async(&mut redis).await?;
        anyhow::ensure!(deleted == 1, "nobody else is there");
        durations.push(begun.elapsed());
    }
    Ok(durations)
}
