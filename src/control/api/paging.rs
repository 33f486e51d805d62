//! Lists: which parameters they take, and filtered, sorted and cut into pages by them (WIRE 5.3). What they list is not known
//! here.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::keys::rules::Refusal;

/// The most on a page, and how many there are unless said otherwise (WIRE 7, trap 44).
const SIZE_MAX: usize = 100;

/// The parameters of every list of keys. Those that a list has no use for are ignored there.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyQuery {
    /// How many on a page: 1 to 100, which is also what it is without.
    #[serde(rename = "page[size]")]
    pub(super) size: Option<String>,
    /// Which page, from 0.
    #[serde(rename = "page[number]")]
    pub(super) number: Option<String>,
    /// `name`, `created_at`, `modified_at` or `last4`; with a `-` before it, backwards. Names are sorted without regard to
    /// case.
    sort: Option<String>,
    /// Only those with this in their name.
    filter: Option<String>,
    /// Only those made at this time or later.
    #[serde(rename = "filter[created_at][start]")]
    created_from: Option<String>,
    /// Only those made at this time or earlier.
    #[serde(rename = "filter[created_at][end]")]
    created_to: Option<String>,
    /// Only those changed at this time or later.
    #[serde(rename = "filter[modified_at][start]")]
    modified_from: Option<String>,
    /// Only those changed at this time or earlier.
    #[serde(rename = "filter[modified_at][end]")]
    modified_to: Option<String>,
    /// Application keys: only those of this user.
    #[serde(rename = "filter[owned_by]")]
    pub(super) owned_by: Option<String>,
    /// API keys: only those of this category.
    #[serde(rename = "filter[category]")]
    category: Option<String>,
    /// API keys: only those that may, or may not, read remote configuration.
    #[serde(rename = "filter[remote_config_read_enabled]")]
    remote_config_read: Option<bool>,
    /// What else is wanted in `included`: `created_by`, `modified_by`, `owned_by`, separated by commas.
    pub(super) include: Option<String>,
}

/// What a list of keys is sorted and filtered by.
pub(super) struct Facts<'k> {
    pub(super) id: String,
    pub(super) name: &'k str,
    pub(super) last4: &'k str,
    /// As text whose order is that of time.
    pub(super) created_at: &'k str,
    pub(super) modified_at: &'k str,
    pub(super) category: &'k str,
    pub(super) remote_config_read: bool,
}

impl KeyQuery {
    /// What is wanted of a list, sorted; how many there are of it; and then one page of them.
    pub(super) fn page<T>(
        &self,
        mut all: Vec<T>,
        facts: impl for<'k> Fn(&'k T) -> Facts<'k>,
    ) -> Result<(Vec<T>, usize), Refusal> {
        let page = Page::of(self.size.as_deref(), self.number.as_deref())?;
        let created = Span::of("created_at", &self.created_from, &self.created_to)?;
        let modified = Span::of("modified_at", &self.modified_from, &self.modified_to)?;
        let wanted = self.filter.as_deref().map(str::to_lowercase);
        all.retain(|item| {
            let facts = facts(item);
            wanted
                .as_ref()
                .is_none_or(|wanted| facts.name.to_lowercase().contains(wanted))
                && created.holds(facts.created_at)
                && modified.holds(facts.modified_at)
                && self.category.as_ref().is_none_or(|it| it == facts.category)
                && self
                    .remote_config_read
                    .is_none_or(|it| it == facts.remote_config_read)
        });
        let sort = self.sort.as_deref().unwrap_or("name");
        let (backwards, by) = match sort.strip_prefix('-') {
            Some(by) => (true, by),
            None => (false, sort),
        };
        let by: fn(&Facts<'_>) -> String = match by {
            "name" => |facts| facts.name.to_lowercase(),
            "created_at" => |facts| facts.created_at.to_owned(),
            "modified_at" => |facts| facts.modified_at.to_owned(),
            "last4" => |facts| facts.last4.to_owned(),
            _ => {
                return Err(Refusal::ParameterMalformed {
                    name: "sort".into(),
                    wanted: "name, created_at, modified_at or last4, perhaps with a - before it",
                });
            }
        };
        // By id where all else is equal, so that no page repeats what another had.
        all.sort_by_cached_key(|item| {
            let facts = facts(item);
            (by(&facts), facts.id)
        });
        if backwards {
            all.reverse();
        }
        let count = all.len();
        Ok((page.cut(all), count))
    }

    /// All, with this in `included`.
    pub(super) fn including(what: &str) -> Self {
        Self {
            include: Some(what.to_owned()),
            ..Self::default()
        }
    }

    /// Whether something is asked for in `included`.
    pub(super) fn includes(&self, what: &str) -> bool {
        let asked = self.include.as_deref().unwrap_or_default();
        asked.split(',').any(|each| each.trim() == what)
    }
}

/// The parameter of one key.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct OneQuery {
    /// What else is wanted in `included`: `created_by`, `modified_by`, `owned_by`, separated by commas.
    include: Option<String>,
}

impl OneQuery {
    /// The same question, as of a list.
    pub(super) fn into_list(self) -> KeyQuery {
        KeyQuery {
            include: self.include,
            ..KeyQuery::default()
        }
    }
}

/// One page of a list.
pub(super) struct Page {
    size: usize,
    number: usize,
}

impl Page {
    pub(super) fn of(size: Option<&str>, number: Option<&str>) -> Result<Self, Refusal> {
        let size = size.map_or(Ok(SIZE_MAX), str::parse).ok();
        let number = number.map_or(Ok(0), str::parse).ok();
        Ok(Self {
            size: size
                .filter(|size| (1..=SIZE_MAX).contains(size))
                .ok_or_else(|| Refusal::ParameterMalformed {
                    name: "page[size]".into(),
                    wanted: "a number from 1 to 100",
                })?,
            number: number.ok_or_else(|| Refusal::ParameterMalformed {
                name: "page[number]".into(),
                wanted: "a number from 0",
            })?,
        })
    }

    pub(super) fn cut<T>(&self, all: Vec<T>) -> Vec<T> {
        let before = self.size.saturating_mul(self.number);
        all.into_iter().skip(before).take(self.size).collect()
    }
}

/// From one time to another, both included.
struct Span {
    from: Option<jiff::Timestamp>,
    to: Option<jiff::Timestamp>,
}

impl Span {
    fn of(field: &str, from: &Option<String>, to: &Option<String>) -> Result<Self, Refusal> {
        let time = |text: &Option<String>, end: &str| {
            let Some(text) = text else { return Ok(None) };
            time(text)
                .map(Some)
                .ok_or_else(|| Refusal::ParameterMalformed {
                    name: format!("filter[{field}][{end}]").into(),
                    wanted: "a time such as 2025-09-08T09:24:43Z, or a date",
                })
        };
        Ok(Self {
            from: time(from, "start")?,
            to: time(to, "end")?,
        })
    }

    fn holds(&self, text: &str) -> bool {
        if self.from.is_none() && self.to.is_none() {
            return true;
        }
        text.parse::<jiff::Timestamp>().is_ok_and(|at| {
            self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at <= to)
        })
    }
}

/// A time, or a date, which is when it began.
pub(super) fn time(text: &str) -> Option<jiff::Timestamp> {
    // An offset's `+` that was not encoded arrives as a blank.
    let text = text.trim().replace(' ', "+");
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    format!("{date}T00:00:00Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> KeyQuery {
        let uri = format!("/x?{text}").parse().unwrap();
        axum::extract::Query::try_from_uri(&uri).unwrap().0
    }

    fn names(text: &str) -> Result<(Vec<&'static str>, usize), Refusal> {
        let all = vec!["beta", "Alpha", "gamma", "alpine", "Delta"];
        query(text).page(all, |name| Facts {
            id: (*name).to_owned(),
            name,
            last4: name.get(name.len() - 4..).unwrap(),
            created_at: if *name == "gamma" {
                "2026-01-02T00:00:00Z"
            } else {
                "2026-01-01T00:00:00Z"
            },
            modified_at: "2026-01-01T00:00:00Z",
            category: "default",
            remote_config_read: *name != "beta",
        })
    }

    #[test]
    fn pages_are_sorted_without_regard_to_case_and_tell_how_many_there_are() {
        assert_eq!(
            names("").unwrap().0,
            ["Alpha", "alpine", "beta", "Delta", "gamma"]
        );
        assert_eq!(
            names("sort=-name&page[size]=2").unwrap(),
            (vec!["gamma", "Delta"], 5)
        );
        assert_eq!(
            names("page%5Bsize%5D=2&page%5Bnumber%5D=2").unwrap(),
            (vec!["gamma"], 5)
        );
        assert_eq!(names("page[number]=99999999999999999").unwrap().0.len(), 0);
        assert_eq!(names("filter=AL").unwrap(), (vec!["Alpha", "alpine"], 2));
        assert_eq!(
            names("filter[created_at][start]=2026-01-02").unwrap().0,
            ["gamma"]
        );
        assert_eq!(
            names("filter[created_at][end]=2026-01-01T12:00:00%2B00:00")
                .unwrap()
                .1,
            4
        );
        assert_eq!(
            names("filter[remote_config_read_enabled]=false").unwrap().0,
            ["beta"]
        );
    }

    #[test]
    fn what_no_parameter_can_be_is_refused_by_its_name() {
        for (text, name) in [
            ("page[size]=0", "page[size]"),
            ("page[size]=101", "page[size]"),
            ("page[size]=x", "page[size]"),
            ("page[number]=-1", "page[number]"),
            ("sort=secret", "sort"),
            ("filter[modified_at][end]=soon", "filter[modified_at][end]"),
        ] {
            let refusal = names(text).unwrap_err().to_string();
            assert!(refusal.starts_with(name), "{text}: {refusal}");
        }
    }
}
