//! Keyset pagination: ids are time-ordered, so the last one of a page is the cursor to the next.

use crate::envelope::Page;
use crate::{Answer, ApiError, Reply};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

/// The largest page.
const MOST: i64 = 200;
const USUAL: i64 = 50;

/// Where a page begins and how long it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// `next` of the page before; none for the first page.
    pub(crate) cursor: Option<Uuid>,
    /// Items on a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<i64>,
}

impl Paging {
    /// How many rows to ask for: one more than the page holds tells whether there is a next one.
    ///
    /// # Errors
    /// 400 if the limit is out of bounds.
    pub(crate) fn rows(self) -> Result<i64, ApiError> {
        match self.limit.unwrap_or(USUAL) {
            n @ 1..=MOST => Ok(n + 1),
            _ => Err(ApiError::bad_request("invalid_query", "`limit` is a number from 1 to 200")),
        }
    }
}

/// Makes the page of rows that were asked for by [`Paging::rows`].
pub(crate) fn paged<R, T>(
    message: &'static str,
    paging: Paging,
    mut rows: Vec<R>,
    id: impl Fn(&R) -> Uuid,
    view: impl Fn(R) -> T,
) -> Answer<Page<T>> {
    let size = usize::try_from(paging.rows()? - 1).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = if more { rows.last().map(|r| id(r).to_string()) } else { None };
    Ok(Reply::ok(message, Page { items: rows.into_iter().map(view).collect(), next }))
}
