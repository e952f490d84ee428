//! [`Info`] and [`judge`]: what `INFO` of Redis says.

use std::collections::BTreeMap;

use super::limits::Limits;
use super::observation::Seen;
use super::postgres::Role;
use super::text::percent;
use super::verdict::Verdict;

/// The fields of `INFO`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// Reads the lines `name:value`; everything else is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            fields
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    fn text(&self, field: &str) -> &str {
        self.0.get(field).map(String::as_str).unwrap_or_default()
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.text(field).parse().ok()
    }

    /// How many keys this process of the server has evicted, with the identity of the process; `None`: it does not say.
    #[must_use]
    pub fn evictions(&self) -> Option<Evictions> {
        Some(Evictions {
            run_id: self.text("run_id").to_owned(),
            keys: self.number("evicted_keys")?,
        })
    }
}

/// A counter that begins anew with the server's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evictions {
    /// The process.
    pub run_id: String,
    /// Keys so far.
    pub keys: u64,
}

/// Judges the answer; `before` is what the last probe saw.
#[must_use]
pub fn judge(info: &Info, before: Option<&Evictions>, role: Option<Role>, limits: &Limits) -> Verdict {
    let mut verdict = of_role(info, role);
    if info.text("loading") == "1" {
        verdict.add(Seen::Failed, "it is loading its data, and answers nothing else");
    }
    let share = |used: &str, allowed: &str| {
        let (used, allowed) = (
            info.number(used)?,
            info.number(allowed).filter(|allowed| *allowed > 0)?,
        );
        Some((used, allowed, percent(used, allowed)))
    };
    if let Some((used, allowed, share)) = share("used_memory", "maxmemory") {
        let why = || format!("{used} of {allowed} bytes of memory are in use");
        verdict.grade(share, &limits.memory(), why);
    }
    if let Some((used, allowed, share)) = share("connected_clients", "maxclients") {
        let why = || format!("{used} of {allowed} connections are in use");
        verdict.grade(share, &limits.connections(), why);
    }
    if let (Some(now), Some(before)) = (info.evictions(), before)
        && now.run_id == before.run_id
    {
        let keys = now.keys.saturating_sub(before.keys);
        verdict.grade(keys, &limits.evictions(), || {
            format!("{keys} keys were evicted since the last probe: give it more memory, or let it hold less")
        });
    }
    if info.text("rdb_last_bgsave_status") == "err" || info.text("aof_last_write_status") == "err" {
        verdict.add(Seen::Degraded, "its last save to disk failed: its log says why");
    }
    verdict
}

fn of_role(info: &Info, role: Option<Role>) -> Verdict {
    let mut verdict = Verdict::default();
    match (info.text("role"), role) {
        ("master", Some(Role::Replica)) => {
            verdict.add(Seen::Failed, "it is a primary, and should be a replica");
        }
        ("slave", Some(Role::Primary)) => {
            verdict.add(
                Seen::Failed,
                "it is a replica, and should be the primary: writes are refused",
            );
        }
        ("", _) => verdict.add(Seen::Failed, "its answer to INFO names no role: is it Redis?"),
        _ => {}
    }
    if info.text("role") == "slave" && info.text("master_link_status") != "up" {
        verdict.add(Seen::Degraded, "the replica has no connection to its primary");
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nrun_id:a\r\nrole:master\r\nloading:0\r\nused_memory:80\r\nmaxmemory:100\r\n\
                        connected_clients:1\r\nmaxclients:100\r\nevicted_keys:7\r\n";

    #[test]
    fn each_field_is_judged_and_an_answer_without_any_is_none() {
        let limits = Limits::defaults();
        let before = Evictions {
            run_id: "a".to_owned(),
            keys: 7,
        };
        let verdict = |text: &str, role| judge(&Info::parse(text), Some(&before), role, &limits);
        assert_eq!(verdict(GOOD, Some(Role::Primary)), Verdict::default());
        for (change, seen, part) in [
            (
                ("role:master", "role:slave\r\nmaster_link_status:up"),
                Seen::Failed,
                "is a replica",
            ),
            (("loading:0", "loading:1"), Seen::Failed, "loading"),
            (
                ("used_memory:80", "used_memory:81"),
                Seen::Degraded,
                "81 of 100 bytes",
            ),
            (
                ("used_memory:80", "used_memory:96"),
                Seen::Failed,
                "96 of 100 bytes",
            ),
            (
                ("connected_clients:1", "connected_clients:96"),
                Seen::Failed,
                "96 of 100 connections",
            ),
            (
                ("evicted_keys:7", "evicted_keys:8"),
                Seen::Degraded,
                "1 keys were evicted",
            ),
            // Another process counts anew.
            (
                ("run_id:a\r\nrole", "run_id:b\r\nevicted_keys:1\r\nrole"),
                Seen::Good,
                "",
            ),
            (("maxmemory:100", "maxmemory:0"), Seen::Good, ""),
            (
                ("role:master", "rdb_last_bgsave_status:err\r\nrole:master"),
                Seen::Degraded,
                "save",
            ),
        ] {
            let text = GOOD.replace(change.0, change.1);
            let verdict = verdict(&text, Some(Role::Primary));
            assert_eq!(verdict.seen(), seen, "{change:?}: {}", verdict.why());
            assert!(verdict.why().contains(part), "{change:?}: {}", verdict.why());
        }
        let cut_off = GOOD.replace("role:master", "role:slave");
        assert_eq!(verdict(&cut_off, None).seen(), Seen::Degraded);
        assert_eq!(verdict("nonsense", None).seen(), Seen::Failed);
        // The first look has nothing to compare with.
        assert_eq!(judge(&Info::parse(GOOD), None, None, &limits).seen(), Seen::Good);
    }
}
