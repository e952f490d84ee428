//! A batch's id as the contract knows it.

use eidos_types::Hash32;

/// The `bytes32` of the books' batch id: 32 bytes in hex if it looks like that, otherwise its text, cut to 32
/// bytes and padded with zeros. That is how UUID text ends up on chain: 36 characters become their first 32.
#[must_use]
pub fn on_chain(batch_id: &str) -> Hash32 {
    let digits = batch_id.strip_prefix("0x").unwrap_or(batch_id);
    let mut bytes = [0; 32];
    if digits.len() == 64 && hex::decode_to_slice(digits, &mut bytes).is_ok() {
        return Hash32::new(bytes);
    }
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(batch_id.as_bytes()) {
        *to = *from;
    }
    Hash32::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_decoded_and_text_is_cut() {
        let hex = "ab".repeat(32);
        assert_eq!(on_chain(&hex), Hash32::new([0xab; 32]));
        assert_eq!(on_chain(&format!("0x{hex}")), Hash32::new([0xab; 32]));
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(&on_chain(uuid).as_bytes()[..], &uuid.as_bytes()[..32]);
        assert_eq!(&on_chain("b-1").as_bytes()[..4], b"b-1\0");
    }
}
