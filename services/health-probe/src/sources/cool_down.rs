//! [`CoolDown`]: what receivers heard from any replica, in Redis, so that one of them tells each.
//!
//! 1. Whoever has a notice takes the lease of its alert and receiver, or waits while another replica has it.
//! 2. It reads what the receiver heard. If that was the same, lately, it gives the lease back and sends nothing.
//! 3. It writes what it begins to say, sends, writes what the receiver has heard now, and gives the lease back. If the receiver
//!    did not accept the notice, it only gives the lease back.
//!
//! A replica that dies in between delays the notice until its lease ends; the next one repeats it under the same episode and
//! number. While Redis does not answer, every replica sends: duplicates are better than silence (ruling 44).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eidos_alerting::{Heard, Notice, Turn};
use eidos_types::NodeId;

use super::shared_redis::SharedRedis;

/// A lease lasts longer than the delivery that it is for.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// Takes the lease, and returns 1, what the receiver heard and for how many milliseconds that is kept; or only 0 while another
/// replica has the lease.
const TAKE: &str = r"
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {0, '', 0}
end
return {1, redis.call('GET', KEYS[2]) or '', redis.call('PTTL', KEYS[2])}
";

/// Writes what the receiver heard, if there is something to write, and gives the lease back, if it is told to. Returns 0 if the
/// lease is no longer ours.
const WRITE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
if ARGV[4] == 'give' then
  redis.call('DEL', KEYS[1])
end
return 1
";

/// The memory that replicas share.
pub struct CoolDown {
    redis: Arc<SharedRedis>,
    /// The owner of our leases, with a number for each.
    node: NodeId,
    leases: AtomicU64,
    /// How long the same is not said again.
    lasts: Duration,
}

/// What a replica does with a notice now.
#[derive(Debug)]
pub enum Asked {
    /// It sends the notice, as it is here, and says afterwards what became of it.
    Send(Box<Notice>, Permit),
    /// Another one has told the receiver.
    Told,
    /// Another one is telling the receiver.
    Wait,
}

/// The lease of a notice that is being sent; `None`: Redis does not answer, so there is none.
#[derive(Debug)]
#[must_use]
pub struct Permit(Option<Held>);

#[derive(Debug)]
struct Held {
    keys: [String; 2],
    token: String,
}

/// What becomes of a lease.
#[derive(Debug, Clone, Copy)]
enum Lease {
    Kept,
    GivenBack,
}

impl CoolDown {
    /// For replicas that share this Redis.
    #[must_use]
    pub fn new(redis: Arc<SharedRedis>, node: NodeId, lasts: Duration) -> Self {
        Self {
            redis,
            node,
            leases: AtomicU64::new(0),
            lasts,
        }
    }

    /// Asks what to do with a notice to `sink`, whose deliveries take `delivery` at most.
    pub async fn ask(&self, sink: &str, notice: &Notice, delivery: Duration, now_ms: i64) -> Asked {
        let alone = || Asked::Send(Box::new(notice.clone()), Permit(None));
        let held = self.held(sink, notice);
        let Some((is_ours, text, left_ms)) = self.take(&held, delivery).await else {
            return alone();
        };
        if !is_ours {
            return Asked::Wait;
        }
        // It is kept for twice the time, so that whoever comes after it still knows the episode.
        let is_cool = left_ms > millis(self.lasts);
        let heard = serde_json::from_str::<Heard>(&text).ok();
        let Turn::Send(sending) = Heard::turn(heard.as_ref(), is_cool, notice) else {
            self.write(&held, None, Lease::GivenBack).await;
            return Asked::Told;
        };
        if let Some(begun) = Heard::before(heard.as_ref(), &sending, now_ms) {
            self.write(&held, Some(&begun), Lease::Kept).await;
        }
        Asked::Send(sending, Permit(Some(held)))
    }

    /// Says what the receiver has heard by now; `None`: it did not accept the notice.
    pub async fn done(&self, permit: Permit, heard: Option<&Heard>) {
        if let Permit(Some(held)) = permit
            && self.write(&held, heard, Lease::GivenBack).await == Some(0)
        {
            tracing::warn!(
                key = held.keys[0],
                "a delivery took longer than its lease: another replica may have told the same"
            );
        }
    }

    async fn take(&self, held: &Held, delivery: Duration) -> Option<(bool, String, i64)> {
        let mut commands = redis::pipe();
        commands.cmd("EVAL").arg(TAKE).arg(2).arg(&held.keys);
        commands.arg(&held.token).arg(millis(delivery + LEASE_SLACK));
        let answers: Vec<(bool, String, i64)> = self.redis.send(&commands).await?;
        answers.into_iter().next()
    }

    async fn write(&self, held: &Held, heard: Option<&Heard>, lease: Lease) -> Option<u8> {
        let heard = heard.and_then(|heard| serde_json::to_string(heard).ok());
        let then = match lease {
            Lease::Kept => "keep",
            Lease::GivenBack => "give",
        };
        let mut commands = redis::pipe();
        commands.cmd("EVAL").arg(WRITE).arg(2).arg(&held.keys);
        commands.arg(&held.token).arg(heard.unwrap_or_default());
        commands.arg(millis(self.lasts * 2)).arg(then);
        let answers: Vec<u8> = self.redis.send(&commands).await?;
        answers.into_iter().next()
    }

    /// Both keys of an alert and receiver share a hash tag.
    fn held(&self, sink: &str, notice: &Notice) -> Held {
        let prefix = self.redis.prefix();
        let alert = format!("{prefix}:alerts:{{{sink}:{}}}", notice.alert.fingerprint());
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        Held {
            keys: [format!("{alert}:lease"), format!("{alert}:heard")],
            token: format!("{}:{number}", self.node),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
