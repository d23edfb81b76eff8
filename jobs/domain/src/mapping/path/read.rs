//! Reading a path's text.

use super::{DEEPEST, Filter, Op, Path, Right, Root, Step, Test};

/// More tests in one filter than anybody writes.
const MOST_TESTS: usize = 16;
const RESERVED: &str = r#"]"'*?()=<>|"#;

pub(super) fn path(text: &str) -> Result<Path, String> {
    let mut reader = Reader { rest: text };
    let (root, steps) = reader.path()?;
    if !reader.rest.is_empty() {
        return Err(format!("a `.` or `[` must stand before `{}`", reader.rest));
    }
    if steps.len() > DEEPEST {
        return Err(format!("it has more than {DEEPEST} steps"));
    }
    Ok(Path { text: text.to_owned(), root, steps })
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn path(&mut self) -> Result<(Root, Vec<Step>), String> {
        if self.rest == "." {
            self.rest = "";
            return Ok((Root::Item, Vec::new()));
        }
        let root = self.root()?;
        let mut steps = Vec::new();
        // After a root the first step has its dot or bracket; without one the first key stands bare.
        if root == Root::Item && !self.rest.starts_with('[') {
            steps.push(self.key(&['.', '['])?);
        }
        self.more(&mut steps, &['.', '['])?;
        Ok((root, steps))
    }

    fn root(&mut self) -> Result<Root, String> {
        if self.take('^') {
            let mut levels = 1;
            while self.take('^') {
                levels += 1;
            }
            return Ok(Root::Above(levels));
        }
        if !self.take('$') {
            return Ok(Root::Item);
        }
        let end = self.rest.find(['.', '[']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return Ok(Root::Body);
        }
        if !is_name(name) {
            return Err(format!("`${name}` is no name; names have letters, digits and `_`"));
        }
        self.rest = rest;
        Ok(Root::Name(name.to_owned()))
    }

    /// Steps as long as they begin with a dot or a bracket.
    fn more(&mut self, steps: &mut Vec<Step>, ends: &[char]) -> Result<(), String> {
        loop {
            if self.take('[') {
                steps.push(self.bracket()?);
            } else if self.take('.') {
                steps.push(self.key(ends)?);
            } else {
                return Ok(());
            }
        }
    }

    fn take(&mut self, c: char) -> bool {
        let stripped = self.rest.strip_prefix(c);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn take_text(&mut self, text: &str) -> bool {
        let stripped = self.rest.strip_prefix(text);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn key(&mut self, ends: &[char]) -> Result<Step, String> {
        if self.take('~') {
            return match self.key(ends)? {
                Step::Key(key) => Ok(Step::AnyCase(key.to_lowercase())),
                _ => Err("behind `~` stands a key, such as `~email`".to_owned()),
            };
        }
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let key = self.quoted(quote)?;
            return Ok(if self.take('*') { Step::Prefix(key) } else { Step::Key(key) });
        }
        if self.take('(') {
            return self.dynamic();
        }
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (key, rest) = self.rest.split_at(end);
        let (key, prefix) = match key.strip_suffix('*') {
            Some(key) => (key, true),
            None => (key, false),
        };
        if key.is_empty() && !prefix {
            return Err("a key is empty".to_owned());
        }
        if key.trim() != key || key.contains(|c: char| RESERVED.contains(c)) {
            return Err(format!("the key `{key}` must be written in quotes"));
        }
        self.rest = rest;
        let key = key.to_owned();
        Ok(if prefix { Step::Prefix(key) } else { Step::Key(key) })
    }

    /// After `(`: a path of keys and indexes from the same value.
    fn dynamic(&mut self) -> Result<Step, String> {
        let steps = self.simple(&['.', '[', ')'])?;
        if !self.take(')') {
            return Err("a `(` is not closed".to_owned());
        }
        Ok(Step::Dynamic(steps))
    }

    /// Keys, indexes and `[*]`: what filters and dynamic keys look at.
    fn simple(&mut self, ends: &[char]) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        if !self.rest.starts_with('[') {
            steps.push(self.key(ends)?);
        }
        self.more(&mut steps, ends)?;
        let simple =
            |s: &Step| matches!(s, Step::Key(_) | Step::AnyCase(_) | Step::Index(_) | Step::All);
        if steps.len() > DEEPEST || !steps.iter().all(simple) {
            return Err("inside a filter or `(...)` only keys, [0] and [*] may stand".to_owned());
        }
        Ok(steps)
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut key = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c != quote {
                key.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
                key.push(quote);
                chars.next();
            } else {
                self.rest = &self.rest[at + 1..];
                return Ok(key);
            }
        }
        Err("a quote is not closed".to_owned())
    }

    /// After `[`.
    fn bracket(&mut self) -> Result<Step, String> {
        self.blanks();
        let before = self.rest;
        if let Some(quote @ ('"' | '\'')) = self.rest.chars().next() {
            let key = self.quoted(quote)?;
            if self.take(']') {
                return Ok(Step::Key(key));
            }
            self.rest = before;
        }
        if self.take_text("*]") {
            return Ok(Step::All);
        }
        let end = self.rest.find(']').ok_or("a `[` is not closed")?;
        let inside = self.rest[..end].trim();
        if inside.is_empty() {
            return Err("`[]` is empty; write an index such as [0], [*] or a test".to_owned());
        }
        if inside.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            let index = inside.parse().map_err(|_| {
                format!("`[{inside}]` is no index; write a whole number such as [0] or [-1]")
            })?;
            self.rest = &self.rest[end + 1..];
            return Ok(Step::Index(index));
        }
        let filter = self.filter()?;
        if self.take(']') { Ok(Step::Filter(filter)) } else { Err(self.unread_filter()) }
    }

    fn unread_filter(&self) -> String {
        format!(
            "a test in `[...]` cannot be read at `{}`; write it as in [kind == \"voice\" && primary == true]",
            self.rest
        )
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn filter(&mut self) -> Result<Filter, String> {
        let mut groups = vec![vec![self.test()?]];
        let mut count = 1;
        loop {
            self.blanks();
            if self.take_text("||") {
                groups.push(vec![self.test()?]);
            } else if self.take_text("&&") {
                let test = self.test()?;
                if let Some(group) = groups.last_mut() {
                    group.push(test);
                }
            } else {
                return Ok(Filter(groups));
            }
            count += 1;
            if count > MOST_TESTS {
                return Err(format!("a filter has more than {MOST_TESTS} tests"));
            }
        }
    }

    fn test(&mut self) -> Result<Test, String> {
        self.blanks();
        let negated = !self.rest.starts_with("!=") && self.take('!');
        self.blanks();
        let item = self.rest.strip_prefix('.').map(str::trim_start).filter(|rest| {
            rest.is_empty() || rest.starts_with(['=', '!', '<', '>', '&', '|', ']'])
        });
        let left = if let Some(rest) = item {
            self.rest = rest;
            Vec::new()
        } else {
            self.simple(&['.', '[', ']', '=', '!', '<', '>', '&', '|', ' '])?
        };
        self.blanks();
        let op = [
            ("==", Op::Equal),
            ("!=", Op::NotEqual),
            ("<=", Op::LessOrEqual),
            (">=", Op::GreaterOrEqual),
            ("=", Op::Equal),
            ("<", Op::Less),
            (">", Op::Greater),
        ]
        .into_iter()
        .find(|(sign, _)| self.take_text(sign));
        let right = match op {
            Some((_, op)) => Some((op, self.right()?)),
            None => None,
        };
        Ok(Test { negated, left, right })
    }

    fn right(&mut self) -> Result<Right, String> {
        self.blanks();
        if let Some(quote @ ('"' | '\'')) = self.rest.chars().next() {
            return self.quoted(quote).map(Right::Text);
        }
        let ends = ["]", "&&", "||"].iter().filter_map(|end| self.rest.find(end)).min();
        if self.rest.starts_with(['$', '^']) {
            return self.right_path();
        }
        let (text, rest) = self.rest.split_at(ends.ok_or("a `[` is not closed")?);
        let text = text.trim();
        if text.is_empty() {
            return Err(self.unread_filter());
        }
        self.rest = rest;
        Ok(Right::Text(text.to_owned()))
    }

    /// A path that begins with `$` or `^`, up to a blank, `]`, `&` or `|`.
    fn right_path(&mut self) -> Result<Right, String> {
        let before: &'a str = self.rest;
        let end = before.find([' ', '&', '|', ']', '[']).unwrap_or(before.len());
        let mut head = Reader { rest: &before[..end] };
        let (root, mut steps) = head.path()?;
        if !head.rest.is_empty() {
            return Err(self.unread_filter());
        }
        self.rest = &before[end..];
        while self.rest.starts_with(['[', '.']) {
            self.more(&mut steps, &[' ', '&', '|', ']', '.', '['])?;
        }
        if steps.iter().any(Step::is_multiple) || steps.len() > DEEPEST {
            return Err("the right side of a test must lead to one value".to_owned());
        }
        let text = before[..before.len() - self.rest.len()].to_owned();
        Ok(Right::Path(Box::new(Path { text, root, steps })))
    }
}

/// Is it fit to be named by `let`?
pub(in crate::mapping) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
