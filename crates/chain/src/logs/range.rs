//! How many blocks to ask for at once: what the node accepts, found by trying and remembered.

use crate::rpc::hints;
use crate::settings::LogSettings;

/// Full ranges that must be accepted below a refused size before a larger one is tried again: limits that come from
/// the density of events, or from a busy node, pass.
const CALM: u32 = 64;

/// The size of the next range. One for the life of a reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeSize {
    blocks: u64,
    /// The largest size there can be: the setting, or the limit the node named.
    most: u64,
    setting: u64,
    /// The last full range that was accepted; 0 before the first.
    accepted: u64,
    /// The smallest size that was refused without a named limit.
    refused: Option<u64>,
    /// Full ranges since the size between the two is found.
    calm: u32,
}

/// What a refusal says about the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Ask for these blocks: what they hold fits.
    Range(u64),
    /// The node's limit, in blocks.
    Limit(u64),
    /// The answer would be too large or too slow: it depends on what the blocks hold.
    Denser,
    /// Nothing that is understood.
    Nothing,
}

impl Advice {
    /// Reads the words (in lower case) of a refusal of `from..=to`.
    pub(crate) fn of(words: &str, suggested: Option<(u64, u64)>, from: u64, to: u64) -> Self {
        let tried = to - from + 1;
        let proposed = suggested
            .filter(|(first, last)| *first == from && *last >= from && *last < to)
            .map(|(first, last)| last - first + 1);
        if let Some(blocks) = proposed {
            return Self::Range(blocks);
        }
        if let Some(blocks) = hints::limit_below(words, tried, &[from, to, tried]) {
            return Self::Limit(blocks);
        }
        if ["results", "response", "logs", "time"]
            .iter()
            .any(|word| words.contains(word))
        {
            return Self::Denser;
        }
        Self::Nothing
    }
}

impl RangeSize {
    pub(crate) const fn new(settings: &LogSettings) -> Self {
        Self {
            blocks: settings.start_blocks,
            most: settings.max_blocks,
            setting: settings.max_blocks,
            accepted: 0,
            refused: None,
            calm: 0,
        }
    }

    /// The last block of a range that begins at `from` and must not pass `to`.
    pub(super) fn end(self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.blocks - 1).min(to)
    }

    /// Notes that a range of `blocks` worked. After a full one the next is half as large again, or half way to what was
    /// refused.
    pub(super) fn worked(&mut self, blocks: u64) {
        if blocks < self.blocks {
            return;
        }
        self.accepted = self.blocks;
        self.refused = self.refused.filter(|refused| *refused > self.blocks);
        let next = match self.refused {
            None => self.blocks + self.blocks / 2 + 1,
            Some(refused) if refused - self.blocks > 1.max(self.blocks / 8) => {
                self.blocks + (refused - self.blocks) / 2
            }
            Some(_) if self.calm < CALM => {
                self.calm += 1;
                self.blocks
            }
            Some(refused) => {
                self.calm = 0;
                refused
            }
        };
        self.blocks = next.min(self.most);
    }

    /// Follows the advice of a refusal of `tried` blocks, or halves the size where it has none. False if one block was
    /// too much already.
    pub(super) fn too_large(&mut self, tried: u64, advice: Advice) -> bool {
        self.blocks = match advice {
            Advice::Range(blocks) => blocks,
            Advice::Limit(blocks) => {
                self.most = blocks;
                blocks
            }
            Advice::Denser => tried / 2,
            Advice::Nothing => {
                self.refused = Some(tried);
                if self.accepted >= tried {
                    (self.accepted, self.calm) = (0, 0);
                }
                if self.accepted > 0 {
                    self.accepted
                } else {
                    tried / 2
                }
            }
        }
        .max(1);
        tried > 1
    }

    /// The size that the node's refusals taught; `None` if they taught none.
    pub(crate) fn learned(&self) -> Option<u64> {
        if self.most < self.setting {
            return Some(self.most);
        }
        self.refused
            .filter(|_refused| self.accepted > 0)
            .map(|_refused| self.accepted)
    }

    /// Begins with what another process learned. A larger size is tried again after a while.
    pub(crate) fn recall(&mut self, blocks: u64) {
        if blocks < self.setting {
            self.blocks = blocks.max(1);
            (self.accepted, self.refused) = (self.blocks, Some(self.blocks + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size() -> RangeSize {
        RangeSize::new(&LogSettings {
            start_blocks: 100,
            max_blocks: 150,
        })
    }

    #[test]
    fn ranges_shrink_to_what_is_accepted_and_grow_again() {
        let mut size = size();
        assert_eq!(size.end(10, 1_000), 109);
        assert_eq!(size.end(10, 50), 50);
        assert!(size.too_large(100, Advice::Denser));
        assert_eq!(size.end(10, 1_000), 59);
        assert!(size.too_large(50, Advice::Range(10)), "a proposal is followed");
        assert_eq!(size.end(10, 1_000), 19);
        assert_eq!(
            size.learned(),
            None,
            "what the blocks hold is not a limit of the node"
        );
        for _ in 0..20 {
            let blocks = size.end(0, 1_000) + 1;
            size.worked(blocks);
        }
        assert_eq!(size.end(0, 1_000), 149);
        size.worked(1);
        assert_eq!(size.end(0, 1_000), 149);
        assert!(!size.too_large(1, Advice::Nothing), "one block cannot be halved");
        assert_eq!(size.end(7, 1_000), 7);
    }

    #[test]
    fn a_named_limit_is_kept() {
        let mut size = size();
        assert!(size.too_large(100, Advice::Limit(30)));
        for _ in 0..200 {
            size.worked(30);
            assert_eq!(size.end(1, 1_000), 30);
        }
        assert_eq!(size.learned(), Some(30));
    }

    #[test]
    fn an_unnamed_limit_is_found_with_few_refusals() {
        let limit = 37;
        let mut size = size();
        let (mut refusals, mut asked) = (0, 0);
        for _ in 0..100 {
            let blocks = size.end(1, 1_000);
            asked += blocks;
            if blocks > limit {
                refusals += 1;
                assert!(size.too_large(blocks, Advice::Nothing));
            } else {
                size.worked(blocks);
            }
        }
        assert!(refusals < 8, "{refusals} refusals in 100 requests");
        assert!(asked > 3_000, "{asked} blocks");
        let learned = size.learned().unwrap();
        assert!((30..=limit).contains(&learned), "{learned}");
        let mut next = self::size();
        next.recall(learned);
        assert_eq!(next.end(1, 1_000), learned);
        for _ in 0..80 {
            let blocks = next.end(1, 1_000);
            next.worked(blocks);
        }
        assert!(next.end(1, 1_000) > learned, "and a larger one is tried again");
    }

    #[test]
    fn advice_is_taken_only_if_it_is_smaller() {
        let of = |words: &str, suggested| Advice::of(words, suggested, 10, 19);
        assert_eq!(of("", Some((10, 14))), Advice::Range(5));
        for nonsense in [
            Some((11, 12)),
            Some((10, 19)),
            Some((10, 5)),
            Some((0, u64::MAX)),
            None,
        ] {
            assert_eq!(of("", nonsense), Advice::Nothing, "{nonsense:?}");
        }
        assert_eq!(of("at most 4 blocks", None), Advice::Limit(4));
        assert_eq!(of("range 221 exceeds limit of 10000", None), Advice::Nothing);
        assert_eq!(of("more than 5 results", None), Advice::Denser);
    }
}
