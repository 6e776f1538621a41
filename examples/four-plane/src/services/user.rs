//! Who asks.

use http::{HeaderMap, header};

/// The longest name of a user, in bytes.
pub const MAX_LENGTH: usize = 64;

/// Whether this can be a user's name: 1 to 64 visible ASCII characters.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The user that the header `x-user` names, or else the cookie `user`; none when neither is a name.
pub fn of(headers: &HeaderMap) -> Option<String> {
    let header = headers.get("x-user").and_then(|value| value.to_str().ok());
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let cookie = cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix("user="));
    header.or(cookie).filter(|name| is_name(name)).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_header_comes_before_the_cookie() {
        assert_eq!(of(&headers(&[("cookie", "a=b; user=ann"), ("x-user", "bob")])), Some("bob".to_owned()));
        assert_eq!(of(&headers(&[("cookie", "a=b; user=ann")])), Some("ann".to_owned()));
        assert_eq!(of(&headers(&[])), None);
    }

    #[test]
    fn what_is_no_name_is_nobody() {
        assert_eq!(of(&headers(&[("x-user", "")])), None);
        assert_eq!(of(&headers(&[("x-user", "two words")])), None);
        assert_eq!(of(&headers(&[("x-user", &"x".repeat(65))])), None);
        assert_eq!(of(&headers(&[("x-user", &"x".repeat(64))])), Some("x".repeat(64)));
    }
}
