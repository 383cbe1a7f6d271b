//! Long lists, page by page: `?limit=` and `?cursor=`, beside whatever the list can be filtered by.
//!
//! A page goes on by key, so what is added or removed meanwhile neither repeats nor hides anything else.

use super::error::Refusal;
use super::input::BadInput;
use crate::app::App;
use axum::extract::{FromRequestParts, Query};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Uri;
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::Arc;
use url::form_urlencoded;

/// If nothing else is asked for.
const LIMIT: u32 = 100;

/// The most that one answer has.
const MAX_LIMIT: u32 = 500;

/// Which part of a list is asked for. `F` is what it can be filtered by: flat, with `deny_unknown_fields`.
#[derive(Debug)]
pub(crate) struct Paging<F = NoFilter> {
    /// At most so many.
    pub(crate) limit: u32,
    /// Whatever else the query says.
    pub(crate) filter: F,
    after: Option<String>,
}

/// The list can only be had whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFilter {}

/// A part of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// In the order of the list.
    pub(crate) items: Vec<T>,
    /// What `cursor` has to be to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// How a key is handed out.
pub(crate) fn cursor(key: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key)
}

impl<F> Paging<F> {
    /// The key of the last thing on the page before.
    pub(crate) fn after<K: FromStr>(&self) -> Result<Option<K>, BadInput> {
        let key = self.after.as_deref().map(str::parse).transpose();
        key.map_err(|_| BadInput::Malformed("this cursor is of another list".to_owned()))
    }

    /// How many to read: one more than fits on the page, to know whether there is one.
    pub(crate) fn one_more(&self) -> u32 {
        self.limit + 1
    }

    /// The page, from at most [`Paging::one_more`] things in the list's order.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, key: impl FnOnce(&T) -> String) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let is_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| is_more).map(|last| BASE64_URL_SAFE_NO_PAD.encode(key(last)));
        Page { items, next }
    }

    /// The things of this page, and one more if there is one, from a list that is in memory, ordered by the text of `key`.
    pub(crate) fn cut<T>(&self, all: impl IntoIterator<Item = T>, key: impl Fn(&T) -> &str) -> Vec<T> {
        let is_after = |thing: &T| self.after.as_deref().is_none_or(|after| key(thing) > after);
        let one_more = usize::try_from(self.one_more()).unwrap_or(usize::MAX);
        all.into_iter().filter(is_after).take(one_more).collect()
    }
}

impl<T> Page<T> {
    /// The same page of other things.
    pub(crate) fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

impl<F: DeserializeOwned> FromRequestParts<Arc<App>> for Paging<F> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        Ok(Self::read(parts.uri.query().unwrap_or_default())?)
    }
}

impl<F: DeserializeOwned> Paging<F> {
    fn read(query: &str) -> Result<Self, BadInput> {
        let (mut limit, mut cursor) = (None, None);
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "limit" => &mut limit,
                "cursor" => &mut cursor,
                _ => {
                    rest.append_pair(&name, &value);
                    continue;
                }
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(BadInput::Malformed(format!("{name} is there twice")));
            }
        }
        let rest: Uri = format!("/?{}", rest.finish())
            .parse()
            .map_err(|_| BadInput::Malformed("the query cannot be read".to_owned()))?;
        let Query(filter) =
            Query::try_from_uri(&rest).map_err(|error| BadInput::Malformed(error.body_text()))?;
        Ok(Self { limit: limit_of(limit)?, after: cursor.map(key_in).transpose()?, filter })
    }
}

fn limit_of(text: Option<String>) -> Result<u32, BadInput> {
    let limit = text.map_or(Some(LIMIT), |text| text.parse().ok());
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| BadInput::Malformed(format!("limit is 1 to {MAX_LIMIT}")))
}

fn key_in(cursor: String) -> Result<String, BadInput> {
    let key = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| BadInput::Malformed("a cursor is what `next` of another page said".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ByAge {
        #[serde(default)]
        over: u8,
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let all: Vec<String> = (0..25).map(|number| format!("{number:02}")).collect();
        let (mut seen, mut query) = (Vec::new(), "limit=10".to_owned());
        loop {
            let paging = Paging::<NoFilter>::read(&query).unwrap();
            let page = paging.page(paging.cut(all.clone(), String::as_str), String::clone);
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            query = format!("limit=10&cursor={next}");
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_full_last_page_has_no_next() {
        let paging = Paging::<NoFilter>::read("limit=2").unwrap();
        assert_eq!(paging.page(vec![1, 2], ToString::to_string).next, None);
        assert!(paging.page(vec![1, 2, 3], ToString::to_string).next.is_some());
    }

    #[test]
    fn pc_63_what_the_query_means_nothing_by_is_refused() {
        assert_eq!(Paging::<ByAge>::read("over=3&limit=500").unwrap().filter, ByAge { over: 3 });
        for bad in
            ["limit=0", "limit=501", "limit=x", "limit=1&limit=1", "cursor=%2B", "ovr=3", "over=3&over=4"]
        {
            assert!(Paging::<ByAge>::read(bad).is_err(), "{bad}");
        }
        let other = Paging::<NoFilter>::read("cursor=eA").unwrap();
        assert!(other.after::<u8>().is_err());
    }
}
