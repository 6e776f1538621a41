//! The list of everything that the document says, in `verify/rows.json`.
//!
//! A row says what is claimed and how it will be known; it holds no figure of its own. The measurements refer to rows by
//! id.

use serde::{Deserialize, Serialize};

const LIST: &str = include_str!("../../verify/rows.json");
const PROMISES: &str = include_str!("../../verify/promises.json");
const MET: &str = include_str!("../../verify/met.txt");

/// How a claim will be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the three ways of the document's verification")]
pub enum Basis {
    /// Observed on this machine, on the library or on a running stack.
    Measured,
    /// Observed in simulated time or on simulated servers.
    Simulated,
    /// Computed or reasoned from measured figures: money, compliance and people.
    Argued,
}

/// One claim of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, built by tests")]
pub struct Row {
    /// Stable, lower case, parts joined by dots.
    pub id: String,
    /// The chapter and, after a slash, the heading below it.
    pub section: String,
    /// The box, arrow or cell.
    pub what: String,
    /// What the document says of it.
    pub target: String,
    /// How it will be known.
    pub basis: Basis,
}

/// Something is wrong with the list of rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// It is not JSON of the expected shape.
    #[error("verify/rows.json cannot be read")]
    Syntax(#[from] serde_json::Error),
    /// Two rows have one id.
    #[error("id is {id}, twice; each row has an id of its own")]
    Repeated {
        /// The id.
        id: String,
    },
    /// An id holds something else than lower-case letters, digits, hyphens and dots.
    #[error("id is {id}; allowed are a to z, 0 to 9 and hyphens, in parts joined by dots")]
    Id {
        /// The id.
        id: String,
    },
}

#[derive(Deserialize)]
struct Section {
    section: String,
    rows: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    what: String,
    target: String,
    basis: Basis,
}

/// All rows, in the order of the document.
///
/// # Errors
/// When the list is not valid: see [`RowsError`].
pub fn all() -> Result<Vec<Row>, RowsError> {
    read(LIST)
}

/// The rows of what the stack promises beyond the document.
///
/// # Errors
/// As [`all`].
pub fn promises() -> Result<Vec<Row>, RowsError> {
    read(PROMISES)
}

/// A row that is met on every run; one that is not any more is a regression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, built by tests")]
pub struct Expected<'a> {
    /// The row's id.
    pub id: &'a str,
    /// The server without which there is nothing to measure, by its name: `postgresql` or `redis`.
    pub needs: Option<&'a str>,
}

/// The rows that are met on every run.
pub fn baseline() -> impl Iterator<Item = Expected<'static>> {
    MET.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let (id, needs) = line.split_once(' ').map_or((line, None), |(id, needs)| (id, Some(needs.trim())));
        Expected { id, needs }
    })
}

fn read(list: &str) -> Result<Vec<Row>, RowsError> {
    let sections: Vec<Section> = serde_json::from_str(list)?;
    let mut ids = std::collections::HashSet::new();
    let mut rows = Vec::new();
    for Section { section, rows: entries } in sections {
        for Entry { id, what, target, basis } in entries {
            if !is_id(&id) {
                return Err(RowsError::Id { id });
            }
            if !ids.insert(id.clone()) {
                return Err(RowsError::Repeated { id });
            }
            rows.push(Row { id, section: section.clone(), what, target, basis });
        }
    }
    Ok(rows)
}

fn is_id(id: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    id.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::provision::SERVERS;

    fn list(ids: [&str; 2]) -> String {
        let row = |id| format!(r#"{{"id": "{id}", "what": "CDN, p99", "target": "15ms", "basis": "measured"}}"#);
        format!(r#"[{{"section": "Failure-First", "rows": [{}, {}]}}]"#, row(ids[0]), row(ids[1]))
    }

    #[test]
    fn rows_keep_their_order_and_know_their_section() {
        let rows = read(&list(["cdn.p99", "a"])).unwrap();

        assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["cdn.p99", "a"]);
        assert_eq!(rows[1].section, "Failure-First");
    }

    #[test]
    fn an_id_given_twice_is_refused_by_name() {
        let error = read(&list(["cdn.p99", "cdn.p99"])).unwrap_err();

        assert_eq!(error.to_string(), "id is cdn.p99, twice; each row has an id of its own");
    }

    #[test]
    fn an_id_with_another_sign_is_refused_by_name() {
        for id in ["CDN", "cdn..p99", "cdn p99", "-cdn", ""] {
            let error = read(&list(["a", id])).unwrap_err();

            assert!(matches!(error, RowsError::Id { .. }), "{id}: {error}");
        }
    }

    #[test]
    fn the_list_in_the_repository_is_valid() {
        assert!(all().unwrap().len() > 700);
    }

    #[test]
    fn what_the_baseline_needs_is_a_server_that_can_be_looked_for() {
        let needs: Vec<&str> = baseline().filter_map(|expected| expected.needs).collect();

        assert!(!needs.is_empty());
        assert!(needs.iter().all(|server| SERVERS.contains(server)), "{needs:?}");
    }

    #[test]
    fn no_promise_has_the_id_of_a_row_of_the_document() {
        let ids: Vec<String> = all().unwrap().into_iter().chain(promises().unwrap()).map(|row| row.id).collect();

        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    }
}
