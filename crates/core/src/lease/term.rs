//! How long a lease may be trusted: pure arithmetic over two clocks.

use std::time::{Duration, Instant};

use eidos_settings::lease_margin;
use eidos_types::{Clock, SystemClock};

/// An instant on two clocks. The monotonic one stops while the machine is suspended, the boot one does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    monotonic: Instant,
    boot: Duration,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            boot: boot_time(),
        }
    }

    /// Time since this moment.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed_until(Self::now())
    }

    /// A deadline `length` after this moment.
    pub(super) const fn plus(self, length: Duration) -> Deadline {
        Deadline { since: self, length }
    }

    /// The longer of the two elapsed times: whichever clock saw more, the key in Redis may have seen it too.
    fn elapsed_until(&self, now: Self) -> Duration {
        let monotonic = now.monotonic.saturating_duration_since(self.monotonic);
        monotonic.max(now.boot.saturating_sub(self.boot))
    }
}

/// Time since boot, suspend included (10 ms steps). Where the kernel does not tell, the wall clock stands in: a
/// step forward then looks like a suspend, which errs on the safe side.
fn boot_time() -> Duration {
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    uptime.as_deref().and_then(parse_uptime).unwrap_or_else(|| {
        let wall_ms = SystemClock::default().now_ms();
        Duration::from_millis(u64::try_from(wall_ms).unwrap_or_default())
    })
}

/// `12345.67 23456.78` → 12345.67 s.
fn parse_uptime(text: &str) -> Option<Duration> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = hundredths.get(..2)?.parse().ok()?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_millis(hundredths * 10))
}

/// A length of time that began at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    since: Moment,
    length: Duration,
}

impl Deadline {
    /// What is left of it; zero once it has passed on either clock.
    pub(super) fn remaining(&self, now: Moment) -> Duration {
        self.length.saturating_sub(self.since.elapsed_until(now))
    }

    pub(super) fn instant(&self) -> tokio::time::Instant {
        (self.since.monotonic + self.length).into()
    }
}

/// The limits of one lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    ttl: Duration,
    margin: Duration,
    max_hold: Duration,
}

impl Term {
    /// `None` when the TTL does not exceed the margin; the margin is returned for the message.
    pub(super) fn new(ttl: Duration, grace: Duration, max_hold: Duration) -> Result<Self, Duration> {
        let margin = lease_margin(ttl) + grace;
        if ttl > margin {
            Ok(Self {
                ttl,
                margin,
                max_hold,
            })
        } else {
            Err(margin)
        }
    }

    /// Milliseconds of the key's life.
    pub(super) fn ttl_ms(&self) -> u64 {
        u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// When the holder must have stopped, given that a command sent at `sent` succeeded.
    pub(super) fn deadline(&self, sent: Moment) -> Deadline {
        Deadline {
            since: sent,
            length: self.ttl.saturating_sub(self.margin),
        }
    }

    /// When the holder must have stopped whatever renewals say.
    pub(super) const fn cap(&self, acquired: Moment) -> Deadline {
        Deadline {
            since: acquired,
            length: self.max_hold,
        }
    }

    /// The pause before the first renewal: early, so that a wrong setup shows at once.
    pub(super) fn first_renewal(&self) -> Duration {
        self.ttl / 6
    }

    /// The pause before the next renewal. `jitter` is in thousandths, -100 to 100.
    pub(super) fn next_renewal(&self, jitter: i32) -> Duration {
        let thousandths = u32::try_from(1000 + jitter.clamp(-100, 100)).unwrap_or(1000);
        self.ttl / 3 * thousandths / 1000
    }

    /// The pause before repeating a command whose outcome is unknown.
    pub(super) fn retry(&self) -> Duration {
        (self.ttl / 10).min(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn later(moment: Moment, monotonic: Duration, boot: Duration) -> Moment {
        Moment {
            monotonic: moment.monotonic + monotonic,
            boot: moment.boot + boot,
        }
    }

    #[test]
    fn a_suspend_that_the_monotonic_clock_did_not_see_ends_the_lease() {
        let start = Moment::now();
        let term = Term::new(30 * SECOND, SECOND, 600 * SECOND).unwrap();
        let deadline = term.deadline(start);
        assert_eq!(
            deadline.remaining(later(start, 10 * SECOND, 10 * SECOND)),
            18 * SECOND
        );
        assert_eq!(
            deadline.remaining(later(start, SECOND, 60 * SECOND)),
            Duration::ZERO
        );
    }

    #[test]
    fn a_ttl_that_leaves_no_time_is_refused_with_its_margin() {
        assert_eq!(Term::new(2 * SECOND, SECOND, SECOND).unwrap_err(), 2 * SECOND);
        assert_eq!(
            Term::new(100 * SECOND, Duration::ZERO, SECOND).unwrap().margin,
            2 * SECOND
        );
    }

    #[test]
    fn the_kernels_uptime_is_read() {
        assert_eq!(
            parse_uptime("12345.67 23456.78\n"),
            Some(Duration::from_millis(12_345_670))
        );
        assert_eq!(parse_uptime("nonsense"), None);
    }

    proptest! {
        /// The safety argument of the module: the holder stops before the key can end, and renews before that.
        #[test]
        fn the_holder_stops_before_the_key_ends(
            ttl_ms in 1_500_u64..3_600_000,
            grace_ms in 0_u64..60_000,
            jitter in -1000_i32..1000,
            elapsed_ms in 0_u64..4_000_000,
        ) {
            let ttl = Duration::from_millis(ttl_ms);
            let grace = Duration::from_millis(grace_ms);
            if let Ok(term) = Term::new(ttl, grace, ttl) {
                let sent = Moment::now();
                let elapsed = Duration::from_millis(elapsed_ms);
                let left = term.deadline(sent).remaining(later(sent, elapsed, Duration::ZERO));
                // Trusted at `elapsed` only if a second, 2 % of the TTL and the grace remain of the key.
                if !left.is_zero() {
                    prop_assert!(elapsed + SECOND.max(ttl / 50) + grace < ttl);
                }
                prop_assert!(term.next_renewal(jitter) <= ttl * 11 / 30);
                prop_assert!(term.next_renewal(jitter) + Duration::from_micros(1) >= ttl * 3 / 10);
                prop_assert!(term.first_renewal() < term.next_renewal(jitter));
            } else {
                prop_assert!(ttl <= SECOND.max(ttl / 50) + grace);
            }
        }
    }
}
