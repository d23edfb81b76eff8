//! What is wrong with a handshake's settings.

use super::Handshake;
use crate::FieldFault;
use crate::headers::is_field_name;

/// Headers with a meaning of their own. What a stranger says must not be written into them.
const MEANT: [&str; 18] = [
    "accept-ranges",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "clear-site-data",
    "connection",
    "date",
    "keep-alive",
    "link",
    "location",
    "refresh",
    "server",
    "set-cookie",
    "switchyard-event-id",
    "trailer",
    "upgrade",
    "vary",
];
/// Families of them.
const MEANT_PREFIXES: [&str; 10] = [
    "access-control-",
    "content-",
    "cross-origin-",
    "proxy-",
    "retry-",
    "sec-",
    "strict-",
    "transfer-",
    "www-",
    "x-frame-",
];
/// Of a request: they hold credentials of others, or what the connection is.
const NO_CHALLENGE: [&str; 6] =
    ["authorization", "cookie", "host", "content-length", "content-type", "proxy-authorization"];

impl Handshake {
    pub(in crate::portal) fn faults(&self, is_signed: bool) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |at: &str, code: &str, message: &str| {
            faults.push(FieldFault::new(format!("/handshake{at}"), code, message));
        };
        let named = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
        let places = [named(&self.query), named(&self.body), named(&self.header), self.ping];
        if places.iter().filter(|said| **said).count() != 1 {
            let message = "Say where the value is, in `query`, `body` or `header`, or that it is a \
                           `ping`: one of them.";
            fault("", "required", message);
        }
        if self.token.is_some() && !(named(&self.token) && named(&self.query)) {
            fault("/token", "invalid", "A verify token is a query parameter beside the value's.");
        }
        const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
        if self.methods.iter().any(|m| !METHODS.contains(&m.as_str())) {
            fault("/methods", "invalid", "The methods are GET, POST and PUT.");
        }
        if self.proves() && !is_signed {
            let message = "{hmac} is made with the signing secret: add `signature`.";
            fault("/reply", "signature_missing", message);
        }
        if self.ping && self.reply.is_some() {
            fault("/reply", "invalid", "A ping is answered 200, without a body.");
        }
        let by_body = self.methods.iter().any(|m| m != "GET");
        if self.ping && by_body && self.when.is_empty() {
            let message = "Say by `when` which members a ping's body has, or every delivery would \
                           be taken for one.";
            fault("/when", "required", message);
        }
        faults.extend(self.header_faults());
        faults
    }

    fn header_faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |at: &str, code: &str, message: String| {
            faults.push(FieldFault::new(format!("/handshake{at}"), code, message));
        };
        if let Some(name) = self.header.as_ref().filter(|name| !name.is_empty())
            && (!is_field_name(name) || NO_CHALLENGE.contains(&name.to_ascii_lowercase().as_str()))
        {
            let message =
                format!("`{name}` is no header that holds a challenge; `X-Hook-Secret` would be.");
            fault("/header", "invalid_header_name", message);
        }
        match &self.reply_header {
            None if self.header.is_some() && self.reply.is_none() => {
                let message = "Say in which header the value is given back, or add `reply`.";
                fault("/reply_header", "required", message.to_owned());
            }
            Some(_) if self.header.is_none() => {
                let message = "Only a value from `header` is given back in a header.";
                fault("/reply_header", "invalid", message.to_owned());
            }
            Some(name) if !is_field_name(name) || is_meant(name) => {
                let message = format!(
                    "`{name}` cannot be written with what a stranger says; name the sender's own \
                     header, such as `X-Hook-Secret`."
                );
                fault("/reply_header", "invalid_header_name", message);
            }
            _ => {}
        }
        faults
    }
}

fn is_meant(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    MEANT.contains(&name.as_str()) || MEANT_PREFIXES.iter().any(|p| name.starts_with(p))
}
