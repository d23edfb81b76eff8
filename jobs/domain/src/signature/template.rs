//! The string to sign, as a text with places to fill in: `{ts}.{body}`.

use super::rule::Place;
use super::{SignatureFault, SignedRequest, required};
use crate::body::form_pairs;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// What may stand between braces.
pub(super) const PLACES: &str = "{body}, {ts}, {id}, {method}, {url}, {url_decoded}, {path}, \
                                 {sorted_params}, {unique_params}, {header:NAME} and \
                                 {query:NAME}";

/// A string to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Body,
    Time,
    Id,
    Method,
    Url,
    /// The address as HubSpot signs it: some escapes of the query undone.
    UrlDecoded,
    Path,
    /// Names and values of a form, sorted, without anything between.
    SortedParams,
    /// The same, a pair that is repeated counted once: what Twilio's libraries do.
    UniqueParams,
    Header(String),
    /// A parameter of the address, decoded; the first of several.
    Parameter(String),
}

/// What the places are filled with.
pub(super) struct Inputs<'a> {
    pub(super) request: &'a SignedRequest<'a>,
    pub(super) id: &'a str,
    pub(super) time: &'a str,
    /// The body is bound in another way: its parameters are not signed.
    pub(super) without_parameters: bool,
}

impl Template {
    /// Reads a template. `{{` and `}}` stand for the braces themselves.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                literal.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let name = brace.strip_prefix('{').and_then(|b| b.split_once('}'));
            let Some((name, after)) = name else {
                return Err("A brace is not closed; write `{{` or `}}` for a brace itself.".into());
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::parse(name)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    pub(super) fn has_time(&self) -> bool {
        self.0.contains(&Part::Time)
    }

    /// Is the time stamp signed in another way, as a header?
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Header(n) if n.eq_ignore_ascii_case(name)))
    }

    /// The same as a parameter of the address.
    pub(super) fn has_parameter(&self, name: &str) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Parameter(n) if n == name))
    }

    pub(super) fn has_id(&self) -> bool {
        self.0.contains(&Part::Id)
    }

    /// Does a change of the body change the string?
    pub(super) fn covers_body(&self) -> bool {
        let covers = |p: &Part| matches!(p, Part::Body | Part::SortedParams | Part::UniqueParams);
        self.0.iter().any(covers)
    }

    /// The string, in pieces.
    pub(super) fn fill<'a>(
        &'a self,
        inputs: &Inputs<'a>,
    ) -> Result<Vec<Cow<'a, [u8]>>, SignatureFault> {
        let request = inputs.request;
        let piece = |part: &'a Part| {
            Ok(match part {
                Part::Literal(text) => Cow::Borrowed(text.as_bytes()),
                Part::Body => Cow::Borrowed(request.body),
                Part::Time => Cow::Borrowed(inputs.time.as_bytes()),
                Part::Id => Cow::Borrowed(inputs.id.as_bytes()),
                Part::Method => Cow::Borrowed(request.method.as_bytes()),
                Part::Url => Cow::Borrowed(request.url.as_bytes()),
                Part::UrlDecoded => Cow::Owned(hubspot_url(request.url).into_bytes()),
                Part::Path => Cow::Borrowed(request.path().as_bytes()),
                Part::SortedParams | Part::UniqueParams if inputs.without_parameters => {
                    Cow::Borrowed(&b""[..])
                }
                Part::SortedParams => Cow::Owned(parameters(request.body, false)),
                Part::UniqueParams => Cow::Owned(parameters(request.body, true)),
                Part::Header(name) => Cow::Borrowed(required(request.headers, name)?.as_bytes()),
                Part::Parameter(name) => match request.parameter(name) {
                    Some(value) => Cow::Owned(value.into_bytes()),
                    None => {
                        let place = Place::Query(name.clone()).to_string();
                        return Err(SignatureFault::Missing(place));
                    }
                },
            })
        };
        self.0.iter().map(piece).collect()
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "body" => Self::Body,
            "ts" => Self::Time,
            "id" => Self::Id,
            "method" => Self::Method,
            "url" => Self::Url,
            "url_decoded" => Self::UrlDecoded,
            "path" => Self::Path,
            "sorted_params" => Self::SortedParams,
            "unique_params" => Self::UniqueParams,
            _ => match name.split_once(':') {
                Some(("header", header)) if crate::headers::is_field_name(header) => {
                    Self::Header(header.to_owned())
                }
                Some(("query", parameter)) if !parameter.is_empty() => {
                    Self::Parameter(parameter.to_owned())
                }
                _ => return Err(format!("`{{{name}}}` is no place; the places are {PLACES}.")),
            },
        })
    }
}

fn parameters(body: &[u8], unique: bool) -> Vec<u8> {
    let mut pairs = form_pairs(body);
    pairs.sort();
    if unique {
        pairs.dedup();
    }
    pairs.into_iter().flat_map(|(name, value)| [name, value]).flatten().collect()
}

/// HubSpot signs the address with these escapes undone, as its page on request validation lists
/// them; the `?` before the query stays what it is.
fn hubspot_url(url: &str) -> String {
    const UNDONE: [&str; 12] =
        ["%3A", "%2F", "%3F", "%40", "%21", "%24", "%27", "%28", "%29", "%2A", "%2C", "%3B"];
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape =
            rest.get(at..at + 3).filter(|e| UNDONE.iter().any(|u| u.eq_ignore_ascii_case(e)));
        match escape {
            Some(escape) => {
                out.push_str(&percent_decode_str(escape).decode_utf8_lossy());
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}
