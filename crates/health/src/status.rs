/// How something does. The order is from good to bad: the worst of several is their maximum.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the three of application/health+json, and not yet known")]
pub enum Status {
    /// It works.
    Pass,
    /// It works, and somebody should look at it.
    Warn,
    /// It has not been looked at yet. Who asks is told that it fails.
    Unknown,
    /// It does not work.
    Fail,
}

impl Status {
    /// The word of `application/health+json`: `pass`, `warn` or `fail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Unknown | Self::Fail => "fail",
        }
    }

    /// Whether work can be sent: it passes or warns.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Pass | Self::Warn)
    }

    /// The status of an HTTP answer that says so: 200 or 503.
    ///
    /// # Examples
    /// ```
    /// use seawall_health::Status;
    ///
    /// assert_eq!(Status::Warn.http_status(), 200);
    /// assert_eq!(Status::Unknown.http_status(), 503);
    /// ```
    pub const fn http_status(self) -> u16 {
        if self.is_up() { 200 } else { 503 }
    }

    /// The status that a word stands for, whatever its case: those of `application/health+json`, and `ok`, `up`,
    /// `error`, `down` as other frameworks write them.
    ///
    /// # Source
    /// draft-inadarei-api-health-check-06, section 3.1.
    pub fn from_word(word: &str) -> Option<Self> {
        let is = |other: &&str| word.eq_ignore_ascii_case(other);
        if ["pass", "ok", "up"].iter().any(is) {
            Some(Self::Pass)
        } else if ["fail", "error", "down"].iter().any(is) {
            Some(Self::Fail)
        } else if is(&"warn") {
            Some(Self::Warn)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_is_their_maximum() {
        let all = [Status::Warn, Status::Fail, Status::Pass, Status::Unknown];

        assert_eq!(all.into_iter().max(), Some(Status::Fail));
        assert_eq!([Status::Warn, Status::Unknown].into_iter().max(), Some(Status::Unknown));
        assert_eq!([Status::Warn, Status::Pass].into_iter().max(), Some(Status::Warn));
    }
}
