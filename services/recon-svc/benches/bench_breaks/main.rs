//! `./scripts/bench breaks`: `GET /v1/breaks` of the real service by each filter over a million stored breaks, and how long it
//! takes to verify the chain of their events.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints, and a step that cannot be made ends it"
)]

#[path = "../arena/mod.rs"]
mod arena;
mod seed;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eidos_recon::store::audit;
use eidos_testkit::{Quantiles, write_result};
use serde_json::{Map, Value, json};

use crate::arena::Arena;

/// Token of the role viewer in the world's configuration.
const VIEWER: &str = "quickstart-viewer-token";
/// Requests of each filter.
const REQUESTS: usize = 300;
/// Requests before those that are measured.
const WARM_UP: usize = 20;

/// What is asked for; `{n}` is another number with each request.
const FILTERS: &[(&str, &str)] = &[
    ("all", ""),
    ("a page of 1000", "limit=1000"),
    ("status", "status=open"),
    ("unresolved", "status=unresolved"),
    ("ended", "status=ended"),
    ("severity", "severity=critical"),
    ("no severity", "severity=info"),
    ("dimension", "dimension=deposits"),
    ("token", "token=T{n}"),
    ("wallet", "wallet=0x{wallet}"),
    ("subject", "subject=s{n}"),
    ("assignee", "assignee=person%20{n}"),
    ("age", "age=lt_24h"),
    ("old", "age=ge_7d"),
    ("dimension, token", "dimension=balance&token=T{n}"),
    ("status, token", "status=auto_closed&token=T{n}"),
    (
        "status, severity, dimension, token",
        "status=written_off&severity=warning&dimension=deposits&token=T{n}",
    ),
    ("assignee, token", "assignee=person%20{n}&token=T{n}"),
    (
        "assignee, dimension, age",
        "assignee=person%20{n}&dimension=balance&age=ge_7d",
    ),
    ("wallet, token", "wallet=0x{wallet}&token=T{n}"),
    ("nothing", "dimension=solvency&token=T{n}"),
];

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let arena = Arena::build(7, 1).await?;
    let jobs = arena.jobs().await?;
    seed::breaks(&jobs).await?;
    let never = "0 59 3 1 1 *".to_owned();
    let replica = arena.replica_with(
        0,
        &[
            ("EIDOS__JOBS__RECONCILIATION__CRON", never.clone()),
            ("EIDOS__JOBS__RECONCILIATION__FULL_CRON", never),
            ("EIDOS__TELEMETRY__LOG_LEVEL", "info".to_owned()),
        ],
    )?;
    let line = replica.wait_for_line("serving", Duration::from_mins(1)).await;
    let address = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http="))
        .context("the service does not say its address")?;
    let client = reqwest::Client::builder()
        .timeout(Duration::from_mins(1))
        .build()?;
    let mut lists = Map::new();
    for (name, query) in FILTERS {
        let figures = list(&client, address, query).await?;
        println!("{name:<36} {figures}");
        lists.insert((*name).to_owned(), serde_json::to_value(figures)?);
    }
    let after = deep(&client, address).await?;
    println!("{:<36} {after}", "the 100th page and on");
    let verified = verify(&jobs).await?;
    replica.terminate();
    let document = json!({ "rows": seed::ROWS, "lists": lists, "deep_pages": after, "verify": verified });
    println!(
        "written to {}",
        write_result("bench", "breaks", &document).display()
    );
    Ok(())
}

async fn ask(client: &reqwest::Client, url: &str) -> anyhow::Result<(Value, Duration)> {
    let began = Instant::now();
    let response = client.get(url).bearer_auth(VIEWER).send().await?;
    let status = response.status();
    let bytes = response.bytes().await?;
    let took = began.elapsed();
    ensure!(
        status.is_success(),
        "{url}: {status}: {}",
        String::from_utf8_lossy(&bytes)
    );
    Ok((serde_json::from_slice(&bytes)?, took))
}

async fn list(client: &reqwest::Client, address: &str, query: &str) -> anyhow::Result<Quantiles> {
    let mut took = Vec::with_capacity(REQUESTS);
    for n in 0..WARM_UP + REQUESTS {
        let wallet = format!("{:040x}", n % 5_000);
        let query = query
            .replace("{wallet}", &wallet)
            .replace("{n}", &(n % seed::TOKENS).to_string());
        let (_, time) = ask(client, &format!("http://{address}/v1/breaks?{query}")).await?;
        if n >= WARM_UP {
            took.push(time);
        }
    }
    Ok(Quantiles::of(took))
}

/// Pages far from the first one.
async fn deep(client: &reqwest::Client, address: &str) -> anyhow::Result<Quantiles> {
    let (mut took, mut after) = (Vec::new(), String::new());
    for page in 0..100 + REQUESTS {
        let url = format!("http://{address}/v1/breaks?status=ended{after}");
        let (answer, time) = ask(client, &url).await?;
        let next = answer["next"]
            .as_str()
            .context("there are fewer pages than rows")?;
        after = format!("&after={next}");
        if page >= 100 {
            took.push(time);
        }
    }
    Ok(Quantiles::of(took))
}

async fn verify(jobs: &sqlx::PgPool) -> anyhow::Result<Value> {
    let events = seed::events(jobs).await?;
    let mut conn = jobs.acquire().await?;
    let began = Instant::now();
    let verified = audit::verify(&mut conn, None).await?;
    let took = began.elapsed();
    ensure!(
        verified.links == events,
        "{} links of {events} events",
        verified.links
    );
    println!(
        "{} links and {} breaks verified in {took:.1?}",
        verified.links, verified.breaks
    );
    let seconds = took.as_secs_f64();
    Ok(json!({ "links": verified.links, "breaks": verified.breaks, "seconds": seconds }))
}
