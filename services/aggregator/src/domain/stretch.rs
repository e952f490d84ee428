//! [`Stretch`]: windows that are judged in one transaction.

use super::Level;

/// Whole windows of some markets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch<'m> {
    /// The markets.
    pub markets: &'m [String],
    /// Beginning of the first window, epoch ms.
    pub from_ms: i64,
    /// End of the last window, epoch ms.
    pub to_ms: i64,
}

/// Returns the stretches that cover `[from_ms, to_ms)`, in the order of time, each of about `batch_rows` source candles at
/// most. Both bounds are bounds of windows. As long as all markets fit, a stretch has all of them.
pub fn stretches<'m>(
    level: &Level,
    markets: &'m [String],
    (from_ms, to_ms): (i64, i64),
    batch_rows: u32,
) -> impl Iterator<Item = Stretch<'m>> + use<'m> {
    let width = level.interval.width_ms();
    let at_once = usize::try_from(batch_rows / level.expected()).unwrap_or(1).max(1);
    let chunk = at_once.min(markets.len().max(1));
    let windows = i64::try_from(at_once / markets.len().max(1)).unwrap_or(1).max(1);
    let mut next = from_ms;
    let ranges = std::iter::from_fn(move || {
        let from = next;
        next = to_ms.min(from.saturating_add(windows.saturating_mul(width)));
        (from < to_ms).then_some((from, next))
    });
    ranges.flat_map(move |(from_ms, to_ms)| {
        markets.chunks(chunk).map(move |markets| Stretch {
            markets,
            from_ms,
            to_ms,
        })
    })
}

#[cfg(test)]
mod tests {
    use eidos_market::Interval;

    use super::*;

    const LEVEL: Level = Level {
        interval: Interval::H1,
        source: Interval::M1,
    };

    fn markets(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("M{index}")).collect()
    }

    #[test]
    fn few_markets_take_many_windows_at_once() {
        let markets = markets(2);
        let width = Interval::H1.width_ms();
        let found: Vec<(i64, i64)> = stretches(&LEVEL, &markets, (0, 10 * width), 480)
            .map(|stretch| (stretch.from_ms / width, stretch.to_ms / width))
            .collect();
        assert_eq!(found, [(0, 4), (4, 8), (8, 10)]);
    }

    #[test]
    fn many_markets_are_split_within_one_window() {
        let markets = markets(5);
        let width = Interval::H1.width_ms();
        let found: Vec<(usize, i64)> = stretches(&LEVEL, &markets, (0, 2 * width), 120)
            .map(|stretch| (stretch.markets.len(), stretch.from_ms / width))
            .collect();
        assert_eq!(found, [(2, 0), (2, 0), (1, 0), (2, 1), (2, 1), (1, 1)]);
        assert_eq!(stretches(&LEVEL, &[], (0, width), 120).count(), 0);
        assert_eq!(stretches(&LEVEL, &markets, (width, width), 120).count(), 0);
    }
}
