use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{BodyError, Status};

#[derive(Deserialize)]
struct Document {
    status: String,
    /// Not read, but it must have this shape.
    #[serde(default, rename = "checks")]
    _checks: BTreeMap<String, Vec<serde_json::Map<String, serde_json::Value>>>,
}

impl Status {
    /// What an `application/health+json` document says, as another service answers with it. Unknown members are
    /// allowed.
    ///
    /// # Errors
    /// [`BodyError::Json`] when it is no such document, [`BodyError::Status`] when its status is none that is known.
    ///
    /// # Examples
    /// ```
    /// use seawall_health::Status;
    ///
    /// assert_eq!(Status::from_body(r#"{"status": "UP"}"#).unwrap(), Status::Pass);
    /// let error = Status::from_body(r#"{"status": "maybe"}"#).unwrap_err();
    /// assert!(error.to_string().starts_with("status is \"maybe\"; allowed are pass, warn and fail"));
    /// ```
    pub fn from_body(body: &str) -> Result<Self, BodyError> {
        let document: Document = serde_json::from_str(body).map_err(BodyError::Json)?;
        Self::from_word(&document.status).ok_or(BodyError::Status { word: document.status })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checks_are_an_object_of_arrays_of_objects() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"status": 1}"#,
            r#"{"status": "pass", "checks": []}"#,
            r#"{"status": "pass", "checks": {"a": {}}}"#,
            r#"{"status": "pass", "checks": {"a": ["b"]}}"#,
        ] {
            assert!(matches!(Status::from_body(body), Err(BodyError::Json(_))), "{body}");
        }
        assert_eq!(Status::from_body(r#"{"status": "warn", "checks": {"a": [{}]}}"#).ok(), Some(Status::Warn));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(body in ".{0,200}") {
            let _ = Status::from_body(&body);
        }
    }
}
