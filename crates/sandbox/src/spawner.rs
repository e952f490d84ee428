//! The one thread that starts children, so that they die with this process.
//!
//! Children are started through `setpriv --pdeathsig KILL`: the kernel sends them SIGKILL when their parent dies,
//! however it dies. The catch is that "parent" means the *thread* that forked, not the process: a child started
//! from a test's thread would be killed when that test ends, although a static server is to outlive it. So one
//! thread, which lives as long as the process, starts them all.
//!
//! One gap is left: a parent killed in the microseconds between the fork and `prctl` leaves an orphan.

use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};

struct Request {
    command: Command,
    reply: mpsc::SyncSender<std::io::Result<Child>>,
}

static SPAWNER: LazyLock<std::io::Result<mpsc::Sender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<Request>();
    std::thread::Builder::new()
        .name("sandbox-spawner".to_owned())
        .spawn(move || {
            // The sender is static: this loop ends with the process.
            for mut request in requests {
                let child = request.command.spawn();
                let _ = request.reply.send(child);
            }
        })?;
    Ok(sender)
});

/// Starts `command` from the spawner thread.
pub(crate) fn spawn(command: Command) -> std::io::Result<Child> {
    let sender = SPAWNER
        .as_ref()
        .map_err(|error| std::io::Error::new(error.kind(), error.to_string()))?;
    let (reply, answer) = mpsc::sync_channel(1);
    sender.send(Request { command, reply }).map_err(|_gone| gone())?;
    answer.recv().map_err(|_gone| gone())?
}

fn gone() -> std::io::Error {
    std::io::Error::other("the thread that starts children has ended")
}
