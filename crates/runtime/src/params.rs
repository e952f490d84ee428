//! Readers for parameters of jobs that people type.

use serde::Deserialize as _;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

/// Reads a list, or words between commas: `--tables a,b` and `--tables a` as well as `["a", "b"]`.
///
/// For a field of type `Option<Vec<T>>`, by `#[serde(deserialize_with = "eidos_runtime::params::words")]`.
///
/// # Errors
/// Those of the list or of its entries.
pub fn words<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let list = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::String(text) => text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(Value::from)
            .collect(),
        other => other,
    };
    serde_json::from_value(list).map(Some).map_err(D::Error::custom)
}

/// The parameters as a job understands them. On a command line nobody says whether `20260101` is a number or a name: it
/// is read as JSON, and where the job refuses that, as the text that was typed.
///
/// # Errors
/// What the job says about the parameters as they were read first.
pub(crate) fn understood(
    params: Value,
    typed: &[(String, String)],
    check: impl Fn(&Value) -> Result<(), String>,
) -> Result<Value, String> {
    let refusal = match check(&params) {
        Ok(()) => return Ok(params),
        Err(refusal) => refusal,
    };
    let mut all = params.clone();
    for (key, text) in typed {
        let mut one = params.clone();
        one[key] = Value::from(text.as_str());
        if check(&one).is_ok() {
            return Ok(one);
        }
        all[key] = Value::from(text.as_str());
    }
    check(&all).map(|()| all).map_err(|_also_refused| refusal)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Params {
        #[serde(deserialize_with = "words")]
        tables: Option<Vec<String>>,
        plan: Option<String>,
        sample: Option<u32>,
    }

    fn tables(value: &Value) -> Option<Vec<String>> {
        serde_json::from_value::<Params>(json!({ "tables": value }))
            .unwrap()
            .tables
    }

    #[test]
    fn tables_are_a_list_or_words() {
        let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(tables(&json!("eidos_risk_events")), list(&["eidos_risk_events"]));
        assert_eq!(tables(&json!("a, b,")), list(&["a", "b"]));
        assert_eq!(tables(&json!(["a", "b"])), list(&["a", "b"]));
        assert_eq!(tables(&Value::Null), None);
        assert_eq!(Params::deserialize(json!({})).unwrap(), Params::default());
        assert!(serde_json::from_value::<Params>(json!({ "tables": 7 })).is_err());
    }

    #[test]
    fn digits_are_text_where_the_job_wants_text() {
        let typed = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let pairs = pairs.iter();
            pairs
                .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
                .collect()
        };
        let check = |value: &Value| {
            let read = serde_json::from_value::<Params>(value.clone());
            read.map(|_| ()).map_err(|error| error.to_string())
        };
        let both = json!({ "plan": 12_345_678, "sample": 5 });
        let read = understood(both, &typed(&[("plan", "12345678"), ("sample", "5")]), check).unwrap();
        assert_eq!(read, json!({ "plan": "12345678", "sample": 5 }));
        let exponent = understood(json!({ "plan": 1e7 }), &typed(&[("plan", "1e7")]), check).unwrap();
        assert_eq!(exponent, json!({ "plan": "1e7" }));
        let refused =
            understood(json!({ "sample": true }), &typed(&[("sample", "true")]), check).unwrap_err();
        assert!(refused.contains("boolean"), "{refused}");
    }
}
