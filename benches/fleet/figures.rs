//! Many measured times as the few figures that are told of them.

use serde_json::{Value, json};

/// What so large a share of the sorted values does not exceed.
fn quantile(sorted: &[u64], share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within a list that fits memory"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let at = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(0)
}

/// Median, tails and most, in milliseconds, of times in nanoseconds; `null` of none.
pub fn told(mut nanoseconds: Vec<u64>) -> Value {
    if nanoseconds.is_empty() {
        return Value::Null;
    }
    nanoseconds.sort_unstable();
    json!({
        "count": nanoseconds.len(),
        "p50_ms": ms(quantile(&nanoseconds, 0.5)),
        "p90_ms": ms(quantile(&nanoseconds, 0.9)),
        "p99_ms": ms(quantile(&nanoseconds, 0.99)),
        "p999_ms": ms(quantile(&nanoseconds, 0.999)),
        "max_ms": ms(quantile(&nanoseconds, 1.0)),
    })
}

/// Nanoseconds as milliseconds, to the microsecond.
pub fn ms(nanoseconds: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded on purpose")]
    let microseconds = (nanoseconds / 1_000) as f64;
    microseconds / 1_000.0
}
