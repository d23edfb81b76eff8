//! Steps on texts that hold another format: JSON, XML, CSV, forms, HTML.

use crate::body::{self, BodyFault};
use crate::mapping::step::Step;
use crate::mapping::value::{Val, from_json};
use crate::normalise::Unreadable;
use serde_json::{Value, json};

/// Elements whose end is the end of a line.
const BLOCKS: [&str; 13] = [
    "address", "article", "dd", "div", "dl", "dt", "footer", "header", "hr", "li", "section",
    "table", "tr",
];
/// Elements that may leave a line empty.
const PARAGRAPHS: [&str; 9] = ["blockquote", "br", "h1", "h2", "h3", "h4", "h5", "h6", "p"];
/// Elements whose content nobody sees.
const UNSEEN: [&str; 4] = ["head", "script", "style", "title"];

/// `None`: it is no such step.
pub(super) fn run(step: &Step, text: &str) -> Option<Result<Val, Unreadable>> {
    let (parsed, code, what) = match step {
        Step::ParseJson => (body::inner_json(text), "invalid_json", "JSON"),
        Step::ParseXml(settings) => (body::inner_xml(text, settings), "invalid_xml", "XML"),
        Step::ParseCsv(settings) => (body::inner_csv(text, settings), "invalid_csv", "CSV"),
        Step::ParseForm => (body::inner_form(text), "invalid_form", "a form"),
        _ => return None,
    };
    Some(parsed.map_err(|fault| unreadable(code, what, &fault)).and_then(|value| from_json(&value)))
}

fn unreadable(code: &'static str, what: &str, fault: &BodyFault) -> Unreadable {
    let line = fault.place.get("line").and_then(Value::as_u64);
    let place = line.map(|line| format!(" at its line {line}")).unwrap_or_default();
    Unreadable::new(
        code,
        format!("The text is not {what} that can be read{place} ({}).", fault.code),
    )
}

/// An object's members as a list of `{"key", "value"}`, in their order; of anything else nothing.
pub(super) fn entries(value: Val) -> Result<Val, Unreadable> {
    let Val::Json(Value::Object(members)) = value else {
        return Err(Unreadable::new("not_an_object", "Only an object has entries."));
    };
    let pairs = members.into_iter().map(|(key, value)| json!({"key": key, "value": value}));
    Ok(Val::Json(Value::Array(pairs.collect())))
}

/// What a reader of the page sees, block by block on lines; at most one empty line in a row.
pub(super) fn html_text(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    // Behind the last `>` there is no tag, and nobody need look for its end again and again.
    let tags_end = html.rfind('>').unwrap_or(0);
    while let Some(at) = rest.find('<').filter(|at| html.len() - rest.len() + at < tags_end) {
        words(&rest[..at], &mut out);
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let closing = rest[1..].starts_with('/');
        let name: String = rest[1 + usize::from(closing)..]
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        let is_tag = !name.is_empty() || rest.starts_with("<!") || rest.starts_with("<?");
        let Some(end) = is_tag.then(|| tag_end(rest)).flatten() else {
            // `3 < 5` is no tag.
            out.push('<');
            rest = &rest[1..];
            continue;
        };
        rest = &rest[end..];
        match name.as_str() {
            unseen if !closing && UNSEEN.contains(&unseen) => rest = behind(unseen, rest),
            block if PARAGRAPHS.contains(&block) => line_end(&mut out, "\n\n"),
            block if BLOCKS.contains(&block) => line_end(&mut out, "\n"),
            "td" | "th" if !out.ends_with(['\n', ' ']) => out.push(' '),
            _ => {}
        }
    }
    words(rest, &mut out);
    let decoded = html_escape::decode_html_entities(&out).replace('\u{a0}', " ");
    let lines: Vec<&str> = decoded.lines().map(str::trim).collect();
    lines.join("\n").trim().to_owned()
}

/// Behind the end of an element of which nothing is seen, whatever looks like a tag in it.
fn behind<'h>(element: &str, html: &'h str) -> &'h str {
    let mut rest = html;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        let ends = |name: &str| name.eq_ignore_ascii_case(element);
        if rest.get(..element.len()).is_some_and(ends) {
            return rest.find('>').map_or("", |end| &rest[end + 1..]);
        }
    }
    ""
}

/// Behind the `>` that ends a tag; one in the quotes of an attribute does not.
fn tag_end(tag: &str) -> Option<usize> {
    let (mut quote, mut before) = (None, b' ');
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if before == b'=' => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        before = byte;
    }
    // A quote that is never closed is none.
    tag.find('>').map(|at| at + 1)
}

/// Text between tags: white space is one blank, as browsers show it.
fn words(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' => {
                if !out.is_empty() && !out.ends_with([' ', '\n']) {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
    }
}

/// Ends the line, unless the text ends like this already.
fn line_end(out: &mut String, enough: &str) {
    out.truncate(out.trim_end_matches(' ').len());
    if !out.is_empty() && !out.ends_with(enough) {
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::html_text;

    #[test]
    fn html_becomes_what_people_read() {
        for (html, text) in [
            ("<p>Hello &amp; <b>good</b>\n day</p><p>Bye</p>", "Hello & good day\n\nBye"),
            ("a<br>b<br/>c", "a\nb\nc"),
            ("<ul><li>one<li>two</ul>", "one\ntwo"),
            ("<div><div>one</div></div><div>two</div>", "one\ntwo"),
            ("<style>p{}</style><script>if (a<b) {}</script>x", "x"),
            ("<a title=\"a > b\" href='x'>link</a>", "link"),
            ("3 < 5 and 7 > 2", "3 < 5 and 7 > 2"),
            ("no tags &eacute;&nbsp;!", "no tags é !"),
            ("<!-- <p>not this</p> -->seen", "seen"),
            ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
            ("cut <b", "cut <b"),
            ("<!doctype html><html><head><title>t</title></head><body>b</body></html>", "b"),
            ("&lt;b&gt;", "<b>"),
            ("", ""),
        ] {
            assert_eq!(html_text(html), text, "{html}");
        }
    }

    /// Would run for minutes if every `<` looked through the rest.
    #[test]
    fn open_tags_cost_no_more_than_their_length() {
        for piece in ["<a b=\"", "<", "<!--", "<script>", "<a b='>"] {
            let hostile = piece.repeat(150_000);
            assert!(html_text(&hostile).len() <= hostile.len(), "{piece}");
        }
    }
}
