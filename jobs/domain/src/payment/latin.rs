//! Names in the letters that every bank of SEPA takes.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Letters that do not fall apart into a Latin letter and a mark.
const LETTERS: [(char, &str); 18] = [
    ('ł', "l"),
    ('Ł', "L"),
    ('ß', "ss"),
    ('ẞ', "SS"),
    ('æ', "ae"),
    ('Æ', "AE"),
    ('ø', "o"),
    ('Ø', "O"),
    ('đ', "d"),
    ('Đ', "D"),
    ('ð', "d"),
    ('þ', "th"),
    ('Þ', "TH"),
    ('œ', "oe"),
    ('Œ', "OE"),
    ('ı', "i"),
    ('’', "'"),
    ('&', "+"),
];

/// ISO 843 for single letters; digraphs are left to people.
const GREEK: [(char, &str); 25] = [
    ('α', "a"),
    ('β', "v"),
    ('γ', "g"),
    ('δ', "d"),
    ('ε', "e"),
    ('ζ', "z"),
    ('η', "i"),
    ('θ', "th"),
    ('ι', "i"),
    ('κ', "k"),
    ('λ', "l"),
    ('μ', "m"),
    ('ν', "n"),
    ('ξ', "x"),
    ('ο', "o"),
    ('π', "p"),
    ('ρ', "r"),
    ('σ', "s"),
    ('ς', "s"),
    ('τ', "t"),
    ('υ', "y"),
    ('φ', "f"),
    ('χ', "ch"),
    ('ψ', "ps"),
    ('ω', "o"),
];

/// A text in the characters of the SEPA rulebooks (EPC217-08: `a-z A-Z 0-9 / - ? : ( ) . , ' +` and
/// blank), at most `most` of them. What has no like becomes a full stop; blanks at the ends and `/` at
/// the ends, which a payment message may not have, go. May come out empty.
#[must_use]
pub fn sepa_text(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfd().filter(|c| !is_combining_mark(*c)) {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => out.push(c),
            '/' | '-' | '?' | ':' | '(' | ')' | '.' | ',' | '\'' | '+' => out.push(c),
            c if c.is_whitespace() => out.push(' '),
            c => out.push_str(&like(c)),
        }
    }
    let words: Vec<&str> = out.split(' ').filter(|w| !w.is_empty()).collect();
    let joined: String = words.join(" ").chars().take(most).collect();
    // No `//` anywhere either (EPC217-08, 1.4).
    let single = joined.replace("//", "/ ");
    single.trim_matches(|c| c == ' ' || c == '/').to_owned()
}

fn like(c: char) -> String {
    let found = |table: &[(char, &str)], c: char| {
        table.iter().find(|(letter, _)| *letter == c).map(|(_, like)| (*like).to_owned())
    };
    if let Some(like) = found(&LETTERS, c) {
        return like;
    }
    let small = c.to_lowercase().next().unwrap_or(c);
    match found(&GREEK, small) {
        Some(like) if small == c => like,
        Some(like) => {
            let mut letters = like.chars();
            letters.next().map(|l| l.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
        None => ".".to_owned(),
    }
}
