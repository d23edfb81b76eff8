//! Countries by code and by name.

use super::fold;
use std::collections::HashMap;
use std::sync::LazyLock;

/// One line a country: alpha-2, alpha-3, folded names.
static TABLE: &str = include_str!("../../data/countries.tsv");

static BY_NAME: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
        let mut columns = line.split('\t');
        let code = columns.next().unwrap_or_default();
        let alpha3 = columns.next().unwrap_or_default();
        names.insert(code, code);
        names.insert(alpha3, code);
        for name in columns.next().unwrap_or_default().split('|').filter(|n| !n.is_empty()) {
            names.insert(name, code);
        }
    }
    names
});

/// ISO 3166-1 alpha-2 of a country given as alpha-2, alpha-3 or by its name in English, Italian,
/// Spanish, French, German, Polish, Portuguese, Dutch, Romanian, Czech, Hungarian or its own
/// languages; case and accents do not matter.
#[must_use]
pub fn country(text: &str) -> Option<&'static str> {
    // No name is longer; folding a megabyte would be work for nothing.
    if text.len() > 200 {
        return None;
    }
    let folded = fold(text);
    BY_NAME.get(folded.as_str()).or_else(|| BY_NAME.get(folded.to_uppercase().as_str())).copied()
}
