//! [`ChildProcess`]: a built binary as a second process that can be stopped, continued and killed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use eidos_sandbox::{ManagedProcess, ProcessSpec, SandboxError, ScratchDir, Signal};

use crate::polling::eventually;

/// What to start: a binary, its arguments and its environment.
///
/// The child inherits `PATH`, `HOME` and little else, so that nothing in a developer's shell changes a test.
#[derive(Debug, Clone)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Command {
    /// For a binary of the tested package pass `env!("CARGO_BIN_EXE_<name>")`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Starts it. It dies with the value returned, and with this process.
    #[must_use]
    pub fn spawn(&self) -> ChildProcess {
        let name = self
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let started = ScratchDir::create("child").and_then(|scratch| {
            let mut spec = ProcessSpec::new(name, &self.program, scratch.path().join("stderr"));
            spec.stdout = scratch.path().join("stdout");
            spec.args.clone_from(&self.args);
            spec.env.clone_from(&self.env);
            Ok(ChildProcess {
                process: ManagedProcess::spawn(&spec)?,
                scratch,
            })
        });
        unwrap(started)
    }

    /// Starts it and waits for its end: for commands that finish.
    pub async fn run(&self, within: Duration) -> (ExitStatus, ChildProcess) {
        let child = self.spawn();
        (child.wait_exit(within).await, child)
    }
}

/// A second process. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    process: ManagedProcess,
    scratch: ScratchDir,
}

impl ChildProcess {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.scratch.path().join("stdout"))
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.scratch.path().join("stderr"))
    }

    /// Waits for a complete line, on either output, that contains `needle`, and returns the first such line.
    pub async fn wait_for_line(&self, needle: &str, within: Duration) -> String {
        let what = format!(
            "{} (pid {}) prints a line with `{needle}`",
            self.process.name(),
            self.pid()
        );
        eventually(&what, within, async || {
            // The state is read before the output, else the last words of a process that ends could be missed.
            let ended = unwrap(self.process.exit_status());
            let (out, err) = (self.stdout(), self.stderr());
            let found = complete_lines(&out).chain(complete_lines(&err)).find(|line| line.contains(needle));
            match (found, ended) {
                (Some(line), _) => Ok(line.to_owned()),
                (None, None) => Err(format!("\n--- stdout\n{out}\n--- stderr\n{err}")),
                (None, Some(status)) => {
                    panic!("expected that {what}, but it ended with {status}\n--- stdout\n{out}\n--- stderr\n{err}")
                }
            }
        })
        .await
    }

    /// How it ended, `None` while it runs or stands still.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        unwrap(self.process.exit_status())
    }

    /// Waits for its end.
    pub async fn wait_exit(&self, within: Duration) -> ExitStatus {
        unwrap(self.process.wait_exit(within).await)
    }

    /// SIGSTOP, to it and its children; returns when they stand still.
    pub async fn pause(&self) {
        unwrap(self.process.pause().await);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        unwrap(self.process.resume());
    }

    /// SIGKILL, to it and its children; returns when it is gone.
    pub fn kill(&self) -> ExitStatus {
        unwrap(self.process.kill())
    }

    /// SIGTERM; does not wait, see [`Self::wait_exit`].
    pub fn terminate(&self) {
        unwrap(self.process.signal(Signal::Terminate));
    }

    /// SIGINT; does not wait.
    pub fn interrupt(&self) {
        unwrap(self.process.signal(Signal::Interrupt));
    }
}

fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn unwrap<T>(result: Result<T, SandboxError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
