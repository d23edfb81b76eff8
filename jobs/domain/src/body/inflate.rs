//! Compressed bodies.

use super::BodyFault;
use super::zstd::Frames;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use serde_json::Value;
use std::borrow::Cow;
use std::io::Read;

/// Text compresses to a tenth, repetitive text to a hundredth. Beyond this somebody means harm.
const MOST_RATIO: usize = 200;
/// Below this many bytes a ratio says nothing.
const HARMLESS: usize = 64 << 10;

enum Coding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

/// Refuses codings that are not read here.
pub(super) fn check(content_encoding: Option<&str>) -> Result<(), BodyFault> {
    coding(content_encoding).map(|_| ())
}

fn coding(content_encoding: Option<&str>) -> Result<Coding, BodyFault> {
    let name = content_encoding.unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match name.as_str() {
        "" | "identity" => Coding::Identity,
        "gzip" | "x-gzip" => Coding::Gzip,
        "deflate" => Coding::Deflate,
        "zstd" => Coding::Zstd,
        _ => {
            let message =
                "send the body as it is, or with `Content-Encoding: gzip`, `deflate` or `zstd`";
            return Err(BodyFault::unsupported("unsupported_content_encoding", message));
        }
    })
}

/// The body without its compression, at most `limit` bytes of it.
///
/// # Errors
/// 415 for other codings, 400 if it is not what it claims to be, 413 if it is a bomb.
pub(super) fn inflate<'a>(
    content_encoding: Option<&str>,
    body: &'a [u8],
    limit: usize,
) -> Result<Cow<'a, [u8]>, BodyFault> {
    let inflated = match coding(content_encoding)? {
        Coding::Identity => return Ok(Cow::Borrowed(body)),
        Coding::Gzip => read(MultiGzDecoder::new(body), body.len(), limit, "gzip"),
        // RFC 9110, 8.4.1.2 means zlib; some senders send it bare.
        Coding::Deflate if is_zlib(body) => {
            read(ZlibDecoder::new(body), body.len(), limit, "deflate")
        }
        Coding::Deflate => read(DeflateDecoder::new(body), body.len(), limit, "deflate"),
        Coding::Zstd => match Frames::of(body) {
            Ok(frames) => read(frames, body.len(), limit, "zstd"),
            Err(_) => Err(malformed("zstd")),
        },
    };
    inflated.map(Cow::Owned)
}

/// RFC 1950, 2.2: method 8, and the two bytes are a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [first, second, ..] => {
            first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0
        }
        _ => false,
    }
}

fn read(
    mut decoder: impl Read,
    compressed: usize,
    limit: usize,
    name: &str,
) -> Result<Vec<u8>, BodyFault> {
    let bomb = |why: String| Err(BodyFault::too_large("compression_bomb", why));
    let mut out = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let read = match decoder.read(&mut chunk) {
            Ok(0) => return Ok(out),
            Ok(n) => n,
            Err(_) => return Err(malformed(name)),
        };
        out.extend_from_slice(&chunk[..read]);
        if out.len() > limit {
            return bomb(format!("the body is larger than {limit} bytes once it is inflated"));
        }
        if out.len() > HARMLESS && out.len() / MOST_RATIO > compressed {
            return bomb(format!("the body inflates to more than {MOST_RATIO} times its size"));
        }
    }
}

fn malformed(name: &str) -> BodyFault {
    let message = format!("the body is not {name}, as it claims, or it breaks off");
    BodyFault::malformed("invalid_compression", message, Value::Null)
}
