//! [`ManagedProcess`]: a child that dies with us, logs to a file and is waited for with a limit.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::error::SandboxError;
use crate::{process_table, programs, spawner};

/// Pause between two looks at a process or a port.
const POLL: Duration = Duration::from_millis(10);

/// Longest wait for what SIGKILL and SIGSTOP do: the kernel acts at once, unless a disk hangs.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Lines of the log that go into an error.
const LOG_TAIL_LINES: usize = 20;

/// Variables a child inherits; everything else it must be given, so that a developer's shell cannot change a test.
const INHERITED: [&str; 8] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "RUST_BACKTRACE",
    "LLVM_PROFILE_FILE",
    "LD_LIBRARY_PATH",
    "EIDOS_ANVIL",
    "EIDOS_POSTGRES_BIN",
];

/// How a whole run shares a clock that jumps (`scripts/simulate-recon`); inherited only where there is one.
const SHARED_CLOCK: [&str; 3] = [
    "FAKETIME_TIMESTAMP_FILE",
    "FAKETIME_NO_CACHE",
    "FAKETIME_DONT_FAKE_MONOTONIC",
];

/// Another user to run a child as; only root can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id; supplementary groups are cleared.
    pub gid: u32,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// Name for messages.
    pub name: String,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, on top of `PATH`, `HOME` and a few more.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; ours when `None`.
    pub current_dir: Option<PathBuf>,
    /// Another user to run it as.
    pub run_as: Option<RunAs>,
    /// True if it has the machine's clock where others share one that jumps.
    pub has_real_clock: bool,
    /// Standard output is appended to this file.
    pub stdout: PathBuf,
    /// Standard error is appended to this file, which may be the same.
    pub stderr: PathBuf,
}

impl ProcessSpec {
    /// A process whose both outputs go to `log`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let log = log.into();
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            current_dir: None,
            run_as: None,
            has_real_clock: false,
            stdout: log.clone(),
            stderr: log,
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

    /// The machine's clock also where the others share one that jumps: for programs that libfaketime breaks.
    #[must_use]
    pub const fn with_real_clock(mut self) -> Self {
        self.has_real_clock = true;
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    fn command(&self) -> Result<Command, SandboxError> {
        // setpriv reports a missing program only through its exit code, so it is looked for here.
        if !programs::is_executable(&self.program) {
            let missing = std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("{} is not an executable file", self.program.display()),
            );
            return Err(SandboxError::process("start", &self.name)(missing));
        }
        let mut command = Command::new(programs::find_program(
            "setpriv",
            "the Debian package util-linux",
        )?);
        if let Some(RunAs { uid, gid }) = self.run_as {
            command.args([
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command.args(["--pdeathsig", "KILL", "--"]);
        let clock = std::env::var_os(SHARED_CLOCK[0])
            .filter(|_file| !self.has_real_clock)
            .map(|_file| &SHARED_CLOCK);
        if let Some(library) = std::env::var_os("LD_PRELOAD").filter(|_| clock.is_some()) {
            // Not in setpriv: what libfaketime shares in a process belongs to the user that it had at its start.
            let mut preload = OsString::from("LD_PRELOAD=");
            preload.push(library);
            command.arg("env").arg(preload);
        }
        command.arg(&self.program).args(&self.args);
        command.env_clear();
        command.envs(
            INHERITED
                .iter()
                .chain(clock.into_iter().flatten())
                .filter_map(|key| std::env::var_os(key).map(|value| (key, value))),
        );
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.current_dir {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::null())
            .stdout(append_to(&self.stdout)?)
            .stderr(append_to(&self.stderr)?);
        Ok(command)
    }
}

fn append_to(path: &Path) -> Result<File, SandboxError> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(SandboxError::file("open", path))
}

/// The signals a harness sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: please stop.
    Terminate,
    /// SIGINT: PostgreSQL's "fast shutdown", a person's Ctrl-C.
    Interrupt,
    /// SIGKILL: gone at once, nothing runs any more.
    Kill,
    /// SIGSTOP: stands still and cannot refuse.
    Stop,
    /// SIGCONT: goes on as if nothing had happened.
    Continue,
}

impl From<Signal> for nix::sys::signal::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Terminate => Self::SIGTERM,
            Signal::Interrupt => Self::SIGINT,
            Signal::Kill => Self::SIGKILL,
            Signal::Stop => Self::SIGSTOP,
            Signal::Continue => Self::SIGCONT,
        }
    }
}

/// A running child. Dropping it kills it and everything it started.
///
/// It also dies when this process dies, whatever the cause: all children are started with a parent-death signal
/// from one long-lived thread (see the `spawner` module for why the thread matters).
#[derive(Debug)]
pub struct ManagedProcess {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    log: PathBuf,
}

impl ManagedProcess {
    /// Starts the process; it may not be ready yet, see [`Self::wait_ready`].
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`] for `setpriv`, [`SandboxError::Process`] when the program is missing or
    /// cannot be started, [`SandboxError::File`] for its log.
    pub fn spawn(spec: &ProcessSpec) -> Result<Self, SandboxError> {
        let child = spawner::spawn(spec.command()?).map_err(SandboxError::process("start", &spec.name))?;
        let raw = i32::try_from(child.id()).unwrap_or(i32::MAX);
        tracing::debug!(process = spec.name, pid = raw, "started");
        Ok(Self {
            name: spec.name.clone(),
            pid: Pid::from_raw(raw),
            child: Mutex::new(child),
            log: spec.stderr.clone(),
        })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw()).unwrap_or(0)
    }

    /// The name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>, SandboxError> {
        self.lock()
            .try_wait()
            .map_err(SandboxError::process("wait for", &self.name))
    }

    /// Sends a signal to this process alone.
    ///
    /// # Errors
    /// [`SandboxError::Exited`] when it is gone already.
    pub fn signal(&self, signal: Signal) -> Result<(), SandboxError> {
        let mut child = self.lock();
        // Until it is waited for, a dead child keeps its pid, so no stranger can be hit.
        if let Some(status) = child
            .try_wait()
            .map_err(SandboxError::process("wait for", &self.name))?
        {
            return Err(self.exited(status));
        }
        send(self.pid, signal).map_err(SandboxError::process("signal", &self.name))
    }

    /// Stops this process and everything it started, and returns when all of them stand still.
    ///
    /// # Errors
    /// [`SandboxError::Exited`]; [`SandboxError::Late`] when it does not stop within five seconds.
    pub async fn pause(&self) -> Result<(), SandboxError> {
        // The parent first: it cannot start another child behind our back.
        self.signal(Signal::Stop)?;
        self.until_stopped(self.pid).await?;
        for pid in process_table::descendants(self.pid) {
            if send(pid, Signal::Stop).is_ok() {
                self.until_stopped(pid).await?;
            }
        }
        Ok(())
    }

    /// Lets a paused process and everything it started go on.
    pub fn resume(&self) -> Result<(), SandboxError> {
        for pid in process_table::descendants(self.pid) {
            // A child that ended meanwhile needs no signal.
            let _ = send(pid, Signal::Continue);
        }
        self.signal(Signal::Continue)
    }

    /// Kills this process and everything it started with SIGKILL and waits for its end. Killing a dead process is
    /// no error.
    pub fn kill(&self) -> Result<ExitStatus, SandboxError> {
        let mut child = self.lock();
        let waiting = SandboxError::process("wait for", &self.name);
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(waiting(error)),
        }
        // Stopped first, so that it can neither start a child while we look nor reap one and free its pid.
        let _ = send(self.pid, Signal::Stop);
        let descendants = process_table::descendants(self.pid);
        for pid in descendants.iter().copied().chain([self.pid]) {
            let _ = send(pid, Signal::Kill);
        }
        let status = child.wait().map_err(waiting)?;
        // Init waits for the others; until the kernel is done with them they may still hold locks and ports.
        let started = Instant::now();
        while started.elapsed() < KILL_LIMIT && descendants.iter().any(|pid| process_table::exists(*pid)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(status)
    }

    /// Waits until the process ended by itself.
    ///
    /// # Errors
    /// [`SandboxError::Late`] when it still runs after `limit`.
    pub async fn wait_exit(&self, limit: Duration) -> Result<ExitStatus, SandboxError> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if started.elapsed() >= limit {
                return Err(self.late("end", limit));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// [`SandboxError::Exited`] when the process ends first and [`SandboxError::Late`] after `limit`, both with the
    /// last lines of its log.
    pub async fn wait_ready<F>(
        &self,
        limit: Duration,
        mut ready: impl FnMut() -> F,
    ) -> Result<(), SandboxError>
    where
        F: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                return Err(self.exited(status));
            }
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(self.late("become ready", limit));
            }
            if tokio::time::timeout(left, ready()).await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The last lines it logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(LOG_TAIL_LINES)..)
            .unwrap_or_default()
            .join("\n")
    }

    async fn until_stopped(&self, pid: Pid) -> Result<(), SandboxError> {
        let started = Instant::now();
        while !process_table::is_stopped(pid) {
            if !process_table::exists(pid) {
                return Ok(());
            }
            if started.elapsed() >= KILL_LIMIT {
                return Err(self.late("stop on SIGSTOP", KILL_LIMIT));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exited(&self, status: ExitStatus) -> SandboxError {
        SandboxError::Exited {
            name: self.name.clone(),
            status,
            log: self.log.clone(),
            log_tail: self.log_tail(),
        }
    }

    fn late(&self, what: &'static str, waited: Duration) -> SandboxError {
        SandboxError::Late {
            name: self.name.clone(),
            what,
            waited,
            log: self.log.clone(),
            log_tail: self.log_tail(),
        }
    }
}

impl Drop for ManagedProcess {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(process = self.name, %error, "could not be killed");
        }
    }
}

fn send(pid: Pid, signal: Signal) -> std::io::Result<()> {
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::from(signal)).map_err(std::io::Error::from)
}
