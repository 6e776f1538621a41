//! The world's cities: what the catalog is about.
//!
//! The table is part of the binary, so every process has it at hand: the embedded database is made from it, PostgreSQL is
//! filled from it, and the services fall back to it when neither database nor cache answers.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// `data/cities.tsv`, largest city first; `data/README.md` says where it comes from.
const TABLE: &str = include_str!("../data/cities.tsv");
const HEADER: &str = "id\tcountry\tpopulation\tlatitude\tlongitude\tname";

static CITIES: LazyLock<Vec<City>> =
    LazyLock::new(|| parse(TABLE).expect("the table in the binary is checked by a test"));

/// One item of the catalog.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct City {
    /// The GeoNames id.
    pub id: u32,
    /// In the language that most of the world uses for it, Unicode normal form C.
    pub name: String,
    /// ISO 3166 code, two capital letters.
    pub country: String,
    /// Inhabitants.
    pub population: u32,
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
}

/// A line of the table that is not a city.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The first line does not name the fields.
    #[error("line 1 is {found:?}; expected are the fields id, country, population, latitude, longitude, name")]
    Header {
        /// What stands there.
        found: String,
    },
    /// A line has too few or too many fields.
    #[error("line {line} has {found} fields; expected are 6")]
    Fields {
        /// Counted from 1.
        line: usize,
        /// How many there are.
        found: usize,
    },
    /// A field holds something that it cannot hold.
    #[error("line {line}: {field} is {found:?}; allowed is {allowed}")]
    Value {
        /// Counted from 1.
        line: usize,
        /// The field's name in the header.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// An id appears a second time.
    #[error("line {line}: id {id} appeared before; ids are unique")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// The id.
        id: u32,
    },
}

/// All cities, largest first; at least 10,000.
///
/// # Examples
/// ```
/// let cities = four_plane::data::cities();
/// assert_eq!(cities[0].name, "Shanghai");
/// ```
pub fn cities() -> &'static [City] {
    &CITIES
}

/// Reads a table with the header and fields of `data/cities.tsv`.
///
/// # Errors
/// A [`DataError`] that names the first line which is not a city.
pub fn parse(table: &str) -> Result<Vec<City>, DataError> {
    let mut lines = table.lines().zip(1_usize..);
    match lines.next() {
        Some((HEADER, _)) => {}
        other => return Err(DataError::Header { found: other.unwrap_or_default().0.to_owned() }),
    }
    let mut seen = std::collections::HashSet::new();
    lines
        .map(|(text, line)| {
            let city = city(text, line)?;
            if seen.insert(city.id) { Ok(city) } else { Err(DataError::Twice { line, id: city.id }) }
        })
        .collect()
}

fn city(text: &str, line: usize) -> Result<City, DataError> {
    let fields: Vec<&str> = text.split('\t').collect();
    let [id, country, population, latitude, longitude, name] = fields[..] else {
        return Err(DataError::Fields { line, found: fields.len() });
    };
    let wrong = |field, found: &str, allowed| DataError::Value { line, field, found: found.to_owned(), allowed };
    let degrees = |field, text: &str, limit: f64, allowed| {
        text.parse::<f64>().ok().filter(|value| value.abs() <= limit).ok_or_else(|| wrong(field, text, allowed))
    };
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong("country", country, "two capital letters"));
    }
    if name.is_empty() {
        return Err(wrong("name", name, "any text but none"));
    }
    Ok(City {
        id: id.parse().map_err(|_| wrong("id", id, "0 to 4294967295"))?,
        name: name.to_owned(),
        country: country.to_owned(),
        population: population.parse().map_err(|_| wrong("population", population, "0 to 4294967295"))?,
        latitude: degrees("latitude", latitude, 90.0, "-90 to 90")?,
        longitude: degrees("longitude", longitude, 180.0, "-180 to 180")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&str]) -> String {
        [&[HEADER], rows].concat().join("\n")
    }

    #[test]
    fn the_table_in_the_binary_holds_more_than_ten_thousand_cities_largest_first() {
        let cities = cities();

        assert_eq!(cities.len(), 23_338);
        assert!(cities.is_sorted_by_key(|city| std::cmp::Reverse(city.population)));
        assert_eq!((cities[0].id, cities[0].country.as_str(), cities[0].population), (1_796_236, "CN", 22_315_474));
    }

    #[test]
    fn a_row_becomes_a_city() {
        let cities = parse(&table(&["2950159\tDE\t3426354\t52.52437\t13.41053\tBerlin"])).unwrap();

        assert_eq!(
            cities,
            [City {
                id: 2_950_159,
                name: "Berlin".to_owned(),
                country: "DE".to_owned(),
                population: 3_426_354,
                latitude: 52.524_37,
                longitude: 13.410_53,
            }]
        );
    }

    #[test]
    fn a_missing_header_is_named() {
        assert_eq!(parse(""), Err(DataError::Header { found: String::new() }));
        assert_eq!(
            parse("id\tname").unwrap_err().to_string(),
            "line 1 is \"id\\tname\"; expected are the fields id, country, population, latitude, longitude, name"
        );
    }

    #[test]
    fn a_line_with_a_field_too_few_is_counted() {
        assert_eq!(parse(&table(&["1\tDE\t5\t1\t2"])), Err(DataError::Fields { line: 2, found: 5 }));
    }

    #[test]
    fn each_field_says_what_it_allows() {
        for (row, text) in [
            ("x\tDE\t5\t1\t2\tA", "line 2: id is \"x\"; allowed is 0 to 4294967295"),
            ("1\tde\t5\t1\t2\tA", "line 2: country is \"de\"; allowed is two capital letters"),
            ("1\tDE\t-5\t1\t2\tA", "line 2: population is \"-5\"; allowed is 0 to 4294967295"),
            ("1\tDE\t5\t90.1\t2\tA", "line 2: latitude is \"90.1\"; allowed is -90 to 90"),
            ("1\tDE\t5\tNaN\t2\tA", "line 2: latitude is \"NaN\"; allowed is -90 to 90"),
            ("1\tDE\t5\t1\t-181\tA", "line 2: longitude is \"-181\"; allowed is -180 to 180"),
            ("1\tDE\t5\t1\t2\t", "line 2: name is \"\"; allowed is any text but none"),
        ] {
            assert_eq!(parse(&table(&[row])).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn an_id_that_appears_twice_is_refused() {
        let twice = table(&["1\tDE\t5\t1\t2\tA", "1\tDE\t4\t1\t2\tB"]);

        assert_eq!(parse(&twice), Err(DataError::Twice { line: 3, id: 1 }));
    }
}
