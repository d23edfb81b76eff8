//! Reading sources: where a value stands.

use super::{DEEPEST, MOST_SOURCES, Reader};
use crate::headers::is_field_name;
use crate::mapping::rule::{Each, Place, Source};
use crate::mapping::template::Template;
use serde_json::{Map, Value};

/// What says where a value stands; a source has one of these.
const PLACES: [&str; 10] = [
    "from",
    "path",
    "header",
    "query",
    "segment",
    "const",
    "received_at",
    "list",
    "each",
    "template",
];
/// What a source may have.
pub(super) const MEMBERS: [&str; 15] = [
    "from",
    "path",
    "header",
    "query",
    "segment",
    "const",
    "received_at",
    "list",
    "each",
    "template",
    "where",
    "get",
    "when",
    "then",
    "default",
];

impl Reader {
    /// A path, a list of sources of which the first usable one wins, or an object.
    pub fn source(&mut self, value: &Value, at: &str, depth: usize) -> Option<Source> {
        match value {
            Value::String(path) => {
                return self.path(path, at).map(|path| Source::at(Place::Path(path)));
            }
            Value::Array(items) if !items.is_empty() && depth <= DEEPEST => {
                return self.sources(items, at, depth).map(|s| Source::at(Place::First(s)));
            }
            _ => {}
        }
        let members = self.object(value, at, &MEMBERS)?;
        self.source_of(members, at, depth)
    }

    /// From the members of an object that may have others as well.
    pub fn source_of(
        &mut self,
        members: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Option<Source> {
        if depth > DEEPEST {
            self.fault(at, "too_deep", "Sources are nested too deep.".to_owned());
            return None;
        }
        self.check_each(members, at);
        let place = self.place(members, at, depth);
        let when = members.get("when").map(|c| self.condition(c, &format!("{at}/when"), depth));
        let then = self.steps(members.get("then"), &format!("{at}/then"), depth);
        let default = members.get("default").filter(|v| !v.is_null()).cloned();
        Some(Source { place: place?, when: when.transpose_inner()?, then, default })
    }

    /// Exactly one place.
    pub fn place(&mut self, members: &Map<String, Value>, at: &str, depth: usize) -> Option<Place> {
        let given: Vec<_> = PLACES.iter().filter(|name| members.contains_key(**name)).collect();
        let [name] = given.as_slice() else {
            self.no_source(at);
            return None;
        };
        let value = members.get(**name)?;
        let inner = format!("{at}/{name}");
        match (**name, value) {
            ("path", Value::String(path)) => self.path(path, &inner).map(Place::Path),
            ("header", Value::String(name)) if is_field_name(name) => {
                Some(Place::Header(name.clone()))
            }
            ("query", Value::String(name)) if !name.is_empty() => Some(Place::Query(name.clone())),
            ("segment", value) if let Some(index) = index(value) => Some(Place::Segment(index)),
            ("const", value) => Some(Place::Const(value.clone())),
            ("received_at", Value::Bool(true)) => Some(Place::ReceivedAt),
            ("from", Value::Array(items)) if !items.is_empty() => {
                self.sources(items, &inner, depth).map(Place::First)
            }
            ("from", Value::String(_) | Value::Object(_)) => {
                self.source(value, &inner, depth + 1).map(|one| Place::First(vec![one]))
            }
            ("list", Value::Array(items)) if !items.is_empty() => {
                self.sources(items, &inner, depth).map(Place::List)
            }
            ("each", Value::String(path)) => {
                let path = self.path(path, &inner);
                let only =
                    members.get("where").map(|c| self.condition(c, &format!("{at}/where"), depth));
                let this = Value::String(".".to_owned());
                let get = members.get("get").unwrap_or(&this);
                let get = self.source(get, &format!("{at}/get"), depth + 1);
                let only = only.transpose_inner()?;
                Some(Place::Each(Box::new(Each { path: path?, only, get: get? })))
            }
            ("template", Value::String(text)) => match text.parse::<Template>() {
                Ok(template) => {
                    for path in template.paths() {
                        self.check_names(path, &inner);
                    }
                    Some(Place::Template(template))
                }
                Err(why) => {
                    self.fault(&inner, "invalid_template", format!("{why}."));
                    None
                }
            },
            _ => {
                self.no_source(at);
                None
            }
        }
    }

    /// Members that have a meaning beside another one alone.
    pub fn check_each(&mut self, members: &Map<String, Value>, at: &str) {
        if !members.contains_key("each")
            && let Some(name) = ["where", "get"].iter().find(|n| members.contains_key(**n))
        {
            self.fault(
                &format!("{at}/{name}"),
                "unknown_member",
                format!("`{name}` goes with `each`."),
            );
        }
    }

    fn no_source(&mut self, at: &str) {
        let message = "Say where the value stands, at one place: `from` with one path or several, \
                       `path`, `header` or `query` with a name, `segment` with a number, `const` \
                       with the value itself, `received_at` with true, `list`, `each` or \
                       `template`.";
        self.fault(at, "no_source", message.to_owned());
    }

    pub fn sources(&mut self, items: &[Value], at: &str, depth: usize) -> Option<Vec<Source>> {
        if items.len() > MOST_SOURCES {
            self.fault(at, "too_many", format!("At most {MOST_SOURCES} places."));
        }
        let items = items.iter().take(MOST_SOURCES).enumerate();
        let read: Vec<_> =
            items.map(|(i, item)| self.source(item, &format!("{at}/{i}"), depth + 1)).collect();
        read.into_iter().collect()
    }
}

fn index(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|n| i32::try_from(n).ok())
}

/// A member that is there must be readable.
pub(super) trait TransposeInner<T> {
    /// `None`: it is there and cannot be read.
    fn transpose_inner(self) -> Option<Option<T>>;
}

impl<T> TransposeInner<T> for Option<Option<T>> {
    fn transpose_inner(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(read) => Some(read),
        }
    }
}
