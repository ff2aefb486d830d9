//! `?size=<n>&page=<n>`, counted from 1.

use axum::http::Uri;

use super::Refusal;

/// What most lists show when not asked.
pub(crate) const SHORT_LIST: u32 = 25;
/// What lists of jobs and runs show when not asked, and the most that any list shows.
pub(crate) const LONG_LIST: u32 = 1000;

/// Which page of which size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paging {
    pub(crate) size: u32,
    pub(crate) page: u32,
}

impl Paging {
    /// Reads a request's query; a larger size than [`LONG_LIST`] gives that.
    pub(crate) fn of(uri: &Uri, default_size: u32) -> Result<Self, Refusal> {
        let mut paging = Self {
            size: default_size,
            page: 1,
        };
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()) {
            let number = || match value.parse::<u32>() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(Refusal::unprocessable(format!(
                    "{name}={value}: write a whole number from 1"
                ))),
            };
            match name.as_ref() {
                "size" => paging.size = number()?.min(LONG_LIST),
                "page" => paging.page = number()?,
                _ => {}
            }
        }
        match (paging.page - 1).checked_mul(paging.size) {
            Some(_) => Ok(paging),
            None => Err(Refusal::unprocessable(format!(
                "page={}: there is no such page",
                paging.page
            ))),
        }
    }

    /// Rows before this page; [`Paging::of`] made sure that it is a number.
    pub(crate) fn offset(self) -> u32 {
        (self.page - 1).saturating_mul(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<(u32, u32), String> {
        Paging::of(&format!("/v2/jobs{query}").parse().unwrap(), 25)
            .map(|paging| (paging.size, paging.offset()))
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn pages_count_from_one() {
        assert_eq!(of(""), Ok((25, 0)));
        assert_eq!(of("?size=2&page=3"), Ok((2, 4)));
        assert_eq!(of("?size=99999"), Ok((1000, 0)));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for wrong in [
            "?size=0",
            "?page=0",
            "?size=x",
            "?page=-1",
            "?page=4294967295&size=1000",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
