//! How many blocks to ask for at once: what the node accepts, found by trying.

use crate::settings::LogSettings;

/// The size of the next range.
#[derive(Debug, Clone, Copy)]
pub(super) struct RangeSize {
    blocks: u64,
    most: u64,
}

impl RangeSize {
    pub(super) const fn new(settings: &LogSettings) -> Self {
        Self {
            blocks: settings.start_blocks,
            most: settings.max_blocks,
        }
    }

    /// The last block of a range that begins at `from` and must not pass `to`.
    pub(super) fn end(self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.blocks - 1).min(to)
    }

    /// A range of `blocks` worked; a full one may be half as large again.
    pub(super) fn worked(&mut self, blocks: u64) {
        if blocks >= self.blocks {
            self.blocks = (self.blocks + self.blocks / 2 + 1).min(self.most);
        }
    }

    /// A range was too large. The node's proposal is followed if it begins where we are and is really smaller,
    /// otherwise half is tried. False if one block was too much already.
    pub(super) fn too_large(&mut self, from: u64, end: u64, suggested: Option<(u64, u64)>) -> bool {
        let tried = end - from + 1;
        let proposed = suggested
            .filter(|(first, last)| *first == from && *last >= from && *last < end)
            .map(|(first, last)| last - first + 1);
        self.blocks = proposed.unwrap_or(tried / 2).max(1);
        tried > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_shrink_to_what_is_accepted_and_grow_again() {
        let mut size = RangeSize::new(&LogSettings {
            start_blocks: 100,
            max_blocks: 150,
        });
        assert_eq!(size.end(10, 1_000), 109);
        assert_eq!(size.end(10, 50), 50);
        assert!(size.too_large(10, 109, None));
        assert_eq!(size.end(10, 1_000), 59);
        assert!(size.too_large(10, 59, Some((10, 19))), "a proposal is followed");
        assert_eq!(size.end(10, 1_000), 19);
        for nonsense in [Some((11, 12)), Some((10, 19)), Some((10, 5)), Some((0, u64::MAX))] {
            let mut size = size;
            assert!(size.too_large(10, 19, nonsense));
            assert_eq!(size.end(10, 1_000), 14, "{nonsense:?} is not");
        }
        for _ in 0..20 {
            let blocks = size.end(0, 1_000) + 1;
            size.worked(blocks);
        }
        assert_eq!(size.end(0, 1_000), 149);
        size.worked(1);
        assert_eq!(size.end(0, 1_000), 149);
        let mut one = RangeSize::new(&LogSettings {
            start_blocks: 1,
            max_blocks: 1,
        });
        assert!(!one.too_large(10, 10, None));
    }
}
