//! Rows out of `COPY ... TO STDOUT (FORMAT binary)`, however the stream is cut.
//! <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>

use bytes::{Buf, Bytes, BytesMut};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// What is no such stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is no binary COPY: {0}")]
pub struct NoCopy(&'static str);

/// Takes a stream piece by piece and gives its rows of two columns: a position and bytes.
#[derive(Debug, Default)]
pub struct Rows {
    rest: Bytes,
    begun: bool,
    ended: bool,
}

impl Rows {
    /// Takes the next piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.rest.is_empty() {
            self.rest = piece;
        } else {
            let mut joined = BytesMut::with_capacity(self.rest.len() + piece.len());
            joined.extend_from_slice(&self.rest);
            joined.extend_from_slice(&piece);
            self.rest = joined.freeze();
        }
    }

    /// Whether the stream's end was seen: without it the stream was cut.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The next row: the position in the log and the message. None until more is pushed.
    ///
    /// # Errors
    /// The stream is not what it should be.
    pub fn row(&mut self) -> Result<Option<(u64, Bytes)>, NoCopy> {
        if self.ended {
            return if self.rest.is_empty() {
                Ok(None)
            } else {
                Err(NoCopy("bytes after its end"))
            };
        }
        if !self.begun && !self.header()? {
            return Ok(None);
        }
        let mut ahead = Ahead(&self.rest);
        let Some(fields) = ahead.i16() else { return Ok(None) };
        if fields == -1 {
            self.ended = true;
            self.rest.advance(2);
            return self.row();
        }
        if fields != 2 {
            return Err(NoCopy("a row has not two columns"));
        }
        let Some(length) = ahead.i32() else { return Ok(None) };
        if length != 8 {
            return Err(NoCopy("a position has not eight bytes"));
        }
        let Some(position) = ahead.take(8) else { return Ok(None) };
        let position = position.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        let Some(length) = ahead.i32() else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| NoCopy("a message is missing"))?;
        let begin = self.rest.len() - ahead.0.len();
        if ahead.take(length).is_none() {
            return Ok(None);
        }
        let message = self.rest.slice(begin..begin + length);
        self.rest.advance(begin + length);
        Ok(Some((position, message)))
    }

    fn header(&mut self) -> Result<bool, NoCopy> {
        let mut ahead = Ahead(&self.rest);
        let Some(signature) = ahead.take(SIGNATURE.len()) else { return Ok(false) };
        if signature != SIGNATURE {
            return Err(NoCopy("it begins otherwise"));
        }
        let Some(flags) = ahead.i32() else { return Ok(false) };
        if flags != 0 {
            return Err(NoCopy("it has flags that are not known"));
        }
        let Some(extension) = ahead.i32() else { return Ok(false) };
        let extension = usize::try_from(extension).map_err(|_| NoCopy("its header is damaged"))?;
        if ahead.take(extension).is_none() {
            return Ok(false);
        }
        let header = self.rest.len() - ahead.0.len();
        self.rest.advance(header);
        self.begun = true;
        Ok(true)
    }
}

/// Looks at what is there without taking it.
struct Ahead<'a>(&'a [u8]);

impl<'a> Ahead<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn stream(rows: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend([0; 8]);
        for (position, message) in rows {
            out.extend(2i16.to_be_bytes());
            out.extend(8i32.to_be_bytes());
            out.extend(position.to_be_bytes());
            out.extend(i32::try_from(message.len()).unwrap().to_be_bytes());
            out.extend(message);
        }
        out.extend((-1i16).to_be_bytes());
        out
    }

    proptest! {
        #[test]
        fn rows_come_out_as_they_went_in_however_the_stream_is_cut(
            rows in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cuts in prop::collection::vec(1usize..30, 1..60),
        ) {
            let whole = stream(&rows);
            let (mut left, mut reader, mut found) = (whole.as_slice(), Rows::default(), Vec::new());
            for cut in cuts.iter().cycle() {
                let (piece, rest) = left.split_at((*cut).min(left.len()));
                reader.push(Bytes::copy_from_slice(piece));
                while let Some((position, message)) = reader.row().unwrap() {
                    found.push((position, message.to_vec()));
                }
                left = rest;
                if left.is_empty() {
                    break;
                }
            }
            prop_assert!(reader.ended());
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), headed: bool) {
            let mut reader = Rows::default();
            if headed {
                reader.push(Bytes::from(stream(&[])[..19].to_vec()));
            }
            reader.push(bytes.into());
            while let Ok(Some(_)) = reader.row() {}
        }
    }

    #[test]
    fn a_stream_that_was_cut_is_not_taken_for_a_whole_one() {
        let whole = stream(&[(1, b"a".to_vec())]);
        let mut reader = Rows::default();
        reader.push(Bytes::from(whole[..whole.len() - 1].to_vec()));
        assert!(reader.row().unwrap().is_some() && reader.row().unwrap().is_none());
        assert!(!reader.ended());
    }
}
