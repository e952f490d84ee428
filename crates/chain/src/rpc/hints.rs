//! Numbers in a node's words: how long to wait, and how much to ask for.

use std::time::Duration;

use serde_json::Value;

/// What a number is followed by if it does not count the things that were asked for.
const OTHER_UNITS: &[&str] = &[
    "results", "result", "logs", "events", "records", "entries", "bytes", "kb", "mb", "kib", "mib", "ms",
    "s", "sec", "second", "seconds", "minutes",
];

/// What a number follows if it is a name and not a count.
const NAMES: &[&str] = &["block", "fromblock", "toblock", "latest", "head", "code", "id"];

/// Keys under which providers put a pause into the `data` of an error, in lower case without `_` and `-`.
const PAUSE_KEYS: &[&str] = &[
    "backoffseconds",
    "backoff",
    "backoffms",
    "retryafter",
    "retryafterseconds",
    "retryafterms",
    "tryagainin",
    "retryin",
    "waitms",
    "waitseconds",
];

/// What precedes a pause in a message.
const PAUSE_WORDS: &[&str] = &[
    "try again in",
    "retry in",
    "retry after",
    "retry-after",
    "wait for",
    "wait",
];

/// The largest number in `words` (in lower case) that is below `asked` and can be a limit on it: not one of `known`
/// (what was asked for, repeated by the node), and not a count of results, bytes or seconds.
///
/// Reads `10000`, `10,000`, `10k` and `10-block`; "smaller than 1024" is 1023.
pub(crate) fn limit_below(words: &str, asked: u64, known: &[u64]) -> Option<u64> {
    let tokens: Vec<&str> = words
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, ',' | '.' | '-')))
        .map(|token| token.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|token| !token.is_empty())
        .collect();
    (0..tokens.len())
        .filter_map(|at| limit(&tokens, at))
        .filter(|value| (1..asked).contains(value) && !known.contains(value))
        .max()
}

fn limit(tokens: &[&str], at: usize) -> Option<u64> {
    let (number, unit) = match tokens[at].split_once('-') {
        Some((number, unit)) => (number, unit),
        None => (tokens[at], tokens.get(at + 1).copied().unwrap_or_default()),
    };
    let before = &tokens[at.saturating_sub(3)..at];
    let is_a_range = tokens[at].contains('-') && unit.starts_with(|c: char| c.is_ascii_digit());
    let counts_others = OTHER_UNITS.contains(&unit)
        || before
            .last()
            .is_some_and(|word| OTHER_UNITS.contains(word) || NAMES.contains(word));
    if is_a_range || counts_others {
        return None;
    }
    let (digits, factor) = number
        .strip_suffix('k')
        .map_or((number, 1), |digits| (digits, 1_000));
    let value = digits.replace(',', "").parse::<u64>().ok()?.checked_mul(factor)?;
    let before = before.join(" ");
    let excluded = ["smaller than", "less than", "smaller than size", "below"];
    if excluded.iter().any(|phrase| before.ends_with(phrase)) {
        return value.checked_sub(1);
    }
    Some(value)
}

/// The range some providers propose: the last `[0x.., 0x..]`, the last two hex numbers of the message, or
/// `range 100-200`.
pub(crate) fn suggested_range(words: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = words
        .split("0x")
        .skip(1)
        .filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
            u64::from_str_radix(&digits, 16).ok()
        })
        .collect();
    let decimal = || {
        let text = words.rsplit_once("range ")?.1;
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(text.len());
        let (from, to) = text[..end].split_once('-')?;
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    let proposed = match numbers.as_slice() {
        [.., from, to] => Some((*from, *to)),
        _ => decimal(),
    };
    proposed.filter(|(from, to)| from <= to)
}

/// The pause that `words` (in lower case) ask for: "try again in 3.24s", "retry after 10 seconds".
pub(crate) fn pause_in_words(words: &str) -> Option<Duration> {
    PAUSE_WORDS.iter().find_map(|phrase| {
        let at = words.find(phrase)? + phrase.len();
        let text = words[at..].trim_start_matches(|c: char| c == ':' || c == '=' || c.is_whitespace());
        duration(text, None)
    })
}

/// The pause that the `data` of an error asks for, at any depth.
pub(crate) fn pause_in_data(data: &Value) -> Option<Duration> {
    match data {
        Value::Object(fields) => fields
            .iter()
            .find_map(|(key, value)| pause_of(key, value))
            .or_else(|| fields.values().find_map(pause_in_data)),
        Value::Array(values) => values.iter().find_map(pause_in_data),
        Value::String(words) => pause_in_words(&words.to_lowercase()),
        _ => None,
    }
}

fn pause_of(key: &str, value: &Value) -> Option<Duration> {
    let key: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if !PAUSE_KEYS.contains(&key.as_str()) {
        return None;
    }
    let unit = if key.ends_with("ms") { "ms" } else { "s" };
    match value {
        Value::Number(number) => duration(&number.to_string(), Some(unit)),
        Value::String(text) => duration(&text.to_lowercase(), Some(unit)),
        _ => None,
    }
}

/// Reads `734.66ms`, `10m0s`, `3 seconds` or, where a unit is implied, `30`. Anything after it is ignored.
fn duration(text: &str, implied: Option<&str>) -> Option<Duration> {
    let mut total: Option<Duration> = None;
    let mut rest = text;
    loop {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let number = number.trim_end_matches('.');
        if number.is_empty() {
            return total;
        }
        let after = after.trim_start();
        let unit_end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let nanos_per_unit = match (unit, implied) {
            ("ms" | "millis" | "milliseconds", _) | ("", Some("ms")) => 1_000_000,
            ("s" | "sec" | "secs" | "second" | "seconds", _) | ("", Some(_)) => 1_000_000_000,
            ("m" | "min" | "mins" | "minute" | "minutes", _) => 60_000_000_000,
            ("h" | "hour" | "hours", _) => 3_600_000_000_000,
            _ => return total,
        };
        total = Some(
            total
                .unwrap_or_default()
                .saturating_add(scaled(number, nanos_per_unit)?),
        );
        rest = after;
    }
}

/// `number` (with a fraction or without) times `nanos`; a fraction beyond nine digits is cut.
fn scaled(number: &str, nanos: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().ok()?
    };
    let mut total = whole.checked_mul(nanos)?;
    let mut unit = nanos;
    for digit in fraction.chars().take(9) {
        unit /= 10;
        total = total.checked_add(u64::from(digit.to_digit(10)?) * unit)?;
    }
    Some(Duration::from_nanos(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_are_read_as_providers_write_them() {
        let cases = [
            ("range 221 exceeds limit of 10000", 20_000, Some(10_000)),
            ("range 221 exceeds limit of 10000", 221, None),
            ("maximum [from, to] blocks distance: 10000", 50_000, Some(10_000)),
            (
                "ranges over 10000 blocks are not supported on freetier",
                50_000,
                Some(10_000),
            ),
            ("number of requested blocks is 1000", 2_000, Some(1_000)),
            (
                "please limit the query to at most 1,000 blocks",
                2_000,
                Some(1_000),
            ),
            ("query must be smaller than size 1024", 2_000, Some(1_023)),
            (
                "you can make eth_getlogs requests with up to a 2k block range",
                9_000,
                Some(2_000),
            ),
            ("batch of more than 3 requests are not allowed", 100, Some(3)),
            (
                "transaction gas limit is 50000000 and exceeds transaction gas cap of 16777216",
                50_000_000,
                Some(16_777_216),
            ),
            ("query returned more than 10000 results", 50_000, None),
            (
                "query exceeds max results 20000, retry with the range 500-700",
                50_000,
                None,
            ),
            (
                "toblock 400 is more than 100 blocks after block 200",
                2_000,
                Some(100),
            ),
            ("response larger than 150mb, 10 seconds", 2_000, None),
            ("block range too wide: 0x10 to 0x99", 2_000, None),
            ("eip-1898 v2.5 limits", 2_000, None),
            ("nothing said", 2_000, None),
            ("18446744073709551616 blocks", 2_000, None),
        ];
        for (words, asked, limit) in cases {
            assert_eq!(limit_below(words, asked, &[]), limit, "{words}");
        }
        let words = "from block 500 to block 2499 is more than 100 blocks";
        assert_eq!(limit_below(words, 2_000, &[500, 2_499]), Some(100));
    }

    #[test]
    fn proposed_ranges_are_read_in_hex_and_decimal() {
        let of = suggested_range;
        assert_eq!(of("this block range should work: [0x10, 0x20]"), Some((16, 32)));
        assert_eq!(
            of("max results 20000, retry with the range 500-700"),
            Some((500, 700))
        );
        for words in [
            "range too large",
            "range 700-500",
            "range 500-",
            "[0x20, 0x10]",
            "range 5",
        ] {
            assert_eq!(of(words), None, "{words}");
        }
    }

    #[test]
    fn pauses_are_read_from_words_and_data() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let words = [
            ("too many requests, retry in 10m0s", ms(600_000)),
            ("please try again in 3.24s.", ms(3_240)),
            ("retry after 2 seconds", ms(2_000)),
            ("rate limited, wait 500ms", ms(500)),
            ("rate limited, retry after: 7s", ms(7_000)),
            ("please wait", None),
            ("retry in a moment", None),
        ];
        for (words, pause) in words {
            assert_eq!(pause_in_words(words), pause, "{words}");
        }
        let data = [
            (
                json!({"rate": {"allowed_rps": 1, "backoff_seconds": 30}, "see": "https://x"}),
                ms(30_000),
            ),
            (
                json!({"try_again_in": "734.66ms"}),
                Some(Duration::from_micros(734_660)),
            ),
            (json!({"retryAfterMs": 250}), ms(250)),
            (json!({"retry_after": "5"}), ms(5_000)),
            (json!("try again in 4s"), ms(4_000)),
            (json!({"trace_id": "5"}), None),
            (json!(null), None),
        ];
        for (data, pause) in data {
            assert_eq!(pause_in_data(&data), pause, "{data}");
        }
    }
}
