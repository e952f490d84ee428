//! Addresses as people write them: with a checksum in the case of their letters (EIP-55).

use alloy_primitives::Address as Checksummed;
use eidos_types::Address;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

/// Reads an address and, where its letters are of both cases, compares the checksum that they make: one mistyped digit
/// is noticed in nearly every case.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// As [`address`], or nothing.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse(&text).map_err(D::Error::custom))
        .transpose()
}

fn parse(text: &str) -> Result<Address, String> {
    let address: Address = text
        .parse()
        .map_err(|error: eidos_types::ParseHexError| error.to_string())?;
    let has = |wanted: fn(&u8) -> bool| text.as_bytes().iter().skip(2).any(wanted);
    let is_checksummed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    if is_checksummed && Checksummed::parse_checksummed(text, None).is_err() {
        return Err(format!(
            "'{text}' has a wrong checksum (EIP-55): a digit or the case of a letter is not what it was; copy the \
             address again from where it was published"
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_wrong_checksum_is_refused_and_one_case_has_none() {
        let published = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert!(parse(published).is_ok());
        assert!(parse(&published.to_lowercase()).is_ok());
        assert!(parse(&published.to_uppercase().replace("0X", "0x")).is_ok());
        for mistyped in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAec",
        ] {
            let error = parse(mistyped).unwrap_err();
            assert!(error.contains(mistyped) && error.contains("EIP-55"), "{error}");
        }
        assert!(parse("0x5aAe").is_err());
    }
}
