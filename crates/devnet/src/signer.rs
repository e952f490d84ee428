//! Keys of the devnet's accounts, and transactions signed with them, for nodes that do not impersonate accounts.

use alloy_primitives::{Bytes, U256, keccak256};
use alloy_rlp::{Encodable, Header};
use anyhow::Context;
use eidos_types::Address;
use k256::ecdsa::SigningKey;

/// A legacy transaction (EIP-155).
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(crate) nonce: u64,
    pub(crate) gas_price: u64,
    pub(crate) gas: u64,
    /// `None` creates a contract.
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Vec<u8>,
    pub(crate) chain_id: u64,
}

/// The key of account `index` of `role` in the devnet of `seed`. Its secret is public; it must hold nothing of value.
pub(crate) fn key(seed: u64, role: &str, index: usize) -> SigningKey {
    let mut secret = keccak256(format!("eidos-devnet/{seed}/{role}/{index}"));
    loop {
        // All but a handful of 2^256 numbers are keys.
        match SigningKey::from_slice(secret.as_slice()) {
            Ok(key) => return key,
            Err(_not_a_key) => secret = keccak256(secret),
        }
    }
}

/// The address of a key.
pub(crate) fn address(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_encoded_point(false);
    let digest = keccak256(point.as_bytes().get(1..).unwrap_or_default());
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&digest[12..]);
    Address::new(bytes)
}

impl Legacy {
    /// The signed transaction, as `eth_sendRawTransaction` takes it.
    pub(crate) fn sign(&self, key: &SigningKey) -> anyhow::Result<Bytes> {
        let mut unsigned = self.fields();
        for value in [U256::from(self.chain_id), U256::ZERO, U256::ZERO] {
            value.encode(&mut unsigned);
        }
        let digest = keccak256(list(&unsigned));
        let (signature, recovery) = key
            .sign_prehash_recoverable(digest.as_slice())
            .context("signing a transaction")?;
        let mut signed = self.fields();
        let v = U256::from(self.chain_id * 2 + 35 + u64::from(recovery.to_byte()));
        let (r, s) = signature.split_bytes();
        for value in [v, U256::from_be_slice(&r), U256::from_be_slice(&s)] {
            value.encode(&mut signed);
        }
        Ok(list(&signed).into())
    }

    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len() + 200);
        for number in [self.nonce, self.gas_price, self.gas] {
            number.encode(&mut out);
        }
        let to: &[u8] = self.to.as_ref().map_or(&[], |to| &to.as_bytes()[..]);
        to.encode(&mut out);
        self.value.encode(&mut out);
        self.data.as_slice().encode(&mut out);
        out
    }
}

fn list(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 9);
    let header = Header {
        list: true,
        payload_length: payload.len(),
    };
    header.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_eip_155_is_signed_as_there() {
        let key = SigningKey::from_slice(&[0x46; 32]).unwrap();
        let transaction = Legacy {
            nonce: 9,
            gas_price: 20_000_000_000,
            gas: 21_000,
            to: Some(Address::new([0x35; 20])),
            value: U256::from(1_000_000_000_000_000_000_u64),
            data: Vec::new(),
            chain_id: 1,
        };
        assert_eq!(
            transaction.sign(&key).unwrap().to_string(),
            "0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080\
             25a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb7\
             03304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
        );
        assert_eq!(
            address(&key).to_string(),
            "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"
        );
    }
}
