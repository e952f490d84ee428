//! The watchdog thread: one small runtime, one connection, one task per lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use eidos_telemetry::metric;
use eidos_types::JobName;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acquire::{self, Answer, Granted};
use super::error::LeaseError;
use super::held::{Acquired, Lease, LostReason, Shared};
use super::link::{CLUSTER, Failed, Link};
use super::request::LeaseRequest;
use super::scripts;
use super::term::Moment;

type ReleaseReply = oneshot::Sender<Result<(), LeaseError>>;
/// Where the thread says whether the server can be used.
pub(super) type Ready = oneshot::Sender<Result<(), LeaseError>>;

/// What handles ask of the thread.
#[derive(Debug)]
pub(super) enum Command {
    Acquire {
        request: Box<LeaseRequest>,
        reply: oneshot::Sender<Result<Acquired, LeaseError>>,
    },
    Ping {
        reply: oneshot::Sender<Result<Duration, LeaseError>>,
    },
}

/// The longest a lease's task sleeps: how soon it notices that the machine was suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The thread's body: serves commands until the last handle is gone and the last lease has ended. `ready`: `None` serves
/// without asking the server first.
pub(super) fn run(link: Link, mut inbox: mpsc::Receiver<Command>, ready: Option<Ready>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Without a listener, every command is answered with "the thread has ended".
            let _gone = ready.map(|ready| ready.send(Err(LeaseError::Stopped(error.to_string()))));
            return;
        }
    };
    runtime.block_on(async move {
        let link = Arc::new(link);
        if let Some(ready) = ready {
            let reachable = usable(&link).await;
            let give_up = reachable.is_err();
            if ready.send(reachable).is_err() || give_up {
                return;
            }
        }
        let tasks = TaskTracker::new();
        while let Some(command) = inbox.recv().await {
            tasks.spawn(serve(Arc::clone(&link), tasks.clone(), command));
        }
        tasks.close();
        tasks.wait().await;
    });
}

async fn serve(link: Arc<Link>, tasks: TaskTracker, command: Command) {
    match command {
        Command::Ping { reply } => {
            let _gone = reply.send(ping(&link).await);
        }
        Command::Acquire { request, reply } => {
            let started = Moment::now();
            let answer = acquire::acquire(&link, &request).await;
            acquire::record(&request, started, &answer);
            let answer = answer.map(|answer| match answer {
                Answer::Refused { remaining } => Acquired::Refused { remaining },
                Answer::Granted(granted) => Acquired::Held(hand_out(&link, &tasks, &request, granted)),
            });
            if let Err(Ok(Acquired::Held(lease))) = reply.send(answer) {
                // Nobody waits any more; without this the key would stay until its TTL.
                let _best_effort = lease.release().await;
            }
        }
    }
}

/// Whether the server answers, and whether it is one that holds every key.
async fn usable(link: &Link) -> Result<(), LeaseError> {
    ping(link).await?;
    let told = link
        .run(async |conn| {
            let hello = redis::cmd("HELLO");
            hello.query_async::<HashMap<String, redis::Value>>(conn).await
        })
        .await;
    // Every user may say HELLO. Servers before Redis 6 and some proxies do not know it; a cluster shows itself by its
    // first MOVED then.
    let Ok(server) = told else { return Ok(()) };
    let mode = server
        .get("mode")
        .and_then(|mode| redis::from_redis_value_ref::<String>(mode).ok());
    match mode.as_deref() {
        Some("cluster") => Err(link.not_one_server(CLUSTER)),
        Some("sentinel") => Err(link.not_one_server("Sentinel")),
        _ => Ok(()),
    }
}

async fn ping(link: &Link) -> Result<Duration, LeaseError> {
    let started = Moment::now();
    let answered = link
        .run(async |conn| redis::cmd("PING").query_async::<String>(conn).await)
        .await;
    match answered {
        Ok(_pong) => Ok(started.elapsed()),
        Err(failed) => Err(LeaseError::Connect {
            target: link.target().to_owned(),
            cause: failed.into_cause(),
        }),
    }
}

/// Starts the task that keeps a granted lease, and makes its handle.
fn hand_out(link: &Arc<Link>, tasks: &TaskTracker, request: &LeaseRequest, granted: Box<Granted>) -> Lease {
    let shared = Arc::new(Shared {
        token: granted.token,
        lost: CancellationToken::new(),
        reason: OnceLock::new(),
        deadline: Mutex::new(granted.deadline),
    });
    let (release, released) = oneshot::channel();
    let keeping = Keeping {
        link: Arc::clone(link),
        job: request.job.clone(),
        renewing: request.watchdog,
        granted,
        shared: Arc::clone(&shared),
    };
    tasks.spawn(keeping.until(released));
    Lease {
        shared,
        job: request.job.clone(),
        release,
    }
}

/// One held lease.
struct Keeping {
    link: Arc<Link>,
    job: JobName,
    renewing: bool,
    granted: Box<Granted>,
    shared: Arc<Shared>,
}

/// The outcome of one renewal.
enum Renewal {
    Extended,
    NotOurs,
    Unknown,
}

impl Keeping {
    /// Renews until released, lost or dropped.
    async fn until(self, mut released: oneshot::Receiver<ReleaseReply>) {
        let mut next_renewal = Moment::now().plus(self.granted.term.first_renewal());
        loop {
            let now = Moment::now();
            if let Some(reason) = self.overdue(now) {
                self.lose(reason);
                break;
            }
            if self.renewing && next_renewal.remaining(now).is_zero() {
                match self.renew(now).await {
                    Renewal::Extended => {
                        let pause = self.granted.term.next_renewal(rand::random_range(-100..=100));
                        next_renewal = Moment::now().plus(pause);
                    }
                    Renewal::NotOurs => {
                        self.lose(LostReason::NotOurs);
                        break;
                    }
                    Renewal::Unknown => next_renewal = Moment::now().plus(self.granted.term.retry()),
                }
                continue;
            }
            let sleep = self.sleep(now, next_renewal.remaining(now));
            tokio::select! {
                biased;
                request = &mut released => return self.end(request.ok()).await,
                () = tokio::time::sleep(sleep) => {}
            }
        }
        // Lost. The holder still has to stop and say so; the key is deleted if it is ours after all.
        self.end(released.await.ok()).await;
    }

    fn overdue(&self, now: Moment) -> Option<LostReason> {
        if self.shared.deadline().remaining(now).is_zero() {
            return Some(LostReason::Expired);
        }
        self.granted
            .cap
            .remaining(now)
            .is_zero()
            .then_some(LostReason::MaxHold)
    }

    fn sleep(&self, now: Moment, until_renewal: Duration) -> Duration {
        let mut sleep = LONGEST_SLEEP
            .min(self.shared.deadline().remaining(now))
            .min(self.granted.cap.remaining(now));
        if self.renewing {
            sleep = sleep.min(until_renewal);
        }
        sleep
    }

    /// One renewal, cut short at the deadline: an answer after it would come too late to matter.
    async fn renew(&self, sent: Moment) -> Renewal {
        let (holder, term) = (&self.granted.holder, &self.granted.term);
        let limit = self
            .shared
            .deadline()
            .remaining(sent)
            .min(self.granted.cap.remaining(sent));
        let asking = self.link.run(async |conn| {
            scripts::renew(conn, &holder.keys, &holder.name, self.shared.token, term.ttl_ms()).await
        });
        let answer = tokio::time::timeout(limit, asking).await;
        metric::lease_renew_duration(self.job.as_str(), sent.elapsed());
        match answer {
            Ok(Ok(true)) => {
                self.shared.extend(term.deadline(sent));
                Renewal::Extended
            }
            Ok(Ok(false)) => Renewal::NotOurs,
            Ok(Err(Failed::NotSent(error) | Failed::Refused(error) | Failed::Unknown(error))) => {
                tracing::warn!(job = %self.job, %error, "lease renewal without answer; repeating");
                Renewal::Unknown
            }
            Err(_elapsed) => Renewal::Unknown,
        }
    }

    fn lose(&self, reason: LostReason) {
        self.shared.lose(reason);
        metric::lease_lost(self.job.as_str(), reason.as_str());
        tracing::warn!(job = %self.job, token = self.shared.token, %reason, "lease lost");
    }

    /// Gives the key back if the holder asked for it, and lets it lapse if the holder was dropped.
    async fn end(self, request: Option<ReleaseReply>) {
        let Some(reply) = request else { return };
        let started = Moment::now();
        let outcome = loop {
            match acquire::release_once(&self.link, &self.granted.holder).await {
                Ok(_was_ours) => break Ok(()),
                Err(failed) if started.elapsed() > self.link.response_timeout() * 3 => {
                    break Err(LeaseError::Unreachable {
                        job: self.job.clone(),
                        after: started.elapsed(),
                        cause: failed.into_cause(),
                    });
                }
                Err(_retry) => tokio::time::sleep(self.granted.term.retry().min(LONGEST_SLEEP / 5)).await,
            }
        };
        if outcome.is_err() {
            acquire::sweep(&self.link, self.granted.holder, self.granted.term);
        }
        let _gone = reply.send(outcome);
    }
}
