//! Enumerations that are stored as words.

/// Declares an enumeration with its stored words: `as_str`, `FromStr`, `Display`, serde.
macro_rules! stored_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stored word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(s: &str) -> std::result::Result<Self, String> {
                Self::ALL.iter().copied().find(|x| x.as_str() == s).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|x| x.as_str()).collect();
                    format!("`{s}` is none of {}", known.join(", "))
                })
            }
        }
    };
}
pub(crate) use stored_words;

use sqlx::Row;
use sqlx::postgres::PgRow;
use std::str::FromStr;

/// Reads a column that holds a stored word.
pub(crate) fn word<T>(row: &PgRow, column: &'static str) -> sqlx::Result<T>
where
    T: FromStr<Err = String>,
{
    let word: &str = row.try_get(column)?;
    word.parse().map_err(|e: String| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: e.into(),
    })
}
