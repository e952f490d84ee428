//! A second process for the harness's own tests: counts aloud, with a crash point at each count; stops at SIGTERM
//! with what SIGTERM does by default.

use std::io::Write;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "words: {}",
        std::env::args().skip(1).collect::<Vec<_>>().join(" ")
    )?;
    if std::env::var_os("PROBE_ENDS").is_some() {
        writeln!(std::io::stderr(), "as told")?;
        return Ok(());
    }
    for count in 1_u64.. {
        eidos_testkit::crash_point("count");
        writeln!(out, "count {count}")?;
        out.flush()?;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
