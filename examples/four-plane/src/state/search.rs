//! Names as they are searched: letter case and accents aside.

use crate::data::City;

/// A name or a query without letter case and accents, in ASCII: `São Tomé` and `SAO TOME` become the same. What has no
/// letter or digit becomes empty.
///
/// # Examples
/// ```
/// assert_eq!(four_plane::state::search::folded(" Łódź"), "lodz");
/// assert_eq!(four_plane::state::search::folded("!"), "");
/// ```
pub fn folded(text: &str) -> String {
    let mut folded = deunicode::deunicode(text).trim().to_ascii_lowercase();
    if !folded.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        folded.clear();
    }
    folded
}

/// Finds cities by name.
#[derive(Debug)]
pub struct Names {
    /// In the order of the cities, which is by population.
    folded: Vec<String>,
}

impl Names {
    /// Of these cities, which are sorted by population, largest first.
    pub fn of(cities: &[City]) -> Self {
        Self { folded: cities.iter().map(|city| folded(&city.name)).collect() }
    }

    /// The places in the list of the cities that match, best first.
    pub fn matches(&self, query: &str, limit: usize) -> Vec<usize> {
        let query = folded(query);
        let (mut first, mut later) = (Vec::new(), Vec::new());
        if query.is_empty() {
            return first;
        }
        for (place, name) in self.folded.iter().enumerate() {
            if first.len() >= limit {
                break;
            }
            if name.starts_with(&query) {
                first.push(place);
            } else if later.len() < limit && name.contains(&query) {
                later.push(place);
            }
        }
        first.append(&mut later);
        first.truncate(limit);
        first
    }
}
