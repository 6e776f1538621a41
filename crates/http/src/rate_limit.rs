use std::{hash::Hash, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use seawall_core::Timestamp;
use seawall_rate_limiter::{Quota, Quotas, Standing};
use sfv::{Integer, KeyRef, ListSerializer, Parser, StringRef};

use crate::rate_limit_reset::RATE_LIMIT_RESET;

/// What is left of each quota.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What the quotas are.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What clients read that know no draft, by how GitHub, and others after it, name them.
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// A quota's name that no header can hold.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaNameError {
    /// It is empty, or holds more than visible ASCII and spaces.
    #[error(
        "name of a quota holds {length} bytes, not all of them printable; allowed is printable ASCII, at least one"
    )]
    NotPrintable {
        /// How long it is.
        length: usize,
    },
}

seawall_core::debug_as_text!(QuotaNameError);

/// A quota's name as clients see it.
///
/// ```
/// use seawall_http::QuotaName;
///
/// assert!(QuotaName::new("per tenant").is_ok());
/// assert!(QuotaName::new("").is_err());
/// ```
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct QuotaName {
    name: &'static StringRef,
}

impl QuotaName {
    /// A name of printable ASCII.
    ///
    /// # Errors
    /// [`QuotaNameError::NotPrintable`] for anything else.
    pub fn new(name: &'static str) -> Result<Self, QuotaNameError> {
        let error = QuotaNameError::NotPrintable { length: name.len() };
        if name.is_empty() {
            return Err(error);
        }
        StringRef::from_str(name).map(|name| Self { name }).map_err(|_| error)
    }
}

/// The fields `RateLimit` and `RateLimit-Policy` of one response.
///
/// A policy says how many calls (`q`) in how many seconds (`w`, absent for shorter periods); a limit how many may come at
/// once (`r`) and in how many seconds the whole burst is there again (`t`), rounded up.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_http::{QuotaName, RateLimitFields};
/// use seawall_rate_limiter::{Gcra, Quota};
///
/// let quota = Quota::per_minute(60)?.with_burst(10)?;
/// let limiter = Gcra::new(quota);
/// let now = Timestamp::from_nanos(1_000_000_000);
/// limiter.take(4, now).unwrap();
///
/// let fields = RateLimitFields::new().with(QuotaName::new("tenant")?, &quota, limiter.standing(now));
/// let mut headers = http::HeaderMap::new();
/// fields.write(&mut headers);
/// assert_eq!(headers["ratelimit-policy"], r#""tenant";q=60;w=60"#);
/// assert_eq!(headers["ratelimit"], r#""tenant";r=6;t=4"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// draft-ietf-httpapi-ratelimit-headers-10, sections 2 and 3; RFC 9651 (structured field values).
#[derive(Debug, Default)]
pub struct RateLimitFields {
    policies: ListSerializer<String>,
    limits: ListSerializer<String>,
    legacy: bool,
    tightest: Option<Tightest>,
}

/// The quota of which the fewest calls are left, which is all that the fields before the draft can tell.
#[derive(Debug, Copy, Clone)]
struct Tightest {
    burst: u32,
    standing: Standing,
}

impl RateLimitFields {
    /// No quota yet: writes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// And one more quota.
    #[must_use]
    pub fn with(mut self, name: QuotaName, quota: &Quota, standing: Standing) -> Self {
        self.add(name.name, quota, standing);
        self
    }

    /// And those of several that have a name, as they stand for `key`.
    ///
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_http::RateLimitFields;
    /// use seawall_rate_limiter::{OneQuota, Quota, Quotas};
    ///
    /// let second = OneQuota::keyed(Quota::per_second(10)?.with_burst(10)?).with_name("second")?;
    /// let day = OneQuota::keyed(Quota::per_day(1_000)?.with_burst(1_000)?).with_name("day")?;
    /// let limiter = Quotas::new().with(second).with(day);
    /// limiter.take("ann", 4, Timestamp::ZERO).unwrap();
    ///
    /// let mut headers = http::HeaderMap::new();
    /// RateLimitFields::new().with_quotas(&limiter, "ann", Timestamp::ZERO).write(&mut headers);
    /// assert_eq!(headers["ratelimit-policy"], r#""second";q=10;w=1, "day";q=1000;w=86400"#);
    /// assert_eq!(headers["ratelimit"], r#""second";r=6;t=1, "day";r=996;t=346"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_quotas<K: Hash + ?Sized>(mut self, quotas: &Quotas, key: &K, now: Timestamp) -> Self {
        for (name, quota, standing) in quotas.standings(key, now) {
            // The limiter takes only names that a field can hold.
            if let Ok(name) = StringRef::from_str(name) {
                self.add(name, &quota, standing);
            }
        }
        self
    }

    fn add(&mut self, name: &StringRef, quota: &Quota, standing: Standing) {
        let policy = self.policies.bare_item(name).parameter(key("q"), integer(quota.calls().into()));
        if quota.period() >= Duration::from_secs(1) {
            let _ = policy.parameter(key("w"), integer(seconds(quota.period())));
        }
        let limit = self.limits.bare_item(name).parameter(key("r"), integer(standing.remaining().into()));
        let _ = limit.parameter(key("t"), integer(seconds(standing.full_in())));
        if self.tightest.is_none_or(|tightest| standing.remaining() < tightest.standing.remaining()) {
            self.tightest = Some(Tightest { burst: quota.burst(), standing });
        }
    }

    /// Writes `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` as well, for clients that know no draft:
    /// how many calls may come at once when nothing is used, how many may now, and in how many seconds all may again, of the
    /// quota of which the fewest are left.
    ///
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_http::{QuotaName, RateLimitFields};
    /// use seawall_rate_limiter::{Gcra, Quota};
    ///
    /// let quota = Quota::per_minute(60)?.with_burst(10)?;
    /// let (limiter, now) = (Gcra::new(quota), Timestamp::ZERO);
    /// limiter.take(4, now).unwrap();
    ///
    /// let fields = RateLimitFields::new().with(QuotaName::new("all")?, &quota, limiter.standing(now)).with_legacy();
    /// let mut headers = http::HeaderMap::new();
    /// fields.write(&mut headers);
    /// let legacy = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| &headers[name]);
    /// assert_eq!(legacy, ["10", "6", "4"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn with_legacy(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// Sets the fields.
    pub fn write(self, headers: &mut HeaderMap) {
        if let Some(Tightest { burst, standing }) = self.tightest.filter(|_| self.legacy) {
            headers.insert(LEGACY_LIMIT, burst.into());
            headers.insert(LEGACY_REMAINING, standing.remaining().into());
            headers.insert(RATE_LIMIT_RESET, seconds(standing.full_in()).into());
        }
        for (name, list) in [(RATE_LIMIT_POLICY, self.policies), (RATE_LIMIT, self.limits)] {
            if let Some(value) = list.finish().and_then(|list| HeaderValue::try_from(list).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

/// What a server says of one quota in its `RateLimit` field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemainingQuota {
    /// The quota's name.
    pub name: String,
    /// How many calls may still come.
    pub remaining: u64,
    /// How long until more may.
    pub reset_in: Option<Duration>,
}

/// Reads a `RateLimit` field. A field that the grammar does not allow is `None`; members that are not of this kind are
/// left out.
///
/// ```
/// let quotas = seawall_http::parse_rate_limit(br#""hour";r=12;t=1800, "day";r=900"#).unwrap();
/// assert_eq!((quotas[0].remaining, quotas[1].reset_in), (12, None));
/// ```
///
/// # Source
/// draft-ietf-httpapi-ratelimit-headers-10, section 3.
pub fn parse_rate_limit(value: &[u8]) -> Option<Vec<RemainingQuota>> {
    let list: sfv::List = Parser::new(value).parse().ok()?;
    let quotas = list.iter().filter_map(|entry| {
        let sfv::ListEntry::Item(item) = entry else { return None };
        let number = |name: &str| {
            let number = item.params.get(name)?.as_integer()?;
            u64::try_from(i64::from(number)).ok()
        };
        Some(RemainingQuota {
            name: item.bare_item.as_string()?.as_str().to_owned(),
            remaining: number("r")?,
            reset_in: number("t").map(Duration::from_secs),
        })
    });
    Some(quotas.collect())
}

const fn key(name: &'static str) -> &'static KeyRef {
    KeyRef::constant(name)
}

/// The largest number that a field may hold for those above it: 31 million years.
fn integer(number: u64) -> Integer {
    Integer::try_from(number).unwrap_or(Integer::MAX)
}

/// Whole seconds, rounded up, so that nobody comes back too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use proptest::prelude::*;
    use seawall_rate_limiter::{Gcra, OneQuota};

    use super::*;

    fn written(fields: RateLimitFields) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        fields.write(&mut headers);
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().expect("ASCII").to_owned());
        (text(RATE_LIMIT_POLICY), text(RATE_LIMIT))
    }

    #[test]
    fn several_quotas_stand_in_one_field_and_none_in_no_field() {
        let (second, day) = (Quota::per_second(10).unwrap(), Quota::per_day(1_000).unwrap().with_burst(1_000).unwrap());
        let (limiter, now) = (Gcra::new(day), Timestamp::from_nanos(1));
        limiter.take(999, now).unwrap();

        let fields = RateLimitFields::new()
            .with(QuotaName::new("second").unwrap(), &second, Gcra::new(second).standing(now))
            .with(QuotaName::new("a \"day\"").unwrap(), &day, limiter.standing(now));

        let (policies, limits) = written(fields);
        assert_eq!(policies.as_deref(), Some(r#""second";q=10;w=1, "a \"day\"";q=1000;w=86400"#));
        assert_eq!(limits.as_deref(), Some(r#""second";r=1;t=0, "a \"day\"";r=1;t=86314"#));
        assert_eq!(written(RateLimitFields::new()), (None, None));
    }

    #[test]
    fn clients_that_know_no_draft_are_told_of_the_quota_with_the_fewest_left_if_they_are_to_be() {
        let (second, day) = (Quota::per_second(10).unwrap(), Quota::per_day(1_000).unwrap().with_burst(1_000).unwrap());
        let (limiter, now, name) = (Gcra::new(day), Timestamp::from_nanos(1), QuotaName::new("n").unwrap());
        let fields = || {
            let of_second = RateLimitFields::new().with(name, &second, Gcra::new(second).standing(now));
            of_second.with(name, &day, limiter.standing(now))
        };
        let legacy = |fields: RateLimitFields| {
            let mut headers = HeaderMap::new();
            fields.write(&mut headers);
            [LEGACY_LIMIT, LEGACY_REMAINING, RATE_LIMIT_RESET]
                .map(|name| Some(headers.get(name)?.to_str().ok()?.to_owned()))
        };
        let told = |texts: [&str; 3]| texts.map(|text| Some(text.to_owned()));

        assert_eq!(legacy(fields().with_legacy()), told(["1", "1", "0"]));
        limiter.take(1_000, now).unwrap();
        assert_eq!(legacy(fields().with_legacy()), told(["1000", "0", "86400"]));
        assert_eq!(legacy(fields()), [const { None }; 3]);
        assert_eq!(legacy(RateLimitFields::new().with_legacy()), [const { None }; 3]);
    }

    #[test]
    fn several_quotas_are_told_by_name_for_the_key_that_asks_and_the_strictest_to_who_knows_no_draft() {
        let quota = |calls, burst| Quota::per_second(calls).and_then(|quota| quota.with_burst(burst)).unwrap();
        let tenant = OneQuota::keyed(quota(10, 5)).with_name("tenant").unwrap();
        let all = OneQuota::shared(quota(100, 9)).with_name("all").unwrap();
        let quotas = Quotas::new().with(tenant).with_keyed(quota(2, 2)).with(all);
        quotas.take("ann", 2, Timestamp::ZERO).unwrap();
        let of = |key| {
            let mut headers = HeaderMap::new();
            RateLimitFields::new().with_quotas(&quotas, key, Timestamp::ZERO).with_legacy().write(&mut headers);
            [RATE_LIMIT_POLICY, RATE_LIMIT, LEGACY_LIMIT, LEGACY_REMAINING]
                .map(|name| headers[name].to_str().unwrap().to_owned())
        };

        let policies = r#""tenant";q=10;w=1, "all";q=100;w=1"#;
        assert_eq!(of("ann"), [policies, r#""tenant";r=3;t=1, "all";r=7;t=1"#, "5", "3"]);
        assert_eq!(of("bob"), [policies, r#""tenant";r=5;t=0, "all";r=7;t=1"#, "5", "5"]);
        let nameless = Quotas::new().with_shared(quota(1, 1));
        assert_eq!(written(RateLimitFields::new().with_quotas(&nameless, "ann", Timestamp::ZERO)), (None, None));
    }

    #[test]
    fn a_period_below_a_second_has_no_window_and_a_longer_one_is_rounded_up() {
        let name = QuotaName::new("n").unwrap();
        let policy = |quota: Quota| {
            written(RateLimitFields::new().with(name, &quota, Gcra::new(quota).standing(Timestamp::ZERO))).0
        };

        assert_eq!(policy(Quota::new(5, Duration::from_millis(100)).unwrap()).as_deref(), Some(r#""n";q=5"#));
        assert_eq!(policy(Quota::new(5, Duration::from_millis(1_001)).unwrap()).as_deref(), Some(r#""n";q=5;w=2"#));
    }

    #[test]
    fn a_name_that_no_header_holds_is_refused() {
        assert_eq!(QuotaName::new(""), Err(QuotaNameError::NotPrintable { length: 0 }));
        assert_eq!(QuotaName::new("a\r\nb"), Err(QuotaNameError::NotPrintable { length: 4 }));
        assert_eq!(QuotaName::new("jährlich"), Err(QuotaNameError::NotPrintable { length: 9 }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = parse_rate_limit(&value);
        }

        #[test]
        fn what_is_written_is_read(cost in 1..50_u32, now in any::<u32>()) {
            let quota = Quota::per_minute(60).and_then(|quota| quota.with_burst(50)).unwrap();
            let (limiter, now) = (Gcra::new(quota), Timestamp::from_nanos(now.into()));
            limiter.take(cost, now).unwrap();
            let fields = RateLimitFields::new().with(QuotaName::new("n").unwrap(), &quota, limiter.standing(now));

            let read = parse_rate_limit(written(fields).1.unwrap().as_bytes()).unwrap();

            let reset_in = Some(Duration::from_secs(cost.into()));
            prop_assert_eq!(read, [RemainingQuota { name: "n".to_owned(), remaining: 50 - u64::from(cost), reset_in }]);
        }
    }
}
