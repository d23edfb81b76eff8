//! Date patterns (UTS 35) such as `dd.MM.yyyy HH:mm`: reading and writing by them.

use crate::normalise;
use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;
use serde::Deserialize;

/// A local time, and the offset that stood with it.
pub(super) type Local = (NaiveDateTime, Option<FixedOffset>);

/// A compiled date pattern.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Exactly this; a blank stands for any white space.
    Literal(char),
    /// A letter of the pattern and how often it stands there.
    Field(char, usize),
}

/// Month names, folded, January first; a name may be cut after its third letter. English, Italian,
/// Spanish, French, German, Polish (also inflected), Portuguese, Dutch, Czech (inflected).
const MONTHS: [&[&str]; 12] = [
    &[
        "january", "gennaio", "enero", "janvier", "januar", "styczen", "stycznia", "janeiro",
        "januari", "ledna",
    ],
    &[
        "february",
        "febbraio",
        "febrero",
        "fevrier",
        "februar",
        "luty",
        "lutego",
        "fevereiro",
        "februari",
        "unora",
    ],
    &[
        "march", "marzo", "mars", "marz", "marzec", "marca", "marco", "maart", "brezna", "mrz",
        "mrt",
    ],
    &["april", "aprile", "abril", "avril", "kwiecien", "kwietnia", "dubna"],
    &["may", "maggio", "mayo", "mai", "maj", "maja", "maio", "mei", "kvetna"],
    &["june", "giugno", "junio", "juin", "juni", "czerwiec", "czerwca", "junho", "cervna"],
    &["july", "luglio", "julio", "juillet", "juli", "lipiec", "lipca", "julho", "cervence"],
    &["august", "agosto", "aout", "sierpien", "sierpnia", "augustus", "srpna"],
    &[
        "september",
        "settembre",
        "septiembre",
        "septembre",
        "wrzesien",
        "wrzesnia",
        "setembro",
        "zari",
    ],
    &[
        "october",
        "ottobre",
        "octubre",
        "octobre",
        "oktober",
        "pazdziernik",
        "pazdziernika",
        "outubro",
        "rijna",
    ],
    &["november", "novembre", "noviembre", "listopad", "listopada", "novembro", "listopadu"],
    &[
        "december",
        "dicembre",
        "diciembre",
        "decembre",
        "dezember",
        "grudzien",
        "grudnia",
        "dezembro",
        "prosince",
    ],
];
const ENGLISH_DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The month whose full name this is, else whose name begins so (`nov`, `sept`).
fn month(word: &str) -> Option<u32> {
    let word = normalise::fold(word);
    let find = |fits: &dyn Fn(&str) -> bool| {
        let mut found = MONTHS.iter().position(|names| names.iter().any(|n| fits(n)));
        found = found.filter(|_| word.len() >= 3);
        found.and_then(|at| u32::try_from(at + 1).ok())
    };
    find(&|name| name == word).or_else(|| find(&|name| name.starts_with(word.as_str())))
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let pattern = Self::read_text(text)?;
        let has = |letter| pattern.has(letter);
        if !(has('y') && has('M') && has('d')) {
            return Err(format!(
                "the date format `{}` must have year, month and day",
                pattern.text
            ));
        }
        Ok(pattern)
    }
}

impl Pattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// One by which instants are written: it need not have year, month and day.
    pub fn for_writing(text: String) -> Result<Self, String> {
        Self::read_text(text)
    }

    fn has(&self, letter: char) -> bool {
        self.pieces.iter().any(|p| matches!(p, Piece::Field(c, _) if *c == letter))
    }

    fn read_text(text: String) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut quoted = false;
        for c in text.chars() {
            if c == '\'' {
                quoted = !quoted;
            } else if quoted || !c.is_ascii_alphabetic() {
                pieces.push(Piece::Literal(c));
            } else if let Some(Piece::Field(letter, n)) = pieces.last_mut()
                && *letter == c
            {
                *n += 1;
            } else {
                pieces.push(Piece::Field(c, 1));
            }
        }
        let known = |piece: &Piece| match piece {
            Piece::Literal(_) => true,
            Piece::Field(c, n) => match c {
                'y' => matches!(n, 2 | 4),
                'M' => *n <= 4,
                'E' => *n <= 4,
                'd' | 'H' | 'h' | 'm' | 's' => *n <= 2,
                'S' => *n <= 9,
                'a' | 'Z' => *n == 1,
                'X' => *n <= 3,
                _ => false,
            },
        };
        if let Some(Piece::Field(c, n)) = pieces.iter().find(|p| !known(p)) {
            let field = c.to_string().repeat(*n);
            return Err(format!(
                "the date format `{text}` has `{field}`; known are yyyy yy MMMM MMM MM M dd d EEE \
                 HH H hh h mm m ss s S a X Z, and 'text' in single quotes"
            ));
        }
        let pattern = Self { text, pieces };
        if quoted || pattern.has('h') != pattern.has('a') {
            return Err(format!(
                "the date format `{}` must have its quotes in pairs, and `a` with `h`",
                pattern.text
            ));
        }
        Ok(pattern)
    }

    /// The instant as a text, in a zone; names in English.
    pub fn write(&self, instant: DateTime<Utc>, zone: Tz) -> String {
        use std::fmt::Write as _;
        let t = instant.with_timezone(&zone);
        let mut out = String::new();
        for piece in &self.pieces {
            let (letter, n) = match piece {
                Piece::Literal(c) => {
                    out.push(*c);
                    continue;
                }
                Piece::Field(letter, n) => (*letter, *n),
            };
            let number = match letter {
                'y' if n == 2 => u32::try_from(t.year().rem_euclid(100)).unwrap_or_default(),
                'y' => u32::try_from(t.year()).unwrap_or_default(),
                'M' => t.month(),
                'd' => t.day(),
                'H' => t.hour(),
                'h' => t.hour12().1,
                'm' => t.minute(),
                's' => t.second(),
                'S' => {
                    (t.nanosecond() % 1_000_000_000)
                        / 10_u32.pow(9 - u32::try_from(n).unwrap_or(9).min(9))
                }
                _ => 0,
            };
            // Writing to a string does not fail.
            let _ = match letter {
                'a' => write!(out, "{}", if t.hour() < 12 { "AM" } else { "PM" }),
                'X' | 'Z' => write!(
                    out,
                    "{}",
                    if letter == 'X' && n == 3 { t.format("%:z") } else { t.format("%z") }
                ),
                'M' if n > 2 => write!(out, "{}", t.format(if n == 3 { "%b" } else { "%B" })),
                'E' => {
                    let day = ENGLISH_DAYS[t.weekday().num_days_from_monday() as usize % 7];
                    write!(out, "{}", if n > 3 { day } else { &day[..3] })
                }
                _ => write!(out, "{number:0n$}"),
            };
        }
        out
    }
}

/// What has been read so far.
#[derive(Default)]
struct Parts {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nano: u32,
    afternoon: Option<bool>,
    offset: Option<FixedOffset>,
}

impl Pattern {
    /// The local time that a text names, and its offset if it names one.
    pub fn read(&self, text: &str) -> Option<Local> {
        let mut rest = text.trim();
        let mut parts = Parts::default();
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            rest = match piece {
                Piece::Literal(c) if c.is_whitespace() => {
                    let trimmed = rest.trim_start();
                    (trimmed.len() < rest.len()).then_some(trimmed)?
                }
                Piece::Literal(c) => rest.strip_prefix(*c)?,
                Piece::Field(letter, n) => parts.take(*letter, *n, rest)?,
            };
            // `nov.`: the dot of a cut name, unless the pattern has one there.
            let is_name = matches!(piece, Piece::Field('E', _) | Piece::Field('M', 3..));
            if is_name && pieces.peek() != Some(&&Piece::Literal('.')) {
                rest = rest.strip_prefix('.').unwrap_or(rest);
            }
        }
        if !rest.is_empty() {
            return None;
        }
        parts.local()
    }
}

impl Parts {
    /// Reads one field and gives back the rest of the text.
    fn take<'a>(&mut self, letter: char, n: usize, text: &'a str) -> Option<&'a str> {
        match letter {
            'a' => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = match half.to_ascii_lowercase().as_str() {
                    "am" => Some(false),
                    "pm" => Some(true),
                    _ => return None,
                };
                return Some(rest);
            }
            'X' | 'Z' => {
                let (offset, rest) = take_offset(text)?;
                self.offset = Some(offset);
                return Some(rest);
            }
            'E' => {
                let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
                return (end > 0).then_some(&text[end..]);
            }
            'M' if n > 2 => {
                let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
                self.month = month(&text[..end])?;
                return Some(&text[end..]);
            }
            _ => {}
        }
        // One letter takes one or two digits, more letters exactly as many; fractions as written.
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let width = if n == 1 && letter != 'S' { digits.min(2) } else { n };
        if width == 0 || digits < width {
            return None;
        }
        let (number, rest) = text.split_at(width);
        let value: u32 = number.parse().ok()?;
        match letter {
            'y' if n == 4 => self.year = i32::try_from(value).ok()?,
            // Two digits: 1970 to 2069, as POSIX nearly says.
            'y' => {
                self.year =
                    i32::try_from(if value < 70 { 2000 + value } else { 1900 + value }).ok()?
            }
            'M' => self.month = value,
            'd' => self.day = value,
            'H' | 'h' => self.hour = value,
            'm' => self.minute = value,
            's' => self.second = value,
            'S' => self.nano = value * 10_u32.pow(u32::try_from(9 - n).ok()?),
            _ => return None,
        }
        Some(rest)
    }

    fn local(self) -> Option<Local> {
        let hour = match self.afternoon {
            None => self.hour,
            Some(_) if !(1..=12).contains(&self.hour) => return None,
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
        };
        let second = if self.second == 60 { 59 } else { self.second }; // a leap second
        let date = NaiveDate::from_ymd_opt(self.year, self.month, self.day)?;
        Some((date.and_hms_nano_opt(hour, self.minute, second, self.nano)?, self.offset))
    }
}

/// `Z`, `+02`, `+0200` or `+02:00`.
fn take_offset(text: &str) -> Option<(FixedOffset, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((FixedOffset::east_opt(0)?, rest));
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, rest) = text[1..].split_at_checked(2)?;
    let after_colon = rest.strip_prefix(':').unwrap_or(rest);
    let (minutes, rest) = match after_colon.split_at_checked(2) {
        Some((m, rest)) if m.bytes().all(|b| b.is_ascii_digit()) => (m, rest),
        _ => ("0", rest),
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some((FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))?, rest))
}
