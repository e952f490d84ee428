//! health-probe as a process, with a round each second.

use std::path::PathBuf;
use std::time::Duration;

use eidos_testkit::{ChildProcess, Command, ScratchDir, eventually};

pub(crate) const WITHIN: Duration = Duration::from_secs(30);
/// Nothing listens on it: the discard port of a machine without such a service.
pub(crate) const NOWHERE: &str = "127.0.0.1:9";

pub(crate) struct Fixture {
    pub(crate) dir: ScratchDir,
    config: PathBuf,
    servers: String,
}

impl Fixture {
    /// With these lines below `probes` and `notifications`; PostgreSQL and Redis do not exist.
    pub(crate) fn new(probes: &str, notifications: &str) -> Self {
        let (database, redis) = (
            format!("postgres://u:p@{NOWHERE}/jobs"),
            format!("redis://{NOWHERE}"),
        );
        Self::with_servers(probes, notifications, &database, &redis)
    }

    pub(crate) fn with_servers(probes: &str, notifications: &str, database: &str, redis: &str) -> Self {
        let dir = ScratchDir::create("health-probe").unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        let fixture = Self {
            config: dir.path().join("health-probe.yaml"),
            servers: format!(
                "databases: {{ jobs: {{ url: \"{database}\" }} }}\nredis: {{ url: \"{redis}\" }}\n"
            ),
            dir,
        };
        fixture.configure(probes, notifications);
        fixture
    }

    /// Writes the settings of the next start.
    pub(crate) fn configure(&self, probes: &str, notifications: &str) {
        let servers = &self.servers;
        let text = format!(
            "service: {{ http_port: 0, grpc_port: 0 }}\n{servers}\
             jobs: {{ health-monitor: {{ cron: \"* * * * * *\" }} }}\n\
             probes:\n  timeout: 600ms\n  slow_after: 300ms\n  spread: 0s\n  state_dir: {}\n{probes}\n\
             notifications:\n  log: true\n{notifications}\n",
            self.dir.path().join("state").display(),
        );
        std::fs::write(&self.config, text).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        Command::new(env!("CARGO_BIN_EXE_health-probe"))
            .args(args.iter().copied())
            .env("EIDOS_CONFIG", &self.config)
    }

    pub(crate) fn serve(&self) -> ChildProcess {
        self.command(&["serve"]).spawn()
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.dir.path().join("state").join("state.json")
    }
}

/// Waits until `found` is what is expected, and shows what the process said if it never is.
pub(crate) async fn becomes<T: PartialEq + std::fmt::Debug>(
    what: &str,
    child: &ChildProcess,
    expected: &T,
    found: impl Fn() -> T,
) {
    eventually(what, WITHIN, async || {
        let found = found();
        if found == *expected {
            Ok(())
        } else {
            Err(format!("{found:?}\n{}\n{}", child.stdout(), child.stderr()))
        }
    })
    .await;
}

/// What the process wrote so far.
pub(crate) fn said(child: &ChildProcess) -> String {
    format!("{}{}", child.stdout(), child.stderr())
}

/// Waits until the process has ended `count` more rounds.
pub(crate) async fn rounds(child: &ChildProcess, count: usize) {
    let ended = || said(child).matches("run succeeded").count();
    let before = ended();
    eventually("rounds end", WITHIN, async || {
        let now = ended();
        if now >= before + count {
            Ok(())
        } else {
            Err(format!("{now} after {before}\n{}", child.stderr()))
        }
    })
    .await;
}
