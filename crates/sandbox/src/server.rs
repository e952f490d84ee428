//! [`Server`]: a process that can be stopped and started again under the same address.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::error::SandboxError;
use crate::process::{ManagedProcess, ProcessSpec, Signal};

/// Longest wait for an orderly end before SIGKILL.
const STOP_WITHIN: Duration = Duration::from_secs(20);

type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// How to start it, how to know that it is ready, how to ask it to end.
pub(crate) struct Server {
    spec: ProcessSpec,
    stop_signal: Signal,
    ready_within: Duration,
    probe: Probe,
    running: Mutex<Option<ManagedProcess>>,
}

impl Server {
    pub(crate) fn new<F>(
        spec: ProcessSpec,
        stop_signal: Signal,
        ready_within: Duration,
        probe: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let probe: Probe = Box::new(move || Box::pin(probe()));
        Self {
            spec,
            stop_signal,
            ready_within,
            probe,
            running: Mutex::new(None),
        }
    }

    /// Starts it and waits until it answers; does nothing when it runs.
    pub(crate) async fn start(&self) -> Result<(), SandboxError> {
        let mut running = self.running.lock().await;
        if let Some(process) = running.as_ref()
            && process.exit_status()?.is_none()
        {
            return Ok(());
        }
        let process = ManagedProcess::spawn(&self.spec)?;
        process.wait_ready(self.ready_within, &self.probe).await?;
        *running = Some(process);
        Ok(())
    }

    /// Asks it to end, waits, and kills it when it does not.
    pub(crate) async fn stop(&self) -> Result<(), SandboxError> {
        let Some(process) = self.running.lock().await.take() else {
            return Ok(());
        };
        if process.exit_status()?.is_none() {
            process.resume()?;
            process.signal(self.stop_signal)?;
            if process.wait_exit(STOP_WITHIN).await.is_err() {
                process.kill()?;
            }
        }
        Ok(())
    }

    pub(crate) async fn restart(&self) -> Result<(), SandboxError> {
        self.stop().await?;
        self.start().await
    }

    pub(crate) async fn kill(&self) -> Result<(), SandboxError> {
        match self.running.lock().await.take() {
            Some(process) => process.kill().map(drop),
            None => Ok(()),
        }
    }

    pub(crate) async fn pause(&self) -> Result<(), SandboxError> {
        self.with_running(async |process| process.pause().await).await
    }

    pub(crate) async fn resume(&self) -> Result<(), SandboxError> {
        self.with_running(async |process| process.resume()).await
    }

    pub(crate) async fn pid(&self) -> Option<u32> {
        self.running.lock().await.as_ref().map(ManagedProcess::pid)
    }

    pub(crate) fn log(&self) -> &std::path::Path {
        &self.spec.stderr
    }

    /// For `Drop` of servers whose data outlives them: asks, waits without a runtime, then kills.
    pub(crate) fn stop_blocking(&mut self, limit: Duration) {
        let Some(process) = self.running.get_mut().take() else {
            return;
        };
        if process
            .resume()
            .and_then(|()| process.signal(self.stop_signal))
            .is_err()
        {
            return;
        }
        let started = std::time::Instant::now();
        while started.elapsed() < limit && matches!(process.exit_status(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    async fn with_running(
        &self,
        act: impl AsyncFnOnce(&ManagedProcess) -> Result<(), SandboxError>,
    ) -> Result<(), SandboxError> {
        match self.running.lock().await.as_ref() {
            Some(process) => act(process).await,
            None => Err(SandboxError::NotRunning {
                name: self.spec.name.clone(),
            }),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// The life of a server, the same for all of them.
macro_rules! server_lifecycle {
    ($type:ty) => {
        impl $type {
            /// Starts it again after [`Self::stop`] or [`Self::kill`], under the same address; returns when it
            /// answers. Does nothing when it runs.
            pub async fn start_again(&self) -> Result<(), $crate::SandboxError> {
                self.server.start().await
            }

            /// Ends it in its orderly way; SIGKILL after 20 s.
            pub async fn stop(&self) -> Result<(), $crate::SandboxError> {
                self.server.stop().await
            }

            /// [`Self::stop`], then [`Self::start_again`].
            pub async fn restart(&self) -> Result<(), $crate::SandboxError> {
                self.server.restart().await
            }

            /// SIGKILL to the server and all its children: the crash of the program, not of the machine.
            pub async fn kill(&self) -> Result<(), $crate::SandboxError> {
                self.server.kill().await
            }

            /// SIGSTOP: connections stay open and nobody answers. Returns when it stands still.
            pub async fn pause(&self) -> Result<(), $crate::SandboxError> {
                self.server.pause().await
            }

            /// SIGCONT after [`Self::pause`].
            pub async fn resume(&self) -> Result<(), $crate::SandboxError> {
                self.server.resume().await
            }

            /// Its process id, `None` while it is stopped.
            pub async fn pid(&self) -> Option<u32> {
                self.server.pid().await
            }

            /// Its port on 127.0.0.1, the same over all restarts.
            #[must_use]
            pub const fn port(&self) -> u16 {
                self.port.port()
            }

            /// Its log file.
            #[must_use]
            pub fn log_path(&self) -> &std::path::Path {
                self.server.log()
            }
        }
    };
}
pub(crate) use server_lifecycle;
