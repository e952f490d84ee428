//! The three scripts. Each is one atomic step in Redis; both keys of a job share a hash tag, hence a cluster slot.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};

/// Returns `{1, token}` when held by this owner, `{0, remaining ms}` when held by another.
///
/// The same owner gets its existing token again: a repeated request is not a second lease. The counter never
/// falls below `floor`, so a Redis that forgot it heals itself. (Lua numbers are exact up to 2^53.)
static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local owner, ttl_ms, floor = ARGV[1], ARGV[2], tonumber(ARGV[3])
local held = redis.call('GET', KEYS[1])
if held then
  local at = string.find(held, '|', 1, true)
  if at and string.sub(held, 1, at - 1) == owner then
    redis.call('PEXPIRE', KEYS[1], ttl_ms)
    return {1, tonumber(string.sub(held, at + 1))}
  end
  return {0, redis.call('PTTL', KEYS[1])}
end
local counter = tonumber(redis.call('GET', KEYS[2]) or '0')
if counter < floor then
  redis.call('SET', KEYS[2], ARGV[3])
end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], owner .. '|' .. token, 'PX', ttl_ms)
return {1, token}
",
    )
});

/// Returns 1 when extended, 0 when the key is gone or somebody else's. Never creates.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
",
    )
});

/// Deletes the lock of this owner, whatever its token. Returns 1 when there was one.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, string.len(ARGV[1]) + 1) == ARGV[1] .. '|' then
  return redis.call('DEL', KEYS[1])
end
return 0
",
    )
});

/// The keys of one job: `{<prefix>:<job>}` and `{<prefix>:<job>}:fence`.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    lock: String,
    fence: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, job: &eidos_types::JobName) -> Self {
        // Braces inside the prefix would move the hash tag.
        let prefix: String = prefix.chars().filter(|c| !matches!(c, '{' | '}')).collect();
        let lock = format!("{{{prefix}:{job}}}");
        let fence = format!("{lock}:fence");
        Self { lock, fence }
    }
}

/// What [`acquire`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Held {
        token: u64,
    },
    /// Remaining life in ms; negative when the key has no end, which only a person's hand can cause.
    Refused {
        remaining_ms: i64,
    },
}

pub(super) async fn acquire(
    conn: &mut MultiplexedConnection,
    keys: &Keys,
    owner: &str,
    ttl_ms: u64,
    floor: i64,
) -> RedisResult<Found> {
    let (held, number): (i64, i64) = ACQUIRE
        .key(&keys.lock)
        .key(&keys.fence)
        .arg(owner)
        .arg(ttl_ms)
        .arg(floor.max(0))
        .invoke_async(conn)
        .await?;
    Ok(if held == 1 {
        Found::Held {
            token: u64::try_from(number).unwrap_or_default(),
        }
    } else {
        Found::Refused { remaining_ms: number }
    })
}

pub(super) async fn renew(
    conn: &mut MultiplexedConnection,
    keys: &Keys,
    owner: &str,
    token: u64,
    ttl_ms: u64,
) -> RedisResult<bool> {
    let extended: i64 = RENEW
        .key(&keys.lock)
        .arg(format!("{owner}|{token}"))
        .arg(ttl_ms)
        .invoke_async(conn)
        .await?;
    Ok(extended == 1)
}

pub(super) async fn release(conn: &mut MultiplexedConnection, keys: &Keys, owner: &str) -> RedisResult<bool> {
    let deleted: i64 = RELEASE.key(&keys.lock).arg(owner).invoke_async(conn).await?;
    Ok(deleted == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_of_a_job_share_a_hash_tag() {
        let keys = Keys::new("eidos:{job}:lock", &"archive-data".parse().unwrap());
        assert_eq!(keys.lock, "{eidos:job:lock:archive-data}");
        assert_eq!(keys.fence, "{eidos:job:lock:archive-data}:fence");
    }
}
