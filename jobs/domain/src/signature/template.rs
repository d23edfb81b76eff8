//! The string to sign, as a text with places to fill in: `{ts}.{body}`.

use super::rule::Place;
use super::{SignatureFault, SignedRequest, required};
use crate::body::{PartPath, form_pairs};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// What may stand between braces.
pub(super) const PLACES: &str = "{body}, {body:PATH}, {body_sha256}, {body_sha256_base64}, {ts}, \
                                 {id}, {method}, {url}, {url_decoded}, {host}, {path}, {query}, \
                                 {sorted_params}, {sorted_pairs}, {unique_params}, {header:NAME} \
                                 and {query:NAME}";
/// Each is looked for in the whole body.
const MOST_MEMBERS: usize = 16;

/// A string to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Body,
    /// A member of the body; without the flag it must be there.
    Member(PartPath, Optional),
    /// The body's SHA-256.
    Digest(Written),
    Time,
    Id,
    Method,
    Url,
    /// The address as HubSpot signs it: some escapes of the query undone.
    UrlDecoded,
    Host,
    Path,
    /// The query as it came.
    Query,
    /// Names and values of a form, sorted, without anything between.
    SortedParams,
    /// The same as `name=value`, with `&` between.
    SortedPairs,
    /// The first again, a pair that is repeated counted once: what Twilio's libraries do.
    UniqueParams,
    Header(String),
    /// A parameter of the address, decoded; the first of several.
    Parameter(String),
}

/// May a member be absent?
type Optional = bool;

/// How a digest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Hex,
    Base64,
}

/// What the places are filled with.
pub(super) struct Inputs<'a> {
    pub(super) request: &'a SignedRequest<'a>,
    pub(super) id: &'a str,
    pub(super) time: &'a str,
    /// The body is bound in another way: its parameters are not signed.
    pub(super) without_parameters: bool,
    /// The field of a form that holds the signature itself, which it cannot sign.
    pub(super) signature_field: Option<&'a str>,
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
        if parts.iter().filter(|p| matches!(p, Part::Member(..))).count() > MOST_MEMBERS {
            return Err(format!("At most {MOST_MEMBERS} members of the body can be named."));
        }
        Ok(Self(parts))
    }

    /// Is the body signed byte by byte? Then no signature can stand in it.
    pub(super) fn has_body(&self) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Body | Part::Digest(_)))
    }

    /// Does it name members of the body?
    pub(super) fn has_parts(&self) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Member(..)))
    }

    /// Is this member signed, and must it be there?
    pub(super) fn has_part(&self, path: &PartPath) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Member(member, false) if member == path))
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
        let covers = |p: &Part| {
            matches!(
                p,
                Part::Body
                    | Part::Digest(_)
                    | Part::SortedParams
                    | Part::SortedPairs
                    | Part::UniqueParams
            )
        };
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
                Part::Member(path, optional) => match request.part(path) {
                    Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
                    Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
                    None if *optional => Cow::Borrowed(&b""[..]),
                    None => {
                        let place = Place::Body(path.clone()).to_string();
                        return Err(SignatureFault::Missing(place));
                    }
                },
                Part::Digest(written) => {
                    let digest = Sha256::digest(request.body);
                    Cow::Owned(match written {
                        Written::Hex => hex::encode(digest).into_bytes(),
                        Written::Base64 => BASE64_STANDARD.encode(digest).into_bytes(),
                    })
                }
                Part::Time => Cow::Borrowed(inputs.time.as_bytes()),
                Part::Id => Cow::Borrowed(inputs.id.as_bytes()),
                Part::Method => Cow::Borrowed(request.method.as_bytes()),
                Part::Url => Cow::Borrowed(request.url.as_bytes()),
                Part::UrlDecoded => Cow::Owned(hubspot_url(request.url).into_bytes()),
                Part::Host => Cow::Borrowed(request.host().as_bytes()),
                Part::Path => Cow::Borrowed(request.path().as_bytes()),
                Part::Query => Cow::Borrowed(request.query().as_bytes()),
                Part::SortedParams | Part::UniqueParams if inputs.without_parameters => {
                    Cow::Borrowed(&b""[..])
                }
                Part::SortedParams => Cow::Owned(sorted(inputs).concat().concat()),
                Part::SortedPairs => {
                    let pairs = sorted(inputs);
                    let joined: Vec<_> = pairs.iter().map(|pair| pair.join(&b'=')).collect();
                    Cow::Owned(joined.join(&b'&'))
                }
                Part::UniqueParams => {
                    let mut pairs = sorted(inputs);
                    pairs.dedup();
                    Cow::Owned(pairs.concat().concat())
                }
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
            "host" => Self::Host,
            "path" => Self::Path,
            "query" => Self::Query,
            "body_sha256" => Self::Digest(Written::Hex),
            "body_sha256_base64" => Self::Digest(Written::Base64),
            "sorted_params" => Self::SortedParams,
            "sorted_pairs" => Self::SortedPairs,
            "unique_params" => Self::UniqueParams,
            _ => match name.split_once(':') {
                Some(("header", header)) if crate::headers::is_field_name(header) => {
                    Self::Header(header.to_owned())
                }
                Some(("query", parameter)) if !parameter.is_empty() => {
                    Self::Parameter(parameter.to_owned())
                }
                Some(("body", path)) => {
                    let (path, optional) = match path.strip_suffix('?') {
                        Some(path) => (path, true),
                        None => (path, false),
                    };
                    Self::Member(PartPath::parse(path)?, optional)
                }
                _ => return Err(format!("`{{{name}}}` is no place; the places are {PLACES}.")),
            },
        })
    }
}

/// Names and values of the form, without the signature's own.
fn sorted(inputs: &Inputs<'_>) -> Vec<[Vec<u8>; 2]> {
    let own = inputs.signature_field.map(str::as_bytes);
    let pairs = form_pairs(inputs.request.body).into_iter();
    let mut pairs: Vec<_> =
        pairs.filter(|(name, _)| Some(name.as_slice()) != own).map(|(n, v)| [n, v]).collect();
    pairs.sort();
    pairs
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
