//! [`CopyDigester`]: rows and digest of a stream, without decoding any value.

use eidos_types::copy_binary::CopyScanner;

use crate::codec_error::CodecError;
use crate::digest::ContentDigest;

/// Counts and digests the rows of a COPY BINARY stream that is fed in pieces of any size.
#[derive(Debug)]
pub struct CopyDigester {
    scanner: CopyScanner,
    digest: ContentDigest,
}

impl CopyDigester {
    /// For a stream of rows with this many columns.
    #[must_use]
    pub const fn new(columns: usize) -> Self {
        Self {
            scanner: CopyScanner::new(columns),
            digest: ContentDigest::ZERO,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`CodecError::Stream`] when they cannot be such a stream.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), CodecError> {
        let digest = &mut self.digest;
        self.scanner.feed(chunk, CodecError::from, |tuple| {
            digest.add(tuple.bytes());
            Ok(())
        })
    }

    /// The stream has ended: how many rows it had and their digest.
    ///
    /// # Errors
    /// [`CodecError::Stream`] when its trailer is missing: it was cut off.
    pub fn finish(self) -> Result<(u64, ContentDigest), CodecError> {
        Ok((self.scanner.finish()?, self.digest))
    }
}
