//! A row of numbers over time as a picture: bars in SVG that is part of the page, with the same numbers as a table. It asks
//! nobody for them.

use askama::Template;

use super::words_people::{self as said, words};
use crate::control::BucketView;
use crate::keys::refusal::Language;

/// The picture, in its own units. It is as wide as where it stands.
const WIDTH: u64 = 400;
const HEIGHT: u64 = 150;
/// Where the bars begin: before them stand the numbers.
const LEFT: u64 = 46;
const TOP: u64 = 10;
/// Where they stand: below them stand the times.
const BASE: u64 = 126;

/// What is drawn: a value for each label.
pub(super) struct Series {
    pub(super) labels: Vec<String>,
    pub(super) values: Vec<u64>,
}

/// Over how long one value is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Per {
    Hour,
    Day,
}

impl Series {
    /// The newest `most` of the counts.
    pub(super) fn of(counts: &[BucketView], per: Per, most: usize) -> Self {
        let counts = counts.get(counts.len().saturating_sub(most)..);
        let counts = counts.unwrap_or_default();
        let label = |count: &BucketView| {
            let day = count.from.get(..10).unwrap_or_default();
            match (per, count.from.get(11..16)) {
                (Per::Hour, Some(minute)) => format!("{day} {minute}"),
                (Per::Hour, None) | (Per::Day, _) => day.to_owned(),
            }
        };
        Self {
            labels: counts.iter().map(label).collect(),
            values: counts.iter().map(|count| count.requests).collect(),
        }
    }
}

struct Grid {
    y: u64,
    label: String,
}

struct Bar {
    x: String,
    y: String,
    width: String,
    height: String,
    title: String,
}

struct Tick {
    x: String,
    anchor: &'static str,
    label: String,
}

struct Row {
    label: String,
    value: u64,
}

/// The picture and its table.
#[derive(Template)]
#[template(path = "chart.html", config = "src/control/page/askama.toml")]
pub(super) struct Chart {
    id: &'static str,
    title: &'static str,
    says: String,
    as_table: &'static str,
    when: &'static str,
    what: &'static str,
    width: u64,
    height: u64,
    left: u64,
    lines: Vec<Grid>,
    bars: Vec<Bar>,
    ticks: Vec<Tick>,
    rows: Vec<Row>,
}

impl Chart {
    /// `id` tells it from others of the page.
    pub(super) fn of(language: Language, id: &'static str, per: Per, series: Series) -> Self {
        let t = words(language);
        let (title, when) = match per {
            Per::Hour => (t.last_24_hours, t.hour),
            Per::Day => (t.last_30_days, t.day),
        };
        let values = || series.labels.iter().zip(series.values.iter().copied());
        let highest = values().max_by_key(|(_, value)| *value);
        let sum = values().fold(0_u64, |sum, (_, value)| sum.saturating_add(value));
        let top = round_up(highest.map_or(0, |(_, value)| value));
        Self {
            id,
            title,
            says: said::picture(
                language,
                sum,
                highest.map(|(label, value)| (&**label, value)),
            ),
            as_table: t.as_table,
            when,
            what: t.requests,
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            lines: grid(top),
            bars: bars(&series, top),
            ticks: ticks(&series.labels, per),
            rows: values()
                .map(|(label, value)| Row {
                    label: label.clone(),
                    value,
                })
                .collect(),
        }
    }
}

/// The top of the scale: 1, 2 or 5 and noughts.
fn round_up(value: u64) -> u64 {
    let mut scale = 1_u64;
    loop {
        for step in [1, 2, 5] {
            let top = scale.saturating_mul(step);
            if top >= value {
                return top;
            }
        }
        scale = scale.saturating_mul(10);
    }
}

/// A number of the scale, short.
fn short(value: u64) -> String {
    let units = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| value >= *unit && value.is_multiple_of(*unit));
    match unit {
        Some((unit, letter)) => format!("{}\u{a0}{letter}", value / unit),
        None => value.to_string(),
    }
}

fn grid(top: u64) -> Vec<Grid> {
    let mut marks = vec![0, top];
    if top.is_multiple_of(2) {
        marks.push(top / 2);
    }
    marks
        .into_iter()
        .map(|value| Grid {
            y: BASE - tenths(value, top) / 10,
            label: short(value),
        })
        .collect()
}

/// How high a value stands, in tenths.
fn tenths(value: u64, top: u64) -> u64 {
    let high = u128::from(value) * u128::from((BASE - TOP) * 10) / u128::from(top.max(1));
    u64::try_from(high).unwrap_or(0).min((BASE - TOP) * 10)
}

fn decimal(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Where the bar with this number begins, and how wide each is with the gap beside it, in tenths.
fn place(number: usize, of: usize) -> (u64, u64) {
    let each = (WIDTH - LEFT) * 10 / (of.max(1) as u64);
    (LEFT * 10 + each * number as u64, each)
}

fn bars(series: &Series, top: u64) -> Vec<Bar> {
    let count = series.values.len();
    let values = series.labels.iter().zip(&series.values).enumerate();
    values
        .filter(|(_, (_, value))| **value > 0)
        .map(|(number, (label, value))| {
            let (x, each) = place(number, count);
            // However few they are, they are to be seen.
            let high = tenths(*value, top).max(10);
            Bar {
                x: decimal(x + each / 10),
                y: decimal(BASE * 10 - high),
                width: decimal(each * 8 / 10),
                height: decimal(high),
                title: format!("{label}: {value}"),
            }
        })
        .collect()
}

fn ticks(labels: &[String], per: Per) -> Vec<Tick> {
    let count = labels.len();
    let Some(last) = count.checked_sub(1) else {
        return Vec::new();
    };
    let shown = [(0, "start"), (last / 2, "middle"), (last, "end")];
    shown
        .into_iter()
        .filter(|(number, anchor)| *anchor == "start" || *number > 0)
        .filter_map(|(number, anchor)| {
            let label = labels.get(number)?;
            let short = match per {
                Per::Hour => label.get(11..),
                Per::Day => label.get(5..),
            };
            let (x, each) = place(number, count);
            let x = match anchor {
                "start" => x,
                "end" => x + each,
                _ => x + each / 2,
            };
            Some(Tick {
                x: decimal(x),
                anchor,
                label: short.unwrap_or(label).to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[u64]) -> Chart {
        let labels = (0..values.len()).map(|hour| format!("2026-11-25 {hour:02}:00"));
        let series = Series {
            labels: labels.collect(),
            values: values.to_vec(),
        };
        Chart::of(Language::English, "a", Per::Hour, series)
    }

    #[test]
    fn bars_stay_within_the_picture_whatever_the_numbers() {
        let nothing = chart(&[0; 24]);
        assert!(nothing.bars.is_empty() && nothing.rows.len() == 24);
        for values in [vec![1], vec![u64::MAX; 30], vec![0, 3, 1_000_000_007, 5]] {
            for bar in chart(&values).bars {
                let number = |text: &str| text.parse::<f64>().unwrap();
                let (x, y) = (number(&bar.x), number(&bar.y));
                assert!(x >= LEFT as f64 && x + number(&bar.width) <= WIDTH as f64);
                assert!(y >= TOP as f64 && number(&bar.height) >= 1.0);
                assert!(y + number(&bar.height) <= BASE as f64 + 0.01);
            }
        }
        assert!(chart(&[]).ticks.is_empty());
    }

    #[test]
    fn the_scale_ends_with_a_round_number() {
        let tops = [
            (0, 1),
            (1, 1),
            (3, 5),
            (17, 20),
            (501, 1_000),
            (u64::MAX, u64::MAX),
        ];
        for (value, top) in tops {
            assert_eq!(round_up(value), top);
        }
        assert_eq!(
            (short(500), short(2_000)),
            ("500".to_owned(), "2\u{a0}k".to_owned())
        );
    }

    #[test]
    fn the_picture_has_its_numbers_in_words_and_no_style() {
        let text = chart(&[0, 7, 2]).render().unwrap();
        assert!(text.contains("2026-11-25 01:00: 7") && text.contains("<caption class=\"sr\">"));
        assert!(text.contains("aria-labelledby") && !text.contains("style="));
    }
}
