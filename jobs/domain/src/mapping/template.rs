//! Text with values in it: `{year} {make}[ ({colour})]`.

use super::path::Path;
use std::fmt;
use std::str::FromStr;

/// More than any text has; bounds the work.
const MOST_PARTS: usize = 64;

/// Text in which `{path}` stands for a value and `[...]` is left out where a value in it is absent.
/// `{{`, `}}`, `[[` and `]]` are the signs themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Path),
    Optional(Vec<Part>),
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text;
        let parts =
            read(&mut rest, false).map_err(|why| format!("`{text}` is no template: {why}"))?;
        if parts.len() > MOST_PARTS {
            return Err(format!("`{text}` is no template: it has more than {MOST_PARTS} parts"));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

fn read(rest: &mut &str, inside: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    loop {
        let Some(c) = rest.chars().next() else {
            if inside {
                return Err("a `[` is not closed; write `[[` for the sign itself".to_owned());
            }
            break;
        };
        let after = &rest[c.len_utf8()..];
        let doubled = matches!(c, '{' | '}' | '[' | ']') && after.starts_with(c);
        // `]]` ends two brackets nowhere: brackets do not nest.
        *rest = if doubled { &after[1..] } else { after };
        if doubled || !matches!(c, '{' | '}' | '[' | ']') {
            text.push(c);
            continue;
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        match c {
            '{' => {
                let end =
                    end_of_path(rest).ok_or("a `{` is not closed; write `{{` for the sign")?;
                parts.push(Part::Value(rest[..end].trim().parse()?));
                *rest = &rest[end + 1..];
            }
            '[' if !inside => parts.push(Part::Optional(read(rest, true)?)),
            ']' if inside => return Ok(parts),
            _ => return Err(format!("a `{c}` stands alone; write it twice for the sign itself")),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

/// Where the `}` stands that is in no quotes.
fn end_of_path(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

impl Template {
    /// The text; `None` if it names values and none of them is there. An absent value takes one
    /// blank beside it with it.
    ///
    /// # Errors
    /// What `value` returns.
    pub fn fill<E>(
        &self,
        value: &mut dyn FnMut(&Path) -> Result<Option<String>, E>,
    ) -> Result<Option<String>, E> {
        let mut filled = Filled { text: String::new(), found: 0, absent: 0, skip_blank: false };
        filled.add(&self.parts, value)?;
        Ok((filled.found > 0 || filled.absent == 0).then_some(filled.text))
    }

    /// Are all the values there that it must have, those outside of brackets?
    pub fn is_complete<E>(
        &self,
        value: &mut dyn FnMut(&Path) -> Result<Option<String>, E>,
    ) -> Result<bool, E> {
        for part in &self.parts {
            if let Part::Value(path) = part
                && value(path)?.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every path in it.
    pub fn paths(&self) -> Vec<&Path> {
        fn collect<'a>(parts: &'a [Part], paths: &mut Vec<&'a Path>) {
            for part in parts {
                match part {
                    Part::Text(_) => {}
                    Part::Value(path) => paths.push(path),
                    Part::Optional(inner) => collect(inner, paths),
                }
            }
        }
        let mut paths = Vec::new();
        collect(&self.parts, &mut paths);
        paths
    }

    /// The text before the first value.
    pub fn head(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }
}

struct Filled {
    text: String,
    found: usize,
    absent: usize,
    skip_blank: bool,
}

impl Filled {
    fn add<E>(
        &mut self,
        parts: &[Part],
        value: &mut dyn FnMut(&Path) -> Result<Option<String>, E>,
    ) -> Result<(), E> {
        for part in parts {
            match part {
                Part::Text(text) => {
                    let skip = std::mem::take(&mut self.skip_blank);
                    let text = if skip { text.strip_prefix(' ').unwrap_or(text) } else { text };
                    self.text.push_str(text);
                }
                Part::Value(path) => match value(path)? {
                    Some(text) => {
                        self.skip_blank = false;
                        self.found += 1;
                        self.text.push_str(&text);
                    }
                    None => {
                        self.absent += 1;
                        self.skip_blank = self.text.is_empty() || self.text.ends_with(' ');
                    }
                },
                Part::Optional(inner) => {
                    let mut part =
                        Self { text: String::new(), found: 0, absent: 0, skip_blank: false };
                    part.add(inner, value)?;
                    self.found += part.found;
                    self.absent += part.absent;
                    if part.absent == 0 {
                        self.text.push_str(&part.text);
                        self.skip_blank = false;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
