//! The callers that have a quota of their own.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{ConfigError, object, wrong};

type Hash = [u8; 32];

/// The longest name of a caller.
const MAX_NAME: usize = 64;
/// The most callers in one file.
const MAX_KEYS: usize = 100_000;

/// Who has which API key, as far as is to be known of it: the key's SHA-256.
///
/// Keys are long random texts, which nobody finds by trying; so their hash needs neither salt nor time, and is looked up
/// as it is: how long that takes tells nothing of a key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeys {
    file: Option<PathBuf>,
    names: HashMap<Hash, Arc<str>>,
}

impl ApiKeys {
    /// Those of a file, a JSON object of names with the SHA-256 of their keys in hexadecimal digits.
    ///
    /// # Errors
    /// [`ConfigError::Path`] when it cannot be read, [`ConfigError::File`] when it holds something else.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let of_path = |cause| ConfigError::Path { field: "api_keys", path: file.to_owned(), cause };
        let text = std::fs::read_to_string(file).map_err(of_path)?;
        let names = names(&text).map_err(|cause| ConfigError::File {
            field: "api_keys",
            path: file.to_owned(),
            cause: Box::new(cause),
        })?;
        Ok(Self { file: Some(file.to_owned()), names })
    }

    /// Those of callers given with their keys.
    pub fn of<'a>(callers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let names = callers.into_iter().map(|(name, key)| (Sha256::digest(key).into(), name.into())).collect();
        Self { file: None, names }
    }

    /// Where they are from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nobody has one.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whose key it is; nobody's when it is made up.
    pub fn name_of(&self, key: &[u8]) -> Option<&Arc<str>> {
        self.names.get(&Hash::from(Sha256::digest(key)))
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("file", &self.file).field("count", &self.names.len()).finish()
    }
}

fn names(text: &str) -> Result<HashMap<Hash, Arc<str>>, ConfigError> {
    // What stands in the place of a hash may be the key: it is not repeated.
    const HIDDEN: &str = "…";
    let callers = object(text)?;
    if callers.len() > MAX_KEYS {
        return Err(wrong("api_keys", &callers.len().to_string(), "at most 100000 callers"));
    }
    let mut names = HashMap::with_capacity(callers.len());
    for (name, hash) in &callers {
        if !is_name(name) {
            return Err(wrong("name", name, "1 to 64 letters, digits, dots, dashes and underscores"));
        }
        let hash = hash_of(hash).ok_or_else(|| wrong(name, HIDDEN, "the SHA-256 of a key in 64 hexadecimal digits"))?;
        if names.insert(hash, name.as_str().into()).is_some() {
            return Err(wrong(name, HIDDEN, "a key that nobody else has"));
        }
    }
    Ok(names)
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

fn hash_of(value: &Value) -> Option<Hash> {
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16)?).ok();
    let text = value.as_str()?.as_bytes();
    let pairs: Option<Vec<u8>> = text
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(high)?.checked_shl(4)? | digit(low)?),
            _ => None,
        })
        .collect();
    pairs?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s open-sesame | sha256sum`
    const SESAME: &str = "d7ecdf25eaf3deba0f2628771dbdd22d4138ab6cf38f91ed02a2ca0dec7c8ab7";

    fn message(text: &str) -> String {
        names(text).unwrap_err().to_string()
    }

    #[test]
    fn a_key_is_known_by_its_hash() {
        let names = names(&format!(r#"{{"ann": "{}"}}"#, SESAME.to_uppercase())).unwrap();
        let keys = ApiKeys { file: None, names };

        assert_eq!(keys.name_of(b"open-sesame").map(AsRef::as_ref), Some("ann"));
        assert_eq!(
            (keys.name_of(b"open-sesam"), keys.name_of(SESAME.as_bytes()), keys.name_of(b"")),
            (None, None, None)
        );
        assert_eq!(ApiKeys::of([("ann", "open-sesame")]), keys);
    }

    #[test]
    fn a_mistake_is_named_and_a_key_that_stands_in_the_wrong_place_is_not() {
        let short = SESAME.split_at(63).0;
        for text in [r#"{"ann": "open-sesame"}"#, r#"{"ann": 7}"#, &format!(r#"{{"ann": "{short}"}}"#)] {
            assert_eq!(message(text), "ann is \"…\"; allowed is the SHA-256 of a key in 64 hexadecimal digits");
        }
        let twice = format!(r#"{{"ann": "{SESAME}", "bob": "{SESAME}"}}"#);
        assert_eq!(message(&twice), "bob is \"…\"; allowed is a key that nobody else has");
        for name in ["", "a b", "ann/1", &"x".repeat(65)] {
            let allowed = "1 to 64 letters, digits, dots, dashes and underscores";
            let text = format!(r#"{{"{name}": "{SESAME}"}}"#);
            assert_eq!(message(&text), format!("name is {name:?}; allowed is {allowed}"));
        }
        assert!(message("[]").starts_with("not a JSON object: "));
    }
}
