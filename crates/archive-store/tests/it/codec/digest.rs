//! The content digest: a multiset's, not a list's and not a set's.

use eidos_archive_store::{COPY_HEADER, CodecError, ContentDigest, CopyDigester};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::rows::tuple;
use super::{digest_of, stream_of};

fn rows(names: &[&str]) -> Vec<Vec<u8>> {
    names
        .iter()
        .map(|name| tuple(&[Some(name.as_bytes().to_vec())]))
        .collect()
}

#[test]
fn order_does_not_matter_but_every_row_does() {
    let abc = digest_of(&rows(&["a", "b", "c"]));
    assert_eq!(abc, digest_of(&rows(&["c", "a", "b"])));
    assert_ne!(abc, digest_of(&rows(&["a", "b"])));
    assert_ne!(abc, digest_of(&rows(&["a", "b", "d"])));
    // With a XOR these two rows would vanish.
    assert_ne!(digest_of(&rows(&["a", "x", "x"])), digest_of(&rows(&["a"])));
    assert_ne!(
        digest_of(&rows(&["a", "x", "x"])),
        digest_of(&rows(&["a", "y", "y"]))
    );
}

#[test]
fn one_row_is_its_sha_256() {
    let row = &rows(&["a"])[0];
    assert_eq!(
        ContentDigest::of_row(row).to_string(),
        hex::encode(Sha256::digest(row))
    );
}

#[test]
fn a_digest_is_read_back_from_its_text() {
    let digest = digest_of(&rows(&["a", "b"]));
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!(
        serde_json::from_str::<ContentDigest>(&serde_json::to_string(&digest).unwrap()).unwrap(),
        digest
    );
    for wrong in ["", "00", &"g".repeat(64), &"A".repeat(64), &"0".repeat(66)] {
        assert!(wrong.parse::<ContentDigest>().is_err(), "{wrong}");
    }
}

proptest! {
    /// The sum of 256-bit numbers, done with decimal text's own arithmetic in 64-bit digits.
    #[test]
    fn merging_adds_modulo_2_to_the_256(left in any::<[u8; 32]>(), right in any::<[u8; 32]>()) {
        let mut sum = [0_u8; 32];
        let mut carry = 0_u16;
        for i in (0..32).rev() {
            let digit = u16::from(left[i]) + u16::from(right[i]) + carry;
            sum[i] = u8::try_from(digit & 0xff).unwrap();
            carry = digit >> 8;
        }
        let mut digest: ContentDigest = hex::encode(left).parse().unwrap();
        digest.merge(&hex::encode(right).parse().unwrap());
        prop_assert_eq!(digest.to_string(), hex::encode(sum));
    }
}

#[test]
fn a_stream_without_trailer_is_no_short_table() {
    let stream = stream_of(&rows(&["a", "b"]));
    for end in 0..stream.len() {
        let mut digester = CopyDigester::new(1);
        digester.feed(&stream[..end]).unwrap();
        let error = digester.finish().unwrap_err();
        assert!(
            matches!(error, CodecError::Stream { .. }),
            "cut at {end}: {error}"
        );
    }
}

#[test]
fn a_stream_that_is_none_is_refused() {
    let row = &rows(&["a"])[0];
    let with_header = |change: fn(&mut [u8; 19])| {
        let mut header = COPY_HEADER;
        change(&mut header);
        [&header[..], row].concat()
    };
    let cases = [
        (with_header(|header| header[0] = b'p'), "signature"),
        // A text stream that went through a line-end conversion.
        (with_header(|header| header[8] = b'\n'), "signature"),
        (with_header(|header| header[12] = 1), "flags"),
        (with_header(|header| header[15] = 1), "extension"),
        ([&COPY_HEADER[..], &tuple(&[None, None])].concat(), "fields"),
        (
            [&COPY_HEADER[..], &[0, 1, 0xff, 0xff, 0xff, 0xfe]].concat(),
            "field of -2 bytes",
        ),
        (
            [&COPY_HEADER[..], &[0, 1, 0x7f, 0xff, 0xff, 0xff]].concat(),
            "field of 2147483647 bytes",
        ),
        ([&stream_of(&[])[..], row].concat(), "trailer"),
    ];
    for (stream, says) in cases {
        let error = CopyDigester::new(1).feed(&stream).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
