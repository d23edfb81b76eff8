//! A statement as PDF: A4, one table over as many pages as it takes, every letter from a font that is
//! embedded (Roboto: Latin, Greek and Cyrillic), so that it reads the same everywhere.

use super::{DocumentFault, Statement, StatementLine};
use crate::money::Money;
use krilla::Document;
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};
use ttf_parser::Face;

const ROBOTO: &[u8] = include_bytes!("../../data/fonts/Roboto-Regular.ttf");
/// A4 in points.
const PAGE: (f32, f32) = (595.28, 841.89);
const MARGIN: f32 = 42.0;
const RIGHT: f32 = PAGE.0 - MARGIN;
/// Where the columns of date, subject and base begin or end.
const SUBJECT: f32 = MARGIN + 62.0;
const BASE_END: f32 = RIGHT - 92.0;
const TEXT: f32 = 8.5;
const SMALL: f32 = 7.0;
/// Height of one line of the table: two rows of text.
const ROW: f32 = 25.0;
const FIRST_ROW: f32 = 190.0;
const LATER_ROW: f32 = 84.0;
const LAST: f32 = PAGE.1 - 76.0;
const INK: (u8, u8, u8) = (24, 28, 34);
const GREY: (u8, u8, u8) = (104, 112, 122);

/// The statement as a PDF.
///
/// # Errors
/// [`DocumentFault`]: only if the program itself is broken.
pub fn statement_pdf(statement: &Statement) -> Result<Vec<u8>, DocumentFault> {
    let type_face = TypeFace::embedded()?;
    let mut document = Document::new();
    document.set_metadata(
        Metadata::new()
            .title(format!("Commissions {} {}", statement.period, statement.owner))
            .language("en".to_owned())
            .creator("Switchyard".to_owned()),
    );
    let pages = paginate(statement.lines.len());
    let mut from = 0;
    for (n, size) in pages.iter().enumerate() {
        let settings = PageSettings::from_wh(PAGE.0, PAGE.1)
            .ok_or_else(|| DocumentFault::Pdf("A4 is no page".to_owned()))?;
        let mut page = document.start_page_with(settings);
        let lines = statement.lines.get(from..from + size).unwrap_or_default();
        from += size;
        // The sheet ends before its page does.
        Sheet { surface: page.surface(), face: &type_face }.draw(statement, lines, n, pages.len());
        page.finish();
    }
    document.finish().map_err(|e| DocumentFault::Pdf(format!("{e:?}")))
}

/// How many lines each page has. The last one has room for the total.
fn paginate(lines: usize) -> Vec<usize> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few dozen
    let fits = |top: f32| ((LAST - ROW - top) / ROW) as usize;
    let (first, later) = (fits(FIRST_ROW), fits(LATER_ROW));
    let mut pages = vec![lines.min(first)];
    let mut rest = lines.saturating_sub(first);
    while rest > 0 {
        pages.push(rest.min(later));
        rest = rest.saturating_sub(later);
    }
    pages
}

/// The font as it is embedded, and as it is measured.
struct TypeFace {
    font: Font,
    face: Face<'static>,
}

impl TypeFace {
    fn embedded() -> Result<Self, DocumentFault> {
        let font = Font::new(ROBOTO.into(), 0).ok_or(DocumentFault::Font)?;
        let face = Face::parse(ROBOTO, 0).map_err(|_| DocumentFault::Font)?;
        Ok(Self { font, face })
    }

    /// How wide a text is, without kerning.
    fn width(&self, text: &str, size: f32) -> f32 {
        let units: u32 = text.chars().map(|c| u32::from(self.advance(c))).sum();
        #[allow(clippy::cast_precision_loss)] // far below 2^23
        let units = units as f32;
        units * size / f32::from(self.face.units_per_em())
    }

    fn advance(&self, c: char) -> u16 {
        let glyph = self.face.glyph_index(c).unwrap_or_default();
        self.face.glyph_hor_advance(glyph).unwrap_or_default()
    }

    /// What fits into a width; a text that was cut ends with an ellipsis. A character that the font
    /// does not have becomes a question mark, controls go.
    fn fitted(&self, text: &str, size: f32, width: f32) -> String {
        let known = |c: char| if self.face.glyph_index(c).is_some() { c } else { '?' };
        let text: String = text.chars().filter(|c| !c.is_control()).map(known).collect();
        if self.width(&text, size) <= width {
            return text;
        }
        let mut cut = String::new();
        for c in text.chars() {
            cut.push(c);
            if self.width(&cut, size) + self.width("…", size) > width {
                cut.pop();
                break;
            }
        }
        cut.push('…');
        cut
    }
}

struct Sheet<'a> {
    surface: Surface<'a>,
    face: &'a TypeFace,
}

impl Sheet<'_> {
    /// Draws page `n` of so many, counted from 0.
    fn draw(&mut self, statement: &Statement, lines: &[StatementLine], n: usize, of: usize) {
        let top = if n == 0 { self.head(statement) } else { self.short_head(statement) };
        let end = self.rows(lines, top);
        if n + 1 == of {
            self.total("Owed at the end", statement.closing, end);
        }
        self.foot(statement, n + 1, of);
    }

    fn ink(&mut self, (r, g, b): (u8, u8, u8)) {
        let paint = rgb::Color::new(r, g, b).into();
        let fill = Fill { paint, opacity: NormalizedF32::ONE, rule: FillRule::default() };
        self.surface.set_fill(Some(fill));
    }

    /// Text from `x` on, at most `width` wide.
    fn text(&mut self, (x, y): (f32, f32), size: f32, width: f32, text: &str) {
        let text = self.face.fitted(text, size, width);
        let font = self.face.font.clone();
        let at = Point::from_xy(x, y);
        self.surface.draw_text(at, font, size, &text, false, TextDirection::LeftToRight);
    }

    /// Text that ends at `x`.
    fn text_to(&mut self, (x, y): (f32, f32), size: f32, text: &str) {
        let wide = self.face.width(text, size);
        self.text((x - wide, y), size, wide + 1.0, text);
    }

    fn rule(&mut self, y: f32) {
        let Some(line) = Rect::from_xywh(MARGIN, y, RIGHT - MARGIN, 0.6) else { return };
        let mut path = PathBuilder::new();
        path.push_rect(line);
        if let Some(path) = path.finish() {
            self.ink((200, 205, 211));
            self.surface.draw_path(&path);
        }
        self.ink(INK);
    }

    /// The first page's head; gives where the table begins.
    fn head(&mut self, statement: &Statement) -> f32 {
        let wide = RIGHT - MARGIN;
        self.ink(INK);
        self.text((MARGIN, 62.0), 20.0, wide, "Statement of commissions");
        self.text(
            (MARGIN, 84.0),
            12.0,
            wide,
            &format!("{}, {}", statement.owner, statement.period),
        );
        self.ink(GREY);
        self.text((MARGIN, 100.0), TEXT, wide, &statement.agency);
        let drawn = statement.drawn_at.format("%Y-%m-%d %H:%M UTC");
        let standing = if statement.closed {
            format!(
                "Drawn up {drawn}. The month is closed: this statement does not change any more."
            )
        } else {
            format!("Drawn up {drawn}. The month is open: more may be booked.")
        };
        self.text((MARGIN, 114.0), TEXT, wide, &standing);
        self.total("Owed at the beginning", statement.opening, 128.0);
        if let Some(part) = &statement.part {
            self.ink(GREY);
            self.text((MARGIN, 156.0), SMALL, wide, &part.told(statement.lines.len()));
        }
        self.columns(FIRST_ROW - 20.0);
        FIRST_ROW
    }

    fn short_head(&mut self, statement: &Statement) -> f32 {
        self.ink(GREY);
        let title = format!("{}, {}", statement.owner, statement.period);
        self.text((MARGIN, 48.0), TEXT, RIGHT - MARGIN, &title);
        self.columns(LATER_ROW - 20.0);
        LATER_ROW
    }

    fn columns(&mut self, y: f32) {
        self.ink(GREY);
        self.text((MARGIN, y), SMALL, 60.0, "Date");
        self.text((SUBJECT, y), SMALL, 200.0, "What and why");
        self.text_to((BASE_END, y), SMALL, "Deal");
        self.text_to((RIGHT, y), SMALL, "Commission");
        self.rule(y + 6.0);
    }

    /// Gives where the table ends.
    fn rows(&mut self, lines: &[StatementLine], top: f32) -> f32 {
        let mut y = top;
        for line in lines {
            self.row(line, y);
            y += ROW;
        }
        if lines.is_empty() {
            self.text((SUBJECT, y), TEXT, 300.0, "Nothing was booked in this month.");
            y += ROW;
        }
        y
    }

    fn row(&mut self, line: &StatementLine, y: f32) {
        let (amount, base) = (line.amount.to_string(), line.base.map(|b| b.to_string()));
        let base = base.unwrap_or_default();
        let free = BASE_END - SUBJECT - self.face.width(&base, TEXT) - 10.0;
        let what = [line.subject.as_str(), line.product.as_str()];
        let what: Vec<&str> = what.into_iter().filter(|w| !w.is_empty()).collect();
        self.ink(INK);
        self.text((MARGIN, y), TEXT, 60.0, &line.at.format("%Y-%m-%d").to_string());
        self.text((SUBJECT, y), TEXT, free, &what.join(" · "));
        self.text_to((BASE_END, y), TEXT, &base);
        self.text_to((RIGHT, y), TEXT, &amount);
        self.ink(GREY);
        let why = format!("{}: {}", line.kind, line.why);
        self.text((SUBJECT, y + 10.0), SMALL, RIGHT - SUBJECT, &why);
    }

    fn total(&mut self, label: &str, amount: Money, y: f32) {
        self.rule(y - 4.0);
        self.text((MARGIN, y + 12.0), 10.0, 300.0, label);
        self.text_to((RIGHT, y + 12.0), 10.0, &amount.to_string());
    }

    fn foot(&mut self, statement: &Statement, page: usize, of: usize) {
        self.ink(GREY);
        let y = PAGE.1 - 36.0;
        let about = format!("{} · {}", statement.owner, statement.period);
        self.text((MARGIN, y), SMALL, 300.0, &about);
        self.text_to((RIGHT, y), SMALL, &format!("Page {page} of {of}"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_place_on_some_page() {
        for lines in [0, 1, 22, 23, 24, 50, 51, 999] {
            let pages = paginate(lines);
            assert_eq!(pages.iter().sum::<usize>(), lines);
            assert!(pages.iter().skip(1).all(|n| *n > 0), "{lines}: {pages:?}");
        }
    }

    #[test]
    fn the_font_has_the_letters_of_the_languages_that_are_written() {
        let face = TypeFace::embedded().unwrap();
        for c in
            "ąćęłńóśźżĄĆĘŁŃÓŚŹŻäöüßÄÖÜàèéìòùÀÈÉÌÒÙαβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊΰΩΆ€–—…·".chars()
        {
            assert!(face.face.glyph_index(c).is_some(), "{c}");
        }
        assert_eq!(face.fitted("日本 Żółć\n", 9.0, 400.0), "?? Żółć");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_where_it_fits() {
        let face = TypeFace::embedded().unwrap();
        let cut = face.fitted(&"Wszystko ".repeat(40), 9.0, 120.0);
        assert!(cut.ends_with('…') && face.width(&cut, 9.0) <= 120.0, "{cut}");
        assert_eq!(face.fitted("short", 9.0, 120.0), "short");
        // Digits are equally wide, so that amounts stand below each other.
        assert!((face.width("1111", 9.0) - face.width("8888", 9.0)).abs() < 1e-6);
    }
}
