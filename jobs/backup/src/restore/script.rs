//! The schema's second part, cut into statements, and which of them must come when.

use std::collections::HashSet;

/// When a statement's turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Primary keys and replica identities: before the changes, which are applied by key.
    Key,
    /// Other indexes and unique constraints: in parallel, after the changes.
    Index,
    /// What puts partitions' indexes together: after them.
    Attach,
    /// Foreign keys: made unchecked, then checked in parallel.
    Foreign,
    /// Triggers, policies, grants and what else there is, in the order of the file.
    Rest,
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub turn: Turn,
    /// Without its semicolon.
    pub text: String,
    /// The table that it is about, as it stands in the text, if it makes something of a table.
    pub table: Option<String>,
    /// The constraint or index that it makes.
    pub made: Option<String>,
}

/// Cuts a file into its statements and says whose turn is when.
pub(super) fn statements(script: &str) -> Vec<Statement> {
    let texts = cut(script);
    let all: Vec<(Vec<&str>, &str)> = texts.iter().map(|t| (words(t), *t)).collect();
    // The indexes that rows are identified by.
    let identities: HashSet<&str> = all
        .iter()
        .filter_map(|(words, _)| match after(words, &["replica", "identity", "using", "index"]) {
            Some([index, ..]) => Some(*index),
            _ => None,
        })
        .collect();
    let mut found: Vec<Statement> =
        all.iter().map(|(words, text)| classify(words, text, &identities)).collect();
    // Where rows go by another index, the primary key must not be there yet: two rows that have swapped
    // it may be put in one before the other.
    let others: HashSet<String> = all
        .iter()
        .filter(|(words, _)| after(words, &["replica", "identity", "using", "index"]).is_some())
        .filter_map(|(words, text)| classify(words, text, &identities).table)
        .collect();
    for statement in found.iter_mut().filter(|s| s.turn == Turn::Key) {
        let other = statement.table.as_ref().is_some_and(|t| others.contains(t));
        if other && statement.made.as_deref().is_some_and(|m| !identities.contains(m)) {
            statement.turn = Turn::Index;
        }
    }
    // The parts of a partitioned table's key become one when all of them are there.
    let keys: HashSet<String> = found
        .iter()
        .filter(|s| s.turn == Turn::Key)
        .filter_map(|s| s.made.as_deref().map(last_part))
        .collect();
    for statement in found.iter_mut().filter(|s| s.turn == Turn::Attach) {
        if statement.made.as_deref().is_some_and(|m| keys.contains(&last_part(m))) {
            statement.turn = Turn::Key;
        }
    }
    found
}

fn classify(words: &[&str], text: &str, identities: &HashSet<&str>) -> Statement {
    let statement = |turn, table: Option<&str>, made: Option<&str>| Statement {
        turn,
        text: text.to_owned(),
        table: table.map(str::to_owned),
        made: made.map(str::to_owned),
    };
    let is = |at: usize, word: &str| words.get(at).is_some_and(|w| w.eq_ignore_ascii_case(word));
    if is(0, "alter") && is(1, "table") {
        let at = 2 + usize::from(is(2, "only"));
        let table = words.get(at).copied();
        if is(at + 1, "add") && is(at + 2, "constraint") {
            let name = words.get(at + 3).copied();
            let key = name.is_some_and(|n| identities.contains(n));
            return match words.get(at + 4) {
                Some(kind) if kind.eq_ignore_ascii_case("primary") || key => {
                    statement(Turn::Key, table, name)
                }
                Some(kind)
                    if kind.eq_ignore_ascii_case("unique")
                        || kind.eq_ignore_ascii_case("exclude") =>
                {
                    statement(Turn::Index, table, name)
                }
                Some(kind) if kind.eq_ignore_ascii_case("foreign") => {
                    statement(Turn::Foreign, table, name)
                }
                _ => statement(Turn::Rest, table, None),
            };
        }
        if is(at + 1, "replica") && is(at + 2, "identity") {
            return statement(Turn::Key, table, None);
        }
    }
    if is(0, "create") && (is(1, "index") || is(1, "unique") && is(2, "index")) {
        let at = if is(1, "index") { 2 } else { 3 };
        if is(at + 1, "on") {
            let table = at + 2 + usize::from(is(at + 2, "only"));
            let name = words.get(at).copied();
            let key = name.is_some_and(|n| identities.contains(n));
            let turn = if key { Turn::Key } else { Turn::Index };
            return statement(turn, words.get(table).copied(), name);
        }
    }
    if is(0, "alter") && is(1, "index") && is(3, "attach") {
        return statement(Turn::Attach, None, words.get(5).copied());
    }
    statement(Turn::Rest, None, None)
}

fn after<'a, 'w>(words: &'w [&'a str], phrase: &[&str]) -> Option<&'w [&'a str]> {
    let same = |w: &[&str]| w.iter().zip(phrase).all(|(a, b)| a.eq_ignore_ascii_case(b));
    words.windows(phrase.len()).position(same).and_then(|at| words.get(at + phrase.len()..))
}

/// `index` of `schema.index`, without quotes.
fn last_part(name: &str) -> String {
    let mut quoted = false;
    let mut begin = 0;
    for (at, c) in name.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => begin = at + 1,
            _ => {}
        }
    }
    name.get(begin..).unwrap_or(name).trim_matches('"').to_owned()
}

/// The first words of a statement; a name with its schema is one word, quotes and all.
fn words(text: &str) -> Vec<&str> {
    const ENOUGH: usize = 16;
    let mut words = Vec::new();
    let mut scan = Scan::new(text);
    while words.len() < ENOUGH {
        let Some(token) = scan.next_token() else { break };
        match token {
            Token::Word(word) => words.push(word),
            Token::Other => {}
        }
    }
    words
}

/// Statements are cut at semicolons, but for those in texts, names, comments and bodies of functions.
fn cut(script: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut scan = Scan::new(script);
    let mut begin = None;
    let mut depth = 0_u32;
    let mut last = "";
    while let Some(token) = scan.next_token() {
        let start = *begin.get_or_insert(scan.token);
        match token {
            Token::Word(word) => {
                let is = |w: &str| word.eq_ignore_ascii_case(w);
                if is("atomic") && last.eq_ignore_ascii_case("begin") || depth > 0 && is("case") {
                    depth += 1;
                } else if depth > 0 && is("end") {
                    depth -= 1;
                }
                last = word;
            }
            Token::Other if depth == 0 && script.as_bytes().get(scan.token) == Some(&b';') => {
                push(&mut statements, &script[start..scan.token]);
                begin = None;
                last = "";
            }
            Token::Other => {}
        }
    }
    if let Some(start) = begin {
        push(&mut statements, &script[start..]);
    }
    statements
}

fn push<'a>(statements: &mut Vec<&'a str>, text: &'a str) {
    let text = text.trim();
    if !text.is_empty() {
        statements.push(text);
    }
}

enum Token<'a> {
    /// A keyword or a name, with its schema if it has one.
    Word(&'a str),
    /// A text, a number, a sign.
    Other,
}

/// PostgreSQL's lexical rules (documentation, 4.1), with `standard_conforming_strings`.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Where the last token began.
    token: usize,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, token: 0 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn next_token(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        self.token = self.at;
        let first = self.byte(self.at)?;
        match first {
            b'\'' => {
                let escapes = self.at > 0
                    && matches!(self.byte(self.at - 1), Some(b'e' | b'E'))
                    && (self.at < 2 || !self.byte(self.at - 2).is_some_and(part_of_name));
                self.quoted(b'\'', escapes);
                Some(Token::Other)
            }
            b'$' if self.dollars() => Some(Token::Other),
            b'"' => Some(self.word()),
            _ if part_of_name(first) && !first.is_ascii_digit() && first != b'$' => {
                Some(self.word())
            }
            _ => {
                // A sign, or a number: one character of it.
                self.at += self.text[self.at..].chars().next().map_or(1, char::len_utf8);
                Some(Token::Other)
            }
        }
    }

    fn word(&mut self) -> Token<'a> {
        let begin = self.at;
        loop {
            match self.byte(self.at) {
                Some(b'"') => self.quoted(b'"', false),
                Some(b'.') if self.at > begin => self.at += 1,
                Some(b) if part_of_name(b) => self.at += 1,
                _ => break,
            }
        }
        Token::Word(&self.text[begin..self.at])
    }

    /// From an opening quote to behind the closing one.
    fn quoted(&mut self, quote: u8, escapes: bool) {
        self.at += 1;
        while let Some(byte) = self.byte(self.at) {
            self.at += 1;
            if escapes && byte == b'\\' {
                self.at += 1;
            } else if byte == quote {
                if self.byte(self.at) != Some(quote) {
                    return;
                }
                self.at += 1;
            }
        }
        self.at = self.text.len();
    }

    /// `$tag$...$tag$`; whether it is one.
    fn dollars(&mut self) -> bool {
        let rest = &self.text[self.at + 1..];
        let Some(end) = rest.find('$') else { return false };
        let tag = &self.text[self.at..=self.at + 1 + end];
        if !tag[1..tag.len() - 1].bytes().all(part_of_name) {
            return false;
        }
        let body = self.at + tag.len();
        self.at = self.text[body..].find(tag).map_or(self.text.len(), |e| body + e + tag.len());
        true
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at.min(self.text.len())..];
            let blank = rest.len() - rest.trim_start().len();
            if blank > 0 {
                self.at += blank;
            } else if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.comment();
            } else {
                return;
            }
        }
    }

    /// Comments may stand within one another.
    fn comment(&mut self) {
        let mut depth = 0_u32;
        while self.at < self.text.len() {
            match (self.byte(self.at), self.byte(self.at + 1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

fn part_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statements_are_cut_where_psql_cuts_them() {
        let script = "select 'a;b', \"c;d\"; -- e;f\n/* g; /* h; */ */ select $x$ i; $y$ $x$;\n\
                      select E'it\\'s;';\ncreate function f() returns int begin atomic select case when \
                      true then 1 end; end;\n select 1";
        let found = cut(script);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[3].ends_with("end; end") && found[4] == "select 1");
    }

    #[test]
    fn each_statement_has_its_turn() {
        let script = r#"
            ALTER TABLE ONLY a.t ADD CONSTRAINT t_pkey PRIMARY KEY (id);
            ALTER TABLE "A b"."T.x" ADD CONSTRAINT "T_pkey" PRIMARY KEY (id);
            CREATE UNIQUE INDEX ident ON a.u USING btree (x);
            ALTER TABLE ONLY a.u REPLICA IDENTITY USING INDEX ident;
            ALTER TABLE ONLY a.u ADD CONSTRAINT u_pkey PRIMARY KEY (id);
            ALTER TABLE ONLY a.t ADD CONSTRAINT t_u UNIQUE (x);
            CREATE INDEX i ON ONLY "A b"."T.x" USING gin (doc);
            ALTER INDEX a.t_pkey ATTACH PARTITION a."T_pkey";
            ALTER INDEX a.i ATTACH PARTITION a.j;
            ALTER TABLE ONLY a.t ADD CONSTRAINT f FOREIGN KEY (x) REFERENCES a.u(x);
            CREATE TRIGGER g AFTER INSERT ON a.t FOR EACH ROW EXECUTE FUNCTION a.f();
            GRANT SELECT ON a.t TO someone;"#;
        let found = statements(script);
        let turns: Vec<Turn> = found.iter().map(|s| s.turn).collect();
        use Turn::{Attach, Foreign, Index, Key, Rest};
        assert_eq!(
            turns,
            [Key, Key, Key, Key, Index, Index, Index, Key, Attach, Foreign, Rest, Rest]
        );
        assert_eq!(found[1].table.as_deref(), Some("\"A b\".\"T.x\""));
        assert_eq!(found[6].table.as_deref(), Some("\"A b\".\"T.x\""));
        assert_eq!(found[9].made.as_deref(), Some("f"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-zA-Z0-9;'\"$*/\\-\\\\ .\\néß]{0,80}") {
            let _ = statements(&text);
        }
    }
}
