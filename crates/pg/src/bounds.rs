//! [`Bounds`]: what a range partition covers, as the catalogue prints it.

use std::fmt;

/// 2010-01-01 UTC in epoch ms: an exchange's rows are younger. Anything smaller is no time in milliseconds but nothing
/// (0) or seconds, and what is written that way may be of today: it is reported and left where it is.
pub const EARLIEST_MS: i64 = 1_262_304_000_000;
/// 2100-01-01 UTC in epoch ms. Anything larger is microseconds or nanoseconds: it would never grow old.
pub const LATEST_MS: i64 = 4_102_444_800_000;

/// `[lower, upper)` of a `BIGINT` key in epoch milliseconds. `None` is `MINVALUE` below and `MAXVALUE` above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Bounds {
    /// First key inside.
    pub lower: Option<i64>,
    /// First key after it.
    pub upper: Option<i64>,
}

/// What `pg_get_expr(relpartbound, oid)` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionBound {
    /// `FOR VALUES FROM (..) TO (..)`.
    Range(Bounds),
    /// `DEFAULT`.
    Default,
}

/// The expression is none this program understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the partition bound `{expression}` {problem}")]
pub struct BoundsError {
    /// What the catalogue printed.
    pub expression: String,
    /// Why it cannot be used.
    pub problem: &'static str,
}

impl Bounds {
    /// Parses a range bound.
    ///
    /// # Errors
    /// Names the expression: a default, list or hash partition, several keys, no integer.
    pub fn parse(expression: &str) -> Result<Self, BoundsError> {
        match PartitionBound::parse(expression)? {
            PartitionBound::Range(bounds) => Ok(bounds),
            PartitionBound::Default => Err(BoundsError {
                expression: expression.to_owned(),
                problem: "covers no range of its own",
            }),
        }
    }

    /// Both ends, where both are finite.
    #[must_use]
    pub const fn finite(&self) -> Option<(i64, i64)> {
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) => Some((lower, upper)),
            _ => None,
        }
    }

    /// Whether `key` lies inside.
    #[must_use]
    pub fn contains(&self, key: i64) -> bool {
        self.lower.is_none_or(|lower| lower <= key) && self.upper.is_none_or(|upper| key < upper)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |bound: Option<i64>, infinite: &str| {
            bound.map_or_else(|| infinite.to_owned(), |bound| bound.to_string())
        };
        write!(
            f,
            "[{}, {})",
            end(self.lower, "MINVALUE"),
            end(self.upper, "MAXVALUE")
        )
    }
}

impl PartitionBound {
    /// Parses what the catalogue printed: `DEFAULT`, or `FOR VALUES FROM ('1') TO ('2')` with quotes around `BIGINT`,
    /// or `MINVALUE` and `MAXVALUE`.
    ///
    /// # Errors
    /// Names the expression and what about it is not understood.
    pub fn parse(expression: &str) -> Result<Self, BoundsError> {
        let refuse = |problem: &'static str| BoundsError {
            expression: expression.to_owned(),
            problem,
        };
        let text = expression.trim();
        if text == "DEFAULT" {
            return Ok(Self::Default);
        }
        let values = text
            .strip_prefix("FOR VALUES FROM (")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.split_once(") TO ("))
            .ok_or_else(|| refuse("is no range"))?;
        let value = |text: &str| match text.trim() {
            "MINVALUE" | "MAXVALUE" => Ok(None),
            several if several.contains(',') => Err(refuse("has several key columns")),
            value => {
                let bare = value
                    .strip_prefix('\'')
                    .and_then(|rest| rest.strip_suffix('\''))
                    .unwrap_or(value);
                bare.parse::<i64>()
                    .map(Some)
                    .map_err(|_not_integer| refuse("is not made of integers"))
            }
        };
        let (lower, upper) = (value(values.0)?, value(values.1)?);
        // FROM (MAXVALUE) or TO (MINVALUE) covers nothing; the server refuses it, and so do we.
        if values.0.trim() == "MAXVALUE" || values.1.trim() == "MINVALUE" {
            return Err(refuse("covers nothing"));
        }
        if let (Some(lower), Some(upper)) = (lower, upper)
            && lower >= upper
        {
            return Err(refuse("covers nothing"));
        }
        Ok(Self::Range(Bounds { lower, upper }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_the_catalogue_prints_is_read_or_refused_by_name() {
        let range = |lower, upper| Ok(PartitionBound::Range(Bounds { lower, upper }));
        let parse = PartitionBound::parse;
        assert_eq!(
            parse("FOR VALUES FROM ('1704067200000') TO ('1706745600000')"),
            range(Some(1_704_067_200_000), Some(1_706_745_600_000))
        );
        assert_eq!(parse("FOR VALUES FROM (1) TO (20)"), range(Some(1), Some(20)));
        assert_eq!(parse("FOR VALUES FROM ('-5') TO ('0')"), range(Some(-5), Some(0)));
        assert_eq!(parse("FOR VALUES FROM (MINVALUE) TO ('7')"), range(None, Some(7)));
        assert_eq!(parse("FOR VALUES FROM ('7') TO (MAXVALUE)"), range(Some(7), None));
        assert_eq!(parse("DEFAULT"), Ok(PartitionBound::Default));
        for (text, problem) in [
            ("FOR VALUES IN ('1m')", "is no range"),
            ("FOR VALUES WITH (modulus 4, remainder 0)", "is no range"),
            (
                "FOR VALUES FROM ('1', '2') TO ('3', '4')",
                "has several key columns",
            ),
            (
                "FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')",
                "is not made of integers",
            ),
            ("FOR VALUES FROM (MAXVALUE) TO ('3')", "covers nothing"),
            ("FOR VALUES FROM ('3') TO ('3')", "covers nothing"),
            ("", "is no range"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.problem), Err(problem), "{text}");
        }
        assert!(Bounds::parse("DEFAULT").is_err());
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in ".{0,60}") {
            let _ = PartitionBound::parse(&text);
        }

        #[test]
        fn what_is_printed_is_read(lower in any::<i64>(), upper in any::<i64>()) {
            prop_assume!(lower < upper);
            let text = format!("FOR VALUES FROM ('{lower}') TO ('{upper}')");
            let read = Bounds::parse(&text).unwrap();
            prop_assert_eq!(read.finite(), Some((lower, upper)));
            prop_assert!(read.contains(lower) && !read.contains(upper));
        }
    }
}
