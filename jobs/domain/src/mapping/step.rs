//! The steps a value can go through, as they are written.

use super::args::{FormatArgs, NullIf, PivotArgs, RangeArgs, RegexArgs, ReplaceArgs, SplitArgs};
use super::date::DateRule;
use super::path::Path;
use super::rule::Source;
use super::words::{BooleanArgs, CountryArgs, NamePart, NumberArgs, PhoneArgs, Table};
use crate::body::{CsvSettings, XmlSettings};
use serde::Deserialize;

/// One step of `then`. A step without arguments is written as its name (`"trim"`), one with
/// arguments as an object of one member (`{"join": ", "}`); arguments that all have defaults may be
/// left out (`"number"`). A step never sees an absent value, and one that is not about lists is
/// taken by every element of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// White space off both ends. Happens anyway when text is read.
    Trim,
    /// Every run of white space becomes one blank.
    Collapse,
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Every word begins with a capital.
    Title,
    /// Composed characters (Unicode NFC). Happens anyway when text is read.
    Nfc,
    /// Compatibility characters by their plain forms (Unicode NFKC).
    Nfkc,
    /// No NUL, control characters and marks of direction. Happens anyway when text is read.
    Strip,
    /// A value as text, numbers with their digits.
    #[serde(alias = "to_string")]
    Text,
    /// This before it.
    Prefix(String),
    /// This behind it.
    Suffix(String),
    /// At most so many characters.
    Truncate(usize),
    /// The pieces between separators, or one of them.
    Split(SplitArgs),
    /// What a regular expression finds.
    Regex(RegexArgs),
    /// One text, or what a regular expression finds, by another.
    Replace(ReplaceArgs),
    /// These texts mean that nothing was sent.
    NullIf(NullIf),
    /// The first word of a name, or all the others.
    SplitName(NamePart),
    /// What stands under a heading in Markdown.
    Section(String),
    /// The value that a text of JSON stands for.
    ParseJson,
    /// The same for XML.
    ParseXml(XmlSettings),
    /// The same for a table.
    ParseCsv(CsvSettings),
    /// The same for a URL-encoded form.
    ParseForm,
    /// An object's members as a list of keys and values.
    Entries,
    /// No salutations and titles before a name.
    StripTitles,
    /// What people read of HTML.
    HtmlText,
    /// `%41` and `+` as they are in URLs.
    UrlDecode,
    /// Base64, also that of URLs and without padding.
    #[serde(rename = "base64_decode")]
    Base64Decode,
    /// `&amp;` and the other character references of HTML.
    HtmlUnescape,
    /// `&amp;` and the other character references of XML.
    XmlUnescape,
    /// One parameter of the URL's query; the URL may be relative.
    QueryParam(String),
    /// One segment of the URL's path, from 0, or from the end with -1.
    PathSegment(i32),
    /// A list of scalars as one text, with this between them.
    Join(String),
    /// The first of a list.
    First,
    /// The last of a list.
    Last,
    /// One of a list, from 0, or from the end with -1.
    Nth(i32),
    /// How many there are.
    Count,
    /// Every value once.
    Distinct,
    /// The sum of numbers.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// A list of keys and values as an object.
    Pivot(PivotArgs),
    /// What stands at a path in the value.
    Get(Path),
    /// One value for another.
    Table(Table),
    /// A number as people write it, with or without its currency.
    Number(NumberArgs),
    /// One end of a range of numbers.
    Range(RangeArgs),
    /// At most so many decimals.
    Round(u32),
    /// Times ten to this power.
    Scale(i32),
    /// The currency of an amount, a sign or a word.
    Currency,
    /// Yes or no.
    Boolean(BooleanArgs),
    /// True if anything stands there, unless that itself says no.
    Present,
    /// An instant.
    Date(DateRule),
    /// An instant as text.
    FormatDate(FormatArgs),
    /// A phone number as E.164.
    Phone(PhoneArgs),
    /// An e-mail address in lower case.
    Email,
    /// A country as ISO 3166-1 alpha-2.
    Country(CountryArgs),
    /// Read apart, because its operand is a source.
    #[serde(skip)]
    Calculate(Calculation, Box<Source>),
}

/// What is calculated with an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calculation {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// The last so many digits are decimals.
    ImpliedDecimals,
    /// Cents: as many decimals as the currency has.
    MinorUnits,
}

impl Calculation {
    pub const ALL: [(&str, Self); 6] = [
        ("add", Self::Add),
        ("subtract", Self::Subtract),
        ("multiply", Self::Multiply),
        ("divide", Self::Divide),
        ("implied_decimals", Self::ImpliedDecimals),
        ("minor_units", Self::MinorUnits),
    ];
}

impl Step {
    /// Is it about the whole of a list?
    pub fn takes_lists(&self) -> bool {
        matches!(
            self,
            Self::Join(_)
                | Self::First
                | Self::Last
                | Self::Nth(_)
                | Self::Count
                | Self::Distinct
                | Self::Sum
                | Self::Min
                | Self::Max
                | Self::Pivot(_)
                | Self::Entries
                | Self::Get(_)
                | Self::Text
                | Self::Present
        )
    }
}
