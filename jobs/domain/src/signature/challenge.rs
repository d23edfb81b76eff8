//! What may be signed for a stranger who asks "do you know the secret?", kept apart from whatever
//! counts as a signed delivery: else the answer to a question would be a forged delivery's signature.

/// Without its padding, bytes.
const LONGEST: usize = 256;

/// Is this text one word as senders make them up for a question: a UUID, Base64 of either alphabet,
/// hexadecimal? JSON, XML, forms and addresses are none.
pub(crate) fn is_challenge<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let (mut word, mut padding) = (0_usize, 0_usize);
    for byte in pieces.into_iter().flatten() {
        match byte {
            b'=' => padding += 1,
            _ if padding == 0 && is_plain(*byte) => word += 1,
            _ => return false,
        }
        if word > LONGEST || padding > 2 {
            return false;
        }
    }
    word > 0
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~+/-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str) -> bool {
        is_challenge([text.as_bytes()])
    }

    #[test]
    fn words_are_challenges() {
        let longest = "x".repeat(LONGEST);
        for word in [
            "890e4665-4dfe-4ab1-b689-ed553bceeed0",
            "qgg8vlvZRS6UYooatFL8Aw",
            "YTE3+a/b==",
            "a._~-",
            &longest,
            &format!("{longest}=="),
        ] {
            assert!(is(word), "{word}");
        }
        assert!(is_challenge([&b"a"[..], b"", b"b="]), "in pieces");
    }

    #[test]
    fn nothing_that_could_be_delivered_is_one() {
        for text in [
            "",
            "==",
            "a===",
            r#"{"email":"x@y"}"#,
            "[1]",
            "\"a\"",
            "a b",
            "a=b",
            "hmacsha256={}",
            "a&b",
            "a\nb",
            "<a/>",
            "https://h/x",
            "1700000000.{}",
            "a,b",
            "é",
            "a%20b",
            &"x".repeat(LONGEST + 1),
        ] {
            assert!(!is(text), "{text}");
        }
        assert!(!is_challenge([&b"a="[..], b"b"]), "padding in the middle");
    }
}
