//! Static files, embedded in the program. Their URL carries their hash, so browsers may keep them
//! for good; asked without it they are revalidated by ETag.

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// One embedded file.
#[derive(Debug)]
pub(super) struct Asset {
    name: &'static str,
    mime: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    pub(super) const CSS: Self =
        Self::new("ops.css", "text/css; charset=utf-8", include_bytes!("../../static/ops.css"));
    pub(super) const JS: Self = Self::new(
        "ops.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../static/ops.js"),
    );
    pub(super) const HTMX: Self = Self::new(
        "htmx.min.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../static/vendor/htmx.min.js"),
    );
    pub(super) const SSE: Self = Self::new(
        "htmx-ext-sse.min.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../static/vendor/htmx-ext-sse.min.js"),
    );
    pub(super) const MARK: Self =
        Self::new("mark.svg", "image/svg+xml", include_bytes!("../../static/mark.svg"));

    const ALL: [Self; 5] = [Self::CSS, Self::JS, Self::HTMX, Self::SSE, Self::MARK];

    const fn new(name: &'static str, mime: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, mime, bytes }
    }

    /// Where pages find it.
    pub(super) fn href(&self) -> &'static str {
        HASHED.iter().find(|h| h.name == self.name).map_or("", |h| &h.href)
    }
}

struct Hashed {
    name: &'static str,
    hash: String,
    etag: HeaderValue,
    href: String,
}

/// 64 bits of SHA-256: two versions of one file will not meet.
static HASHED: LazyLock<Vec<Hashed>> = LazyLock::new(|| {
    let hashed = |a: Asset| {
        let hash = hex::encode(&Sha256::digest(a.bytes)[..8]);
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hex is a header value");
        Hashed { name: a.name, etag, href: format!("/ops/static/{}?v={hash}", a.name), hash }
    };
    Asset::ALL.map(hashed).into()
});

/// The hash in the URL.
#[derive(Deserialize)]
pub(super) struct Version {
    v: Option<String>,
}

/// `GET /ops/static/{name}`
pub(super) async fn serve(
    Path(name): Path<String>,
    Query(version): Query<Version>,
    headers: HeaderMap,
) -> Response {
    let found = Asset::ALL.into_iter().find(|a| a.name == name);
    let hashed = HASHED.iter().find(|h| h.name == name);
    let (Some(asset), Some(hashed)) = (found, hashed) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let current = version.v.as_deref() == Some(&hashed.hash);
    let keep = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| {
        v.split(',').any(|tag| tag.trim().trim_start_matches("W/") == hashed.etag)
    });
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(asset.bytes))
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.mime));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    out.insert(header::ETAG, hashed.etag.clone());
    response
}
