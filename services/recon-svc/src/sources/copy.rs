//! PostgreSQL's binary `COPY`, decoded by ourselves: rows become keys and exact amounts without a detour through
//! text or a decimal type.

use super::SourceError;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Cuts a binary `COPY` stream into rows, whatever the chunks are.
#[derive(Debug, Default)]
pub struct RowCutter {
    buffer: Vec<u8>,
    read: usize,
    header_done: bool,
    trailer_seen: bool,
}

impl RowCutter {
    /// Takes the next chunk and hands every complete row to `row` as its fields; `None` is SQL NULL.
    pub fn push<const N: usize>(
        &mut self,
        what: &'static str,
        chunk: &[u8],
        mut row: impl FnMut([Option<&[u8]>; N]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.buffer.extend_from_slice(chunk);
        let malformed = |detail: &str| SourceError::Malformed {
            what,
            detail: detail.to_owned(),
        };
        if !self.header_done && !self.take_header().map_err(malformed)? {
            return Ok(());
        }
        loop {
            let rest = &self.buffer[self.read..];
            match cut::<N>(rest).map_err(malformed)? {
                Cut::Row(fields, length) => {
                    row(fields)?;
                    self.read += length;
                }
                Cut::Trailer => {
                    self.trailer_seen = true;
                    break;
                }
                Cut::Incomplete => break,
            }
        }
        self.buffer.drain(..self.read);
        self.read = 0;
        Ok(())
    }

    /// A stream that ended before its trailer was cut off.
    pub fn finish(&self, what: &'static str) -> Result<(), SourceError> {
        if self.trailer_seen {
            return Ok(());
        }
        Err(SourceError::Malformed {
            what,
            detail: "it ended before its trailer".to_owned(),
        })
    }

    fn take_header(&mut self) -> Result<bool, &'static str> {
        let fixed = SIGNATURE.len() + 8;
        let Some(header) = self.buffer.get(..fixed) else {
            return Ok(false);
        };
        let (signature, numbers) = header.split_at(SIGNATURE.len());
        if signature != SIGNATURE {
            return Err("its signature is missing");
        }
        let extension = i32::from_be_bytes([numbers[4], numbers[5], numbers[6], numbers[7]]);
        let extension =
            usize::try_from(extension).map_err(|_negative| "its extension has a negative length")?;
        if self.buffer.len() < fixed + extension {
            return Ok(false);
        }
        self.read = fixed + extension;
        self.header_done = true;
        Ok(true)
    }
}

enum Cut<'a, const N: usize> {
    Row([Option<&'a [u8]>; N], usize),
    Trailer,
    Incomplete,
}

fn cut<const N: usize>(bytes: &[u8]) -> Result<Cut<'_, N>, &'static str> {
    let Some(count) = bytes.get(..2) else {
        return Ok(Cut::Incomplete);
    };
    let count = i16::from_be_bytes([count[0], count[1]]);
    if count == -1 {
        return Ok(Cut::Trailer);
    }
    if usize::try_from(count) != Ok(N) {
        return Err("a row has another number of fields");
    }
    let mut fields = [None; N];
    let mut at = 2;
    for field in &mut fields {
        let Some(length) = bytes.get(at..at + 4) else {
            return Ok(Cut::Incomplete);
        };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        at += 4;
        if length == -1 {
            continue;
        }
        let length = usize::try_from(length).map_err(|_negative| "a field has a negative length")?;
        let Some(value) = bytes.get(at..at + length) else {
            return Ok(Cut::Incomplete);
        };
        *field = Some(value);
        at += length;
    }
    Ok(Cut::Row(fields, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(rows: &[[Option<Vec<u8>>; 2]]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0; 8]);
        for row in rows {
            bytes.extend_from_slice(&2_i16.to_be_bytes());
            for field in row {
                let length = field
                    .as_ref()
                    .map_or(-1, |field| i32::try_from(field.len()).unwrap());
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(field.as_deref().unwrap_or_default());
            }
        }
        bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        bytes
    }

    fn any_field() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
    }

    proptest! {
        /// However the network cuts the stream, the rows are the same.
        #[test]
        fn rows_survive_any_chunking(
            rows in proptest::collection::vec([any_field(), any_field()], 0..20),
            chunk in 1_usize..50,
        ) {
            let mut cutter = RowCutter::default();
            let mut got: Vec<[Option<Vec<u8>>; 2]> = Vec::new();
            for part in stream(&rows).chunks(chunk) {
                cutter.push("test", part, |fields: [Option<&[u8]>; 2]| {
                    got.push(fields.map(|field| field.map(<[u8]>::to_vec)));
                    Ok(())
                }).unwrap();
            }
            cutter.finish("test").unwrap();
            prop_assert_eq!(got, rows);
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut all = SIGNATURE.to_vec();
            all.extend_from_slice(&[0; 8]);
            all.extend_from_slice(&bytes);
            let _ = RowCutter::default().push("test", &all, |_: [Option<&[u8]>; 2]| Ok(()));
        }
    }

    #[test]
    fn a_truncated_stream_is_no_end() {
        let bytes = stream(&[[Some(vec![1]), None]]);
        let mut cutter = RowCutter::default();
        cutter
            .push("test", &bytes[..bytes.len() - 2], |_: [Option<&[u8]>; 2]| Ok(()))
            .unwrap();
        assert!(cutter.finish("test").is_err());
        assert!(
            RowCutter::default()
                .push("test", &[0; 40], |_: [Option<&[u8]>; 2]| Ok(()))
                .is_err()
        );
    }
}
