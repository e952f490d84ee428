//! The life of a request to remove an order: asked, answered, closed or given up. Only the order's own row closes a request;
//! an answer of the engine or an event never does.

use serde::{Deserialize, Serialize};

use super::backoff::Backoff;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$item_doc])* $item),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$item),+];
            /// Every word.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in tables, metrics and reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $word),+ }
            }

            /// From its word. `None`: there is no such word.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }
    };
}

words! {
    /// Why an order is to be removed.
    Reason {
        /// Its time has passed.
        Expired => "expired",
        /// It rests in the book and has no quantity left.
        ZeroQuantity => "zero_quantity",
    }
}

words! {
    /// What is known about a request.
    State {
        /// Asked, or to be asked, without an answer.
        Requested => "requested",
        /// Answered; the order's row must show it.
        Answered => "answered",
        /// The order ended.
        Closed => "closed",
        /// Asked under every epoch, and the order is still open.
        GivenUp => "given_up",
    }
}

words! {
    /// What came back for a request.
    Verdict {
        /// The engine took it out of the book.
        Removed => "removed",
        /// The book does not have it.
        NotFound => "not_found",
        /// The engine knows that it ended before.
        AlreadyTerminal => "already_terminal",
        /// It stays, for a reason.
        Refused => "refused",
        /// Not now: asked again under the same id.
        RetryLater => "retry_later",
        /// Kafka has the request; nothing is known about the order.
        Delivered => "delivered",
        /// Nothing came back: asked again under the same id.
        Unanswered => "unanswered",
    }
}

words! {
    /// How an order ended.
    Outcome {
        /// As it should.
        Expired => "expired",
        /// Its owner or the engine cancelled it first.
        Cancelled => "cancelled",
        /// It was filled first.
        Filled => "filled",
        /// It was rejected.
        Rejected => "rejected",
        /// The table does not have it any more.
        Missing => "missing",
        /// It is open, and there is no reason left to remove it: its expiry was moved, or its quantity.
        NotDue => "not_due",
    }
}

impl Verdict {
    /// Whether the engine says that the order is not in its book, and that it did not take it out now.
    #[must_use]
    pub const fn says_gone(self) -> bool {
        matches!(self, Self::NotFound | Self::AlreadyTerminal)
    }

    /// Whether the same id is asked again: nothing was said about the order.
    #[must_use]
    pub const fn asks_again(self) -> bool {
        matches!(self, Self::RetryLater | Self::Unanswered)
    }
}

/// What the order's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It ended, in this way.
    Ended(Outcome),
    /// It is open, and the reason to remove it holds.
    Due,
    /// Its cancellation is in progress (whoever began that ends it), or its status is one that the profile does not name.
    Unsettled,
}

/// What a decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What is known about the request.
    pub state: State,
    /// Counts from 1.
    pub epoch: u32,
    /// The newest answer under this epoch. `None`: there was none.
    pub verdict: Option<Verdict>,
    /// When the request is due, epoch ms.
    pub next_attempt_ms: i64,
}

/// What becomes of a request after its order's row was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// As it is.
    Keep,
    /// The order ended.
    Close(Outcome),
    /// Asked again, under the next epoch. `contradicted`: the engine said that it does not have the order.
    NextEpoch {
        /// Whether the engine's answer and the row contradict each other.
        contradicted: bool,
    },
    /// Every epoch was used: an operator must act.
    GiveUp {
        /// Whether the engine's answer and the row contradict each other.
        contradicted: bool,
    },
}

/// Limits of the decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The highest epoch.
    pub max_epochs: u32,
    /// Pauses between requests that were not answered.
    pub resend: Backoff,
    /// Pauses from an answer to the next epoch.
    pub confirm: Backoff,
}

/// Decides what becomes of a request after its order's row was read at `now_ms`.
#[must_use]
pub fn after_reading(facts: &Facts, reading: Reading, now_ms: i64, rules: &Rules) -> Decision {
    match (facts.state, reading) {
        (State::Closed, _) => Decision::Keep,
        (_, Reading::Ended(outcome)) => Decision::Close(outcome),
        (State::Answered, Reading::Due) if now_ms >= facts.next_attempt_ms => {
            let contradicted = facts.verdict.is_some_and(Verdict::says_gone);
            if facts.epoch >= rules.max_epochs {
                Decision::GiveUp { contradicted }
            } else {
                Decision::NextEpoch { contradicted }
            }
        }
        (_, Reading::Due | Reading::Unsettled) => Decision::Keep,
    }
}

/// Returns the state after an answer at `now_ms`, and when the request is due again. `retry_after_ms` is the shortest pause
/// that the engine asked for.
#[must_use]
pub fn after_verdict(
    order_id: &str,
    tries: (u32, u32),
    verdict: Verdict,
    retry_after_ms: i64,
    now_ms: i64,
    rules: &Rules,
) -> (State, i64) {
    let (epoch, sends) = tries;
    if verdict.asks_again() {
        let pause = rules.resend.pause_ms(order_id, sends).max(retry_after_ms);
        (State::Requested, now_ms.saturating_add(pause))
    } else {
        (
            State::Answered,
            now_ms.saturating_add(rules.confirm.pause_ms(order_id, epoch)),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        max_epochs: 3,
        resend: Backoff {
            first_ms: 10,
            longest_ms: 100,
        },
        confirm: Backoff {
            first_ms: 20,
            longest_ms: 200,
        },
    };

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Answer(Verdict),
        Read(Reading),
        Wait(i64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let verdict = prop::sample::select(Verdict::ALL.to_vec()).prop_map(Event::Answer);
        let reading = prop_oneof![
            4 => Just(Reading::Due),
            1 => Just(Reading::Unsettled),
            1 => prop::sample::select(Outcome::ALL.to_vec()).prop_map(Reading::Ended),
        ]
        .prop_map(Event::Read);
        let wait = (0..300_i64).prop_map(Event::Wait);
        prop::collection::vec(prop_oneof![verdict, reading, wait], 0..60)
    }

    proptest! {
        /// Whatever comes in whatever order: only a reading closes, and with what it said; a closed request never changes; an
        /// epoch only grows, by one, after an answer, never beyond the limit; silence never uses up an epoch.
        #[test]
        fn only_the_row_ends_a_request(events in events()) {
            let mut facts = Facts { state: State::Requested, epoch: 1, verdict: None, next_attempt_ms: 0 };
            let (mut now, mut sends) = (0_i64, 1_u32);
            let mut closed_with = None;
            let mut answers_since_epoch = 0;
            for event in events {
                let before = facts;
                match event {
                    Event::Wait(ms) => now += ms,
                    Event::Answer(verdict) => {
                        if facts.state != State::Requested { continue; }
                        let (state, at) = after_verdict("o", (facts.epoch, sends), verdict, 0, now, &RULES);
                        prop_assert!(at > now, "an answer always buys a pause");
                        prop_assert!(matches!(state, State::Requested | State::Answered));
                        facts = Facts { state, verdict: Some(verdict), next_attempt_ms: at, ..facts };
                        sends += 1;
                        if state == State::Answered { answers_since_epoch += 1; }
                    }
                    Event::Read(reading) => match after_reading(&facts, reading, now, &RULES) {
                        Decision::Keep => {}
                        Decision::Close(outcome) => {
                            prop_assert_eq!(reading, Reading::Ended(outcome));
                            prop_assert!(closed_with.is_none());
                            closed_with = Some(outcome);
                            facts.state = State::Closed;
                        }
                        Decision::NextEpoch { contradicted } => {
                            prop_assert_eq!(reading, Reading::Due);
                            prop_assert_eq!(answers_since_epoch, 1, "no epoch is used up by silence");
                            prop_assert!(now >= before.next_attempt_ms);
                            prop_assert_eq!(contradicted, before.verdict.is_some_and(Verdict::says_gone));
                            facts = Facts { state: State::Requested, epoch: facts.epoch + 1, verdict: None, next_attempt_ms: now };
                            prop_assert!(facts.epoch <= RULES.max_epochs);
                            (sends, answers_since_epoch) = (1, 0);
                        }
                        Decision::GiveUp { .. } => {
                            prop_assert_eq!(facts.epoch, RULES.max_epochs);
                            facts.state = State::GivenUp;
                        }
                    },
                }
                if before.state == State::Closed {
                    prop_assert_eq!(facts, before);
                }
            }
            prop_assert_eq!(closed_with.is_some(), facts.state == State::Closed);
        }
    }

    #[test]
    fn words_and_values_are_the_same_both_ways() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::named(verdict.as_str()), Some(*verdict));
        }
        assert_eq!(State::named("opened"), None);
        assert_eq!(Outcome::WORDS.len(), Outcome::ALL.len());
    }
}
