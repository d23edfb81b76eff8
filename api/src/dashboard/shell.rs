//! What every screen has around it: menu, who is signed in, the notice of the last action.

use super::session::Operator;
use crate::Api;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use std::convert::Infallible;
use switchyard_store::backups::restored;

/// The frame of a screen.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    /// The menu item that is marked.
    pub active: &'static str,
    /// Who is signed in.
    pub admin: String,
    /// What the last action came to.
    pub notice: Option<Notice>,
    /// Where live events come from, if the screen has any.
    pub live: Option<String>,
    /// This system was restored and is not released.
    pub held: bool,
    /// The clock, read once for the whole page.
    pub now: DateTime<Utc>,
}

/// One item of the menu.
pub(super) struct Item {
    pub href: &'static str,
    pub label: &'static str,
    pub icon: &'static str,
}

/// Items that belong together.
pub(super) struct Group {
    pub title: &'static str,
    pub items: &'static [Item],
}

const fn item(href: &'static str, label: &'static str, icon: &'static str) -> Item {
    Item { href, label, icon }
}

const MENU: &[Group] = &[
    Group { title: "", items: &[item("/ops", "Overview", "home")] },
    Group {
        title: "Leads",
        items: &[
            item("/ops/leads", "Leads", "lead"),
            item("/ops/deliveries", "Deliveries", "inbox"),
            item("/ops/messages", "Messages", "mail"),
            item("/ops/commissions", "Commissions", "coins"),
        ],
    },
    Group {
        title: "Engine",
        items: &[
            item("/ops/jobs", "Jobs", "job"),
            item("/ops/workflows", "Workflows", "flow"),
            item("/ops/errors", "Errors", "alert"),
            item("/ops/bulk", "Bulk", "bulk"),
            item("/ops/queues", "Queues", "queue"),
            item("/ops/kinds", "Kinds", "kind"),
            item("/ops/schedules", "Schedules", "clock"),
            item("/ops/workers", "Workers", "worker"),
        ],
    },
    Group {
        title: "Setup",
        items: &[
            item("/ops/portals", "Portals", "portal"),
            item("/ops/endpoints", "Endpoints", "send"),
            item("/ops/backups", "Backups", "backup"),
            item("/ops/keys", "Keys", "key"),
        ],
    },
];

impl Shell {
    /// Marks the menu item.
    #[must_use]
    pub(super) fn at(mut self, active: &'static str) -> Self {
        self.active = active;
        self
    }

    /// Makes the screen live.
    #[must_use]
    pub(super) fn live(mut self, url: impl Into<String>) -> Self {
        self.live = Some(url.into());
        self
    }

    pub(super) fn menu(&self) -> &'static [Group] {
        MENU
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now.timestamp_millis()
    }
}

impl FromRequestParts<Api> for Shell {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let operator = parts.extensions.get::<Operator>();
        Ok(Self {
            active: "",
            admin: operator.map(|o| o.name.clone()).unwrap_or_default(),
            notice: parts.extensions.get::<Notice>().cloned(),
            live: None,
            // A page is shown without it rather than not at all.
            held: restored::awaits_release(&api.db).await.unwrap_or_default(),
            now: api.clock.now(),
        })
    }
}

/// What an action came to, shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// It did not work.
    pub failed: bool,
    /// The sentence.
    pub text: String,
}

impl Notice {
    pub(super) fn done(text: impl Into<String>) -> Self {
        Self { failed: false, text: text.into() }
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { failed: true, text: text.into() }
    }

    pub(super) fn class(&self) -> &'static str {
        if self.failed { "bad" } else { "good" }
    }

    pub(super) fn role(&self) -> &'static str {
        if self.failed { "alert" } else { "status" }
    }

    /// As a cookie's value: hex, because cookies know no spaces.
    pub(super) fn cookie(&self) -> String {
        let mark = if self.failed { '-' } else { '+' };
        hex::encode(format!("{mark}{}", self.text))
    }

    pub(super) fn from_cookie(value: &str) -> Option<Self> {
        let text = String::from_utf8(hex::decode(value).ok()?).ok()?;
        let (failed, text) = match text.split_at_checked(1)? {
            ("+", text) => (false, text),
            ("-", text) => (true, text),
            _ => return None,
        };
        Some(Self { failed, text: text.to_owned() })
    }
}

/// Renders a template as a page.
pub(super) fn page(template: &impl askama::Template) -> Result<Response, super::error::OpsError> {
    Ok(Html(template.render()?).into_response())
}

/// A name and a value of a record.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub name: &'static str,
    pub value: String,
    pub href: Option<String>,
    pub mono: bool,
}

impl Fact {
    pub(super) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), href: None, mono: false }
    }

    pub(super) fn code(name: &'static str, value: impl Into<String>) -> Self {
        Self { mono: true, ..Self::new(name, value) }
    }

    /// The name as people read it: names of fields come as `postal_code`.
    pub(super) fn label(&self) -> String {
        let mut label = self.name.replace('_', " ");
        if let Some(first) = label.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        label
    }

    #[must_use]
    pub(super) fn to(mut self, href: impl Into<String>) -> Self {
        self.href = Some(href.into());
        self
    }

    /// A fact that may not be known.
    pub(super) fn maybe(name: &'static str, value: Option<impl Into<String>>) -> Option<Self> {
        value.map(|v| Self::new(name, v))
    }
}

/// A tab of a list.
pub(super) struct Tab {
    pub href: String,
    pub label: &'static str,
    pub current: bool,
}

/// The foot of a list.
#[derive(Default)]
pub(super) struct Pager {
    pub first: Option<String>,
    pub next: Option<String>,
}

impl Pager {
    /// `base` is the list's address with its filters; `after` is where this page starts.
    pub(super) fn new(base: &str, after: bool, next: Option<impl std::fmt::Display>) -> Self {
        let joint = if base.contains('?') { '&' } else { '?' };
        Self {
            first: after.then(|| base.to_owned()),
            next: next.map(|c| format!("{base}{joint}after={c}")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_survives_its_cookie() {
        for notice in [Notice::done("Wird wiederholt; \"ąę\""), Notice::failed("")] {
            assert_eq!(Notice::from_cookie(&notice.cookie()), Some(notice));
        }
        for bad in ["", "zz", "41", "ff"] {
            assert_eq!(Notice::from_cookie(bad), None, "{bad}");
        }
    }
}
