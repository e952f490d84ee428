//! [`Ballots`]: what each prober says, in Redis, so that every other one hears it.
//!
//! One hash has two fields for each prober: when it spoke, by the clock of Redis, and what it said. Whoever has been silent for
//! longer than [`LASTS`] is forgotten, so that a prober that died keeps no alert from opening. While Redis does not answer, every
//! prober decides alone (ruling 44).

use std::sync::Arc;
use std::time::Duration;

use eidos_types::NodeId;

use super::shared_redis::SharedRedis;
use crate::domain::vote::Ballot;

/// How long what a prober said counts.
pub const LASTS: Duration = Duration::from_secs(15);

/// Writes what this prober says, and returns what the others said lately. Whoever is silent for too long is removed.
const SPEAK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'at:' .. ARGV[1], now, 'says:' .. ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[3])
local said = {}
local all = redis.call('HGETALL', KEYS[1])
local fields = {}
for i = 1, #all, 2 do
  fields[all[i]] = all[i + 1]
end
for field, at in pairs(fields) do
  if string.sub(field, 1, 3) == 'at:' then
    local node = string.sub(field, 4)
    if now - at > tonumber(ARGV[3]) then
      redis.call('HDEL', KEYS[1], field, 'says:' .. node)
    elseif node ~= ARGV[1] then
      said[#said + 1] = fields['says:' .. node] or ''
    end
  end
end
return said
";

/// What probers say to each other.
pub struct Ballots {
    redis: Arc<SharedRedis>,
    node: NodeId,
}

impl Ballots {
    /// Of the probers that share this Redis.
    #[must_use]
    pub const fn new(redis: Arc<SharedRedis>, node: NodeId) -> Self {
        Self { redis, node }
    }

    /// Says something, and returns what the others said lately; `None`: Redis does not answer. What cannot be understood, from a
    /// prober of another version, is left out.
    pub async fn speak(&self, ballot: &Ballot) -> Option<Vec<Ballot>> {
        let says = serde_json::to_string(ballot).ok()?;
        let mut commands = redis::pipe();
        commands
            .cmd("EVAL")
            .arg(SPEAK)
            .arg(1)
            .arg(format!("{}:probers", self.redis.prefix()));
        commands
            .arg(self.node.to_string())
            .arg(says)
            .arg(i64::try_from(LASTS.as_millis()).unwrap_or(i64::MAX));
        let answers: Vec<Vec<String>> = self.redis.send(&commands).await?;
        let said = answers.into_iter().flatten();
        Some(said.filter_map(|text| serde_json::from_str(&text).ok()).collect())
    }
}
