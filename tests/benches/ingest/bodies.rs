//! The deliveries: leads of about 1 KB, each different, each signed, all of them made before the clock
//! starts.

use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;
use std::net::SocketAddr;

/// The key that `server.js` knows; our portal is given the same, so that both get the same bytes.
pub use super::peers::KEY as API_KEY;
/// What the deliveries are signed with. The peer does not look at signatures, and gets them all the same.
pub const SIGNING_SECRET: &str = "whatever-both-sides-agreed-on";

/// Leads by number, so that no two of a run are alike.
pub struct Leads {
    run: String,
    codes: Vec<String>,
}

impl Leads {
    /// Leads of a run of its own, for these postal codes in turns.
    pub fn new(codes: &[String]) -> Self {
        Self { run: uuid::Uuid::new_v4().simple().to_string(), codes: codes.to_vec() }
    }

    /// Whole requests for leads `from..to`, head and body.
    pub fn requests(&self, to: SocketAddr, path: &str, from: usize, n: usize) -> Vec<Box<[u8]>> {
        (from..from + n).map(|n| self.request(to, path, n)).collect()
    }

    fn request(&self, to: SocketAddr, path: &str, n: usize) -> Box<[u8]> {
        let body = self.body(n);
        let signature = hex::encode(mac(body.as_bytes()));
        format!(
            "POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\n\
             X-API-Key: {API_KEY}\r\nX-Hub-Signature-256: sha256={signature}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
        .into()
    }

    /// What each of the contestants demands. Address and number are each lead's own: it is another person.
    fn body(&self, n: usize) -> String {
        let run = &self.run;
        let code = self.codes.get(n % self.codes.len().max(1)).map_or("00-950", String::as_str);
        let fields: Vec<String> = (1..=8)
            .map(|i| format!("\"field_{i}\":\"value number {i} of the lead form\""))
            .collect();
        format!(
            concat!(
                r#"{{"event":"lead.created","id":"{run}-{n}","email":"jane.{n}@{run}.example","name":"Jane Doe","#,
                r#""first_name":"Jane","last_name":"Doe","phone":"+4851{phone:07}","postal_code":"{code}","#,
                r#""country":"PL","product":"Windows","company":"Example Corp","source":"landing-page","#,
                r#""tags":["inbound","demo","q3"],"#,
                r#""utm":{{"source":"google","medium":"cpc","campaign":"spring"}},"#,
                r#""fields":{{{fields}}},"message":"{message}"}}"#
            ),
            run = run,
            n = n,
            phone = n % 10_000_000,
            code = code,
            fields = fields.join(","),
            message = "I would like to know more. ".repeat(8).trim_end(),
        )
    }
}

fn mac(body: &[u8]) -> Vec<u8> {
    // An HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()) else {
        return Vec::new();
    };
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}
