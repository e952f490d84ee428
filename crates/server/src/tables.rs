//! What the command line prints for people.

use comfy_table::{Table, presets};

use crate::service::Service;

/// The jobs with their schedule and limits.
pub(crate) fn jobs(service: &Service) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "job",
        "enabled",
        "cron (UTC)",
        "next slot",
        "timeout",
        "lock",
        "pool",
    ]);
    let now = service.engine.clock().now();
    for job in service.engine.jobs() {
        let section = &job.section;
        let next = job
            .next_after(now)
            .map_or_else(|| "never".to_owned(), |slot| slot.to_string());
        table.add_row([
            job.name.to_string(),
            if section.enabled { "yes" } else { "no" }.to_owned(),
            section.cron.to_string(),
            next,
            format!("{:?}", section.timeout),
            format!("{:?}", section.lock.kind).to_lowercase(),
            section.pool.clone(),
        ]);
    }
    eidos_runtime::terminal::fit(&mut table).to_string()
}

/// `1200 of 5000 (24 %)`.
pub(crate) fn progress((done, total): (u64, Option<u64>)) -> String {
    match total {
        Some(total) if total > 0 => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{done} of {total} ({percent} %)")
        }
        _ => format!("{done} done"),
    }
}
