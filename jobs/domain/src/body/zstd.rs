//! Bodies compressed with Zstandard (RFC 8878): any number of frames, those to be skipped among them.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::{Error, Read, Result};

/// How far back a frame may refer: what RFC 9659 (section 3) lets senders ask of whoever reads HTTP
/// bodies, bytes. The decoder keeps so much.
const WINDOW: u64 = 8 << 20;

/// Reads the frames of a body one after the other.
pub(super) struct Frames<'a> {
    rest: &'a [u8],
    open: Option<StreamingDecoder<&'a [u8], FrameDecoder>>,
}

impl<'a> Frames<'a> {
    /// The frames of this body; one without any is none.
    pub(super) fn of(body: &'a [u8]) -> Result<Self> {
        if body.is_empty() {
            return Err(Error::other("no frame"));
        }
        Ok(Self { rest: body, open: None })
    }

    /// Opens the next frame; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        while !self.rest.is_empty() {
            let at = self.rest;
            match StreamingDecoder::new_with_max_window_size(at, WINDOW) {
                Ok(frame) => {
                    self.open = Some(frame);
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    // Magic number and length, 4 bytes each, then what is skipped (RFC 8878, 3.1.2).
                    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(8));
                    let rest = end.and_then(|end| at.get(end..));
                    self.rest = rest.ok_or_else(|| Error::other("a skipped frame breaks off"))?;
                }
                Err(e) => return Err(Error::other(e)),
            }
        }
        Ok(false)
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            if let Some(frame) = &mut self.open {
                let n = frame.read(buffer)?;
                if n > 0 {
                    return Ok(n);
                }
                self.rest = frame.get_ref();
                self.open = None;
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}
