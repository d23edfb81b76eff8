//! What failures have in common: an error's text without what differs from one time to the next.

use crate::ErrorReport;
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// Longest pattern kept. What comes later in a chain of causes hardly ever tells two faults apart.
const LONGEST: usize = 500;

/// What varies, tried in this order at each place. An apostrophe within a word quotes nothing.
static VARYING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?x)
        (?<text>  "(?:[^"\\\n]|\\.)*" | `[^`\n]*` | \B'[^'\n]*'\B )
        | (?<mail>  [\w.+%-]+@[\w-]+(?:\.[\w-]+)+ )
        | (?<uuid>  \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b )
        | (?<hex>   \b0[xX][0-9a-fA-F]+\b | \b[0-9a-fA-F]{8,}(?:[.,]\d+)*\b )
        | [0-9]+(?:[.,][0-9]+)*"#,
    )
    .expect("the expression is a constant")
});

impl ErrorReport {
    /// The message with every number, id, address and quotation replaced: failures that are alike
    /// have the same.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut pattern = VARYING.replace_all(&self.message, placeholder).into_owned();
        pattern.truncate(pattern.floor_char_boundary(LONGEST));
        pattern
    }
}

fn placeholder(found: &Captures<'_>) -> &'static str {
    let is = |name| found.name(name).is_some();
    // A long number looks like hexadecimal digits.
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    match () {
        () if is("text") => "<text>",
        () if is("mail") => "<e-mail>",
        () if is("uuid") => "<uuid>",
        () if is("hex") && !found[0].chars().all(digits) => "<hex>",
        () => "<n>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(message: &str) -> String {
        ErrorReport { class: "error", message: message.to_owned() }.pattern()
    }

    #[test]
    fn what_varies_is_replaced_and_the_words_stay() {
        for (message, expected) in [
            ("connection refused (os error 111)", "connection refused (os error <n>)"),
            ("took 1.5s of 30s", "took <n>s of <n>s"),
            ("took 123 us", "took <n> us"),
            ("took 1234567890 us", "took <n> us"),
            ("lead 0198c2d4-1a2b-7c3d-8e4f-0123456789ab is gone", "lead <uuid> is gone"),
            ("at 0xDEAD, digest a1b2c3d4e5f60718", "at <hex>, digest <hex>"),
            ("to jan.kowalski+x@mail.example.co.uk: no", "to <e-mail>: no"),
            (r#"field "first \"name\"" is `x y`"#, "field <text> is <text>"),
            ("the job's lease was lost to 'worker 7'", "the job's lease was lost to <text>"),
            ("it broke\nbecause of 203.0.113.7:5432", "it broke\nbecause of <n>:<n>"),
            ("żółw nr 5", "żółw nr <n>"),
            ("", ""),
        ] {
            assert_eq!(pattern(message), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = pattern(&"ł".repeat(LONGEST));
        assert_eq!(long.len(), LONGEST);
        assert!(long.chars().all(|c| c == 'ł'));
    }

    proptest::proptest! {
        #[test]
        fn numbers_and_ids_never_tell_two_failures_apart(
            a in 0_u64.., b in 0_u64.., x in proptest::array::uniform16(0_u8..),
        ) {
            let id = uuid::Uuid::from_bytes(x);
            let one = pattern(&format!("job {id} failed {a} times"));
            proptest::prop_assert_eq!(&one, &pattern(&format!("job {} failed {b} times", uuid::Uuid::nil())));
            proptest::prop_assert_eq!(one, "job <uuid> failed <n> times");
        }
    }
}
