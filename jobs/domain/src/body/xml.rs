//! XML to objects: `@attribute`, `#text`, children; prefixes of namespaces are dropped. Document
//! types, and with them entities of one's own, are refused: they can read files and explode.

use super::fault::at_place;
use super::{BodyFault, BodyLimits, Member, XmlSettings};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value};
use std::ops::Range;

/// What an element's own text is called beside its children and attributes.
const TEXT: &str = "#text";

/// The document as `{"root": ...}`. With `watched`, also where the text of that element or attribute
/// stands, as it is written.
///
/// # Errors
/// 400 with line and column, 413 for too many elements.
pub(super) fn parse(
    text: &str,
    settings: &XmlSettings,
    limits: &BodyLimits,
    watched: Option<&Member>,
) -> Result<(Value, Vec<Range<usize>>), BodyFault> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut tree = Tree {
        text,
        settings,
        limits,
        nodes_left: limits.nodes,
        open: Vec::new(),
        root: Map::new(),
        watched: watched.map(Member::steps).unwrap_or_default(),
        places: Vec::new(),
    };
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = reader.read_event().map_err(|e| {
            let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
            tree.fault("invalid_xml", &why(&e), at)
        })?;
        let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        if matches!(event, Event::Text(_) | Event::CData(_) | Event::GeneralRef(_)) {
            tree.pass(at..end);
        }
        match event {
            Event::Start(start) => tree.start(&start, at)?,
            Event::End(_) => tree.end(at)?,
            Event::Text(part) => {
                let content = part.xml10_content().map_err(|_| tree.broken(at))?;
                tree.text(&content, at)?;
            }
            Event::CData(part) => {
                let content = part.xml10_content().map_err(|_| tree.broken(at))?;
                tree.text(&content, at)?;
            }
            Event::GeneralRef(reference) => tree.reference(&reference, at)?,
            Event::DocType(_) => {
                let why = "a document type (DTD) is not allowed; send the document without one";
                return Err(tree.fault("xml_dtd_forbidden", why, at));
            }
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return tree.finish(at),
        }
    }
}

struct Tree<'a> {
    text: &'a str,
    settings: &'a XmlSettings,
    limits: &'a BodyLimits,
    nodes_left: u32,
    open: Vec<Element>,
    root: Map<String, Value>,
    /// The way to what is looked for; empty: nothing is.
    watched: &'a [String],
    places: Vec<Range<usize>>,
}

struct Element {
    name: String,
    members: Map<String, Value>,
    text: String,
    /// `Some(n)`: it stands at the first n steps of the way.
    matched: Option<usize>,
    /// Where its own text stands, if that may be what is looked for.
    texts: Vec<Range<usize>>,
}

impl Tree<'_> {
    fn start(&mut self, start: &BytesStart<'_>, at: usize) -> Result<(), BodyFault> {
        if self.open.len() >= usize::from(self.limits.depth) {
            let why = format!("it is nested deeper than {} levels", self.limits.depth);
            return Err(self.fault("xml_too_deep", &why, at));
        }
        if self.open.is_empty() && !self.root.is_empty() {
            return Err(self.fault("invalid_xml", "it has two roots", at));
        }
        self.count()?;
        let tag = local(start.name().as_ref());
        let before = self.open.last().map_or(Some(0), |parent| parent.matched);
        let matched = before.filter(|n| self.watched.get(*n) == Some(&tag)).map(|n| n + 1);
        let mut members = Map::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| self.fault("invalid_xml", &e.to_string(), at))?;
            let name = local(attribute.key.as_ref());
            // What namespaces are called is no content.
            if attribute.key.as_ref().starts_with(b"xmlns") {
                continue;
            }
            self.count()?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| self.fault("xml_unknown_entity", UNKNOWN_ENTITY, at))?;
            let name = format!("@{name}");
            if self.is_last_step(matched, &name) {
                self.places.extend(self.place_of(&attribute.value));
            }
            members.insert(name, Value::String(value.replace('\0', "")));
        }
        if members.len() > self.limits.fields as usize {
            let message = format!("an element has more than {} attributes", self.limits.fields);
            return Err(BodyFault::too_large("too_many_fields", message));
        }
        let (text, texts) = (String::new(), Vec::new());
        self.open.push(Element { name: tag, members, text, matched, texts });
        Ok(())
    }

    /// Is this member of the element that stands there what is looked for?
    fn is_last_step(&self, matched: Option<usize>, member: &str) -> bool {
        let rest = matched.and_then(|n| self.watched.get(n..));
        matches!(rest, Some([last]) if last == member)
    }

    /// Where a value stands that is a piece of the text; `None` if it was rewritten when it was read.
    fn place_of(&self, value: &[u8]) -> Option<Range<usize>> {
        let start = value.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let end = start.checked_add(value.len())?;
        (end <= self.text.len()).then_some(start..end)
    }

    /// A piece of text stands here.
    fn pass(&mut self, place: Range<usize>) {
        let Some(matched) = self.open.last().and_then(|e| e.matched) else { return };
        let wanted = matched == self.watched.len() || self.is_last_step(Some(matched), TEXT);
        if let Some(element) = self.open.last_mut().filter(|_| wanted) {
            element.texts.push(place);
        }
    }

    /// What an element that ends here, at `at`, has of what is looked for.
    fn found(&self, element: &Element, at: usize) -> Vec<Range<usize>> {
        let Some(matched) = element.matched else { return Vec::new() };
        let (alone, blank) = (element.members.is_empty(), element.text.trim().is_empty());
        let is_it = alone && matched == self.watched.len();
        let has_it = !alone && !blank && self.is_last_step(Some(matched), TEXT);
        let nothing = (is_it && element.texts.is_empty()).then_some(at..at);
        let texts = element.texts.iter().filter(|_| is_it || has_it);
        texts.cloned().chain(nothing).collect()
    }

    fn end(&mut self, at: usize) -> Result<(), BodyFault> {
        let Some(element) = self.open.pop() else { return Err(self.broken(at)) };
        let found = self.found(&element, at);
        self.places.extend(found);
        let (name, value) = (element.name.clone(), element.into_value());
        let lists = &self.settings.lists;
        let parent = self.open.last_mut().map_or(&mut self.root, |e| &mut e.members);
        match parent.get_mut(&name) {
            Some(Value::Array(siblings)) => siblings.push(value),
            Some(sibling) => {
                let first = sibling.take();
                *sibling = Value::Array(vec![first, value]);
            }
            None => {
                let value = match lists.contains(&name) {
                    true => Value::Array(vec![value]),
                    false => value,
                };
                parent.insert(name, value);
            }
        }
        if parent.len() > self.limits.fields as usize {
            let message = format!("an element has more than {} children", self.limits.fields);
            return Err(BodyFault::too_large("too_many_fields", message));
        }
        Ok(())
    }

    fn text(&mut self, content: &str, at: usize) -> Result<(), BodyFault> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(&content.replace('\0', "")),
            None if content.trim().is_empty() => {}
            None => return Err(self.fault("invalid_xml", "text stands outside of the root", at)),
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>, at: usize) -> Result<(), BodyFault> {
        let character = reference.resolve_char_ref().map_err(|_| self.broken(at))?;
        if let Some(c) = character {
            return self.text(c.encode_utf8(&mut [0; 4]), at);
        }
        let name = reference.decode().map_err(|_| self.broken(at))?;
        match resolve_predefined_entity(&name) {
            Some(text) => self.text(text, at),
            None => Err(self.fault("xml_unknown_entity", UNKNOWN_ENTITY, at)),
        }
    }

    fn finish(self, at: usize) -> Result<(Value, Vec<Range<usize>>), BodyFault> {
        if !self.open.is_empty() {
            return Err(self.fault("invalid_xml", "it breaks off", at));
        }
        if self.root.is_empty() {
            return Err(self.fault("invalid_xml", "it has no element", at));
        }
        Ok((Value::Object(self.root), self.places))
    }

    fn count(&mut self) -> Result<(), BodyFault> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| {
            let most = self.limits.nodes;
            let message = format!("the body holds more than {most} elements and attributes");
            BodyFault::too_large("too_many_values", message)
        })?;
        Ok(())
    }

    fn broken(&self, at: usize) -> BodyFault {
        self.fault("invalid_xml", "it is not well-formed", at)
    }

    fn fault(&self, code: &'static str, why: &str, at: usize) -> BodyFault {
        at_place(code, "XML", why, self.text, at)
    }
}

const UNKNOWN_ENTITY: &str =
    "an entity is not known; only &lt; &gt; &amp; &apos; &quot; and numbers such as &#233; are";

impl Element {
    /// Text alone is a text. Beside children or attributes it is `#text`, blanks at its ends off.
    fn into_value(self) -> Value {
        if self.members.is_empty() {
            return Value::String(self.text);
        }
        let mut members = self.members;
        let text = self.text.trim();
        if !text.is_empty() {
            members.insert(TEXT.to_owned(), Value::String(text.to_owned()));
        }
        Value::Object(members)
    }
}

/// A name without its prefix.
fn local(name: &[u8]) -> String {
    let local = name.rsplit(|b| *b == b':').next().unwrap_or(name);
    String::from_utf8_lossy(local).replace('\0', "")
}

/// The library's sentences, without content.
fn why(error: &quick_xml::Error) -> String {
    match error {
        quick_xml::Error::IllFormed(_) => "an element is not closed, or closed by another's name",
        quick_xml::Error::Syntax(_) => "a tag, comment or section is not closed",
        _ => "it is not well-formed",
    }
    .to_owned()
}
