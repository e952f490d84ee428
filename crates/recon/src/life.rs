//! The life of a break: what may follow what (docs/adr/0022-the-life-of-a-break.md).
//!
//! ```text
//! open ──acknowledge──▶ acknowledged          auto_closed: a later reading of both sides agreed
//!   ▲                      │                  resolved, written_off: a person said so, with a reason
//!   └── it became worse ───┘
//! open, acknowledged ──▶ resolved | written_off | auto_closed
//! resolved ──seen again, before a clean reading──▶ open
//! ```
//!
//! A break that a person ended stays *live* until a clean reading: what is seen meanwhile belongs to it. Resolved, it opens
//! again; written off, it stays so as long as the difference has the size that was written off. Once a break is not live,
//! the same difference is another break, linked to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a break is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has said that he looks at it.
    Open,
    /// Somebody looks at it.
    Acknowledged,
    /// A person says that the cause is repaired.
    Resolved,
    /// A person accepts the difference as it is.
    WrittenOff,
    /// A later reading of both sides agreed.
    AutoClosed,
}

/// A text that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no state of a break; the states are open, acknowledged, resolved, written_off and auto_closed"
)]
pub struct NoState(String);

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Acknowledged,
        Self::Resolved,
        Self::WrittenOff,
        Self::AutoClosed,
    ];
    /// Those in which a difference still counts.
    pub const UNRESOLVED: [Self; 2] = [Self::Open, Self::Acknowledged];

    /// The name in tables, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::WrittenOff => "written_off",
            Self::AutoClosed => "auto_closed",
        }
    }

    /// Whether the difference still counts.
    #[must_use]
    pub const fn is_unresolved(self) -> bool {
        matches!(self, Self::Open | Self::Acknowledged)
    }

    /// The coarse status beside it: what replicas of the release before, and everything that asks only whether a difference
    /// counts, read.
    #[must_use]
    pub const fn status(self) -> &'static str {
        if self.is_unresolved() { "open" } else { "resolved" }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = NoState;

    fn from_str(text: &str) -> Result<Self, NoState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| NoState(text.to_owned()))
    }
}

/// What decides about the next event of a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// Whether what is seen next belongs to it.
    pub live: bool,
}

/// A difference that a run sees, compared with the newest break of its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// It has the size that the break has.
    pub same_size: bool,
    /// It is more severe than the break was.
    pub is_worse: bool,
    /// The run saw it before the break got to its state.
    pub same_run: bool,
}

/// What a sighting does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighted {
    /// Another occurrence of the break, whose state stays.
    Again(Life),
    /// The break is open again.
    Reopens(Life),
    /// Another break begins, and what is seen next belongs to that one.
    Begins,
}

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Says that he looks at it.
    Acknowledge,
    /// Says who does.
    Assign,
    /// Says anything.
    Comment,
    /// Says that the cause is repaired.
    Resolve,
    /// Accepts the difference.
    WriteOff,
}

impl Edit {
    /// The name of its event.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledged",
            Self::Assign => "assigned",
            Self::Comment => "commented",
            Self::Resolve => "resolved",
            Self::WriteOff => "written_off",
        }
    }
}

/// An edit that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is {state}, and {needs}")]
pub struct NotNow {
    /// Where the break is.
    pub state: State,
    /// What the edit would need.
    needs: &'static str,
}

impl Life {
    /// A break that was just found.
    pub const NEW: Self = Self {
        state: State::Open,
        live: true,
    };

    /// A run saw a difference of this identity.
    #[must_use]
    pub const fn seen(self, seen: Seen) -> Sighted {
        if !self.live {
            return Sighted::Begins;
        }
        match self.state {
            // An acknowledgement covers what the person saw.
            State::Acknowledged if seen.is_worse => Sighted::Reopens(Self::NEW),
            // What a run saw before the person ended the break says nothing about the time after.
            State::Resolved if !seen.same_run => Sighted::Reopens(Self::NEW),
            State::WrittenOff if !seen.same_size => Sighted::Begins,
            State::Open | State::Acknowledged | State::Resolved | State::WrittenOff => Sighted::Again(self),
            State::AutoClosed => Sighted::Begins,
        }
    }

    /// A run compared both sides and found nothing. `None`: that changes nothing.
    #[must_use]
    pub const fn clean(self) -> Option<Self> {
        if !self.live {
            return None;
        }
        let state = if self.state.is_unresolved() {
            State::AutoClosed
        } else {
            self.state
        };
        Some(Self { state, live: false })
    }

    /// A person acts.
    ///
    /// # Errors
    /// [`NotNow`] if the state does not allow it.
    pub const fn edit(self, edit: Edit) -> Result<Self, NotNow> {
        let state = match edit {
            Edit::Comment => self.state,
            Edit::Acknowledge => match self.state {
                State::Open => State::Acknowledged,
                state => {
                    return Err(NotNow {
                        state,
                        needs: "only an open break is acknowledged",
                    });
                }
            },
            _ if !self.state.is_unresolved() => {
                return Err(NotNow {
                    state: self.state,
                    needs: "only an open or acknowledged break is assigned, resolved or written off; a comment is always possible",
                });
            }
            Edit::Assign => self.state,
            Edit::Resolve => State::Resolved,
            Edit::WriteOff => State::WrittenOff,
        };
        Ok(Self { state, ..self })
    }
}

/// How old an unresolved break is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// Below an hour.
    Hour,
    /// Below a day.
    Day,
    /// Below seven days.
    Week,
    /// Seven days and more.
    Older,
}

impl Age {
    /// From young to old.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Older];

    /// The name in metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "lt_1h",
            Self::Day => "lt_24h",
            Self::Week => "lt_7d",
            Self::Older => "ge_7d",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|age| age.as_str() == name)
    }

    /// The first age in seconds that is beyond it; `None`: there is none.
    #[must_use]
    pub const fn end_s(self) -> Option<i64> {
        match self {
            Self::Hour => Some(3_600),
            Self::Day => Some(86_400),
            Self::Week => Some(604_800),
            Self::Older => None,
        }
    }

    /// The least age in seconds.
    #[must_use]
    pub const fn start_s(self) -> i64 {
        match self {
            Self::Hour => i64::MIN,
            Self::Day => 3_600,
            Self::Week => 86_400,
            Self::Older => 604_800,
        }
    }

    /// Of an age in seconds; an age below zero is that of a clock that is behind.
    #[must_use]
    pub fn of_s(seconds: i64) -> Self {
        let is_in = |age: &Self| age.end_s().is_none_or(|end| seconds < end);
        Self::ALL.into_iter().find(is_in).unwrap_or(Self::Older)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Anything that may happen to an identity.
    #[derive(Debug, Clone, Copy)]
    enum Happens {
        Seen { size: u8, severity: u8, run: u8 },
        Clean,
        Edit(Edit),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        let edit = prop_oneof![
            Just(Edit::Acknowledge),
            Just(Edit::Assign),
            Just(Edit::Comment),
            Just(Edit::Resolve),
            Just(Edit::WriteOff),
        ];
        prop_oneof![
            (0..2_u8, 0..2_u8, 0..3_u8).prop_map(|(size, severity, run)| Happens::Seen {
                size,
                severity,
                run
            }),
            Just(Happens::Clean),
            edit.prop_map(Happens::Edit),
        ]
    }

    /// The machine's side of the test: the breaks of one identity as the store keeps them.
    #[derive(Debug, Default)]
    struct Kept {
        breaks: Vec<(Life, u8, u8, u8)>,
    }

    impl Kept {
        fn happen(&mut self, what: Happens) {
            match what {
                Happens::Seen { size, severity, run } => {
                    let decided = self.breaks.last().map(|(life, was, severe, last_run)| {
                        life.seen(Seen {
                            same_size: *was == size,
                            is_worse: severity > *severe,
                            same_run: *last_run == run,
                        })
                    });
                    match decided {
                        Some(Sighted::Again(life) | Sighted::Reopens(life)) => {
                            *self.breaks.last_mut().unwrap() = (life, size, severity, run);
                        }
                        Some(Sighted::Begins) | None => {
                            if let Some((life, ..)) = self.breaks.last_mut() {
                                life.live = false;
                            }
                            self.breaks.push((Life::NEW, size, severity, run));
                        }
                    }
                }
                Happens::Clean => {
                    if let Some((life, ..)) = self.breaks.last_mut()
                        && let Some(next) = life.clean()
                    {
                        *life = next;
                    }
                }
                Happens::Edit(edit) => {
                    if let Some((life, ..)) = self.breaks.last_mut()
                        && let Ok(next) = life.edit(edit)
                    {
                        *life = next;
                    }
                }
            }
        }
    }

    /// The naive model: the whole story is kept, and every question is answered by reading it from its beginning.
    #[derive(Debug, Default, Clone)]
    struct Story {
        /// Each break's events, accepted ones only.
        breaks: Vec<Vec<Happens>>,
    }

    impl Story {
        /// The words for a break, read off its story.
        fn word(story: &[Happens]) -> &'static str {
            let mut word = "open";
            let (mut worst, mut run_before) = (0, None);
            for event in story {
                match event {
                    Happens::Edit(Edit::Acknowledge) => word = "acknowledged",
                    Happens::Edit(Edit::Resolve) => word = "resolved",
                    Happens::Edit(Edit::WriteOff) => word = "written_off",
                    Happens::Clean if word == "open" || word == "acknowledged" => word = "auto_closed",
                    Happens::Clean | Happens::Edit(Edit::Assign | Edit::Comment) => {}
                    Happens::Seen { severity, run, .. } => {
                        let is_worse = *severity > worst;
                        let is_later = run_before != Some(*run);
                        if (word == "acknowledged" && is_worse) || (word == "resolved" && is_later) {
                            word = "open";
                        }
                        worst = *severity;
                        run_before = Some(*run);
                    }
                }
            }
            word
        }

        fn ended_clean(story: &[Happens]) -> bool {
            story.iter().any(|event| matches!(event, Happens::Clean))
        }

        fn size(story: &[Happens]) -> Option<u8> {
            story.iter().rev().find_map(|event| match event {
                Happens::Seen { size, .. } => Some(*size),
                _ => None,
            })
        }

        fn happen(&mut self, what: Happens) {
            let newest = self.breaks.last_mut();
            match what {
                Happens::Seen { size, .. } => match newest {
                    Some(story)
                        if !Self::ended_clean(story)
                            && (Self::word(story) != "written_off" || Self::size(story) == Some(size)) =>
                    {
                        story.push(what);
                    }
                    _ => self.breaks.push(vec![what]),
                },
                Happens::Clean => {
                    if let Some(story) = newest.filter(|story| !Self::ended_clean(story)) {
                        story.push(what);
                    }
                }
                Happens::Edit(edit) => {
                    let Some(story) = newest else { return };
                    let word = Self::word(story);
                    let allowed = match edit {
                        Edit::Comment => true,
                        Edit::Acknowledge => word == "open",
                        Edit::Assign | Edit::Resolve | Edit::WriteOff => {
                            word == "open" || word == "acknowledged"
                        }
                    };
                    if allowed {
                        story.push(what);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_machine_says_what_the_whole_story_says(events in proptest::collection::vec(happens(), 0..40)) {
            let (mut kept, mut story) = (Kept::default(), Story::default());
            for event in events {
                kept.happen(event);
                story.happen(event);
                let machine: Vec<&str> = kept.breaks.iter().map(|(life, ..)| life.state.as_str()).collect();
                let told: Vec<&str> = story.breaks.iter().map(|events| Story::word(events)).collect();
                prop_assert_eq!(machine, told);
                let live = kept.breaks.iter().filter(|(life, ..)| life.live).count();
                prop_assert!(live <= 1, "at most the newest break of an identity is live");
                for (life, ..) in &kept.breaks {
                    prop_assert!(life.live || !life.state.is_unresolved());
                    prop_assert!(life.state != State::AutoClosed || !life.live);
                }
            }
        }

        #[test]
        fn every_age_is_in_one_bucket(seconds in -10_i64..2_000_000) {
            let age = Age::of_s(seconds);
            prop_assert!(seconds >= age.start_s() && age.end_s().is_none_or(|end| seconds < end));
            prop_assert_eq!(Age::named(age.as_str()), Some(age));
        }
    }

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        let error = "closed".parse::<State>().unwrap_err().to_string();
        assert!(
            error.contains("'closed'") && error.contains("auto_closed"),
            "{error}"
        );
        let refused = Life {
            state: State::WrittenOff,
            live: true,
        }
        .edit(Edit::Resolve)
        .unwrap_err();
        assert!(refused.to_string().starts_with("it is written_off"), "{refused}");
    }
}
