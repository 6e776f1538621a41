//! What documents of `application/health+json` say.

use seawall::health::Status;
use serde::Deserialize;
use serde_json::Value;

use crate::{expect, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    body: Value,
    valid: bool,
    #[serde(deserialize_with = "Option::deserialize")]
    up: Option<bool>,
    #[serde(deserialize_with = "Option::deserialize")]
    http_ok: Option<bool>,
}

pub(crate) fn document(case: &Value) -> Result<(), String> {
    let case: Case = parse(case)?;

    let status = Status::from_body(&case.body.to_string()).ok();

    expect("valid", &status.is_some(), &case.valid)?;
    expect("up", &status.map(Status::is_up), &case.up)?;
    let http_ok = status.map(|status| match status.http_status() {
        200..400 => Ok(true),
        400..600 => Ok(false),
        other => Err(other),
    });
    expect("http_ok", &http_ok, &case.http_ok.map(Ok))
}
