//! How hard something is to build is argued from what it takes here: lines of code, without tests, comments and blanks.

use super::Claims;
use crate::verify::report::Finding;

const TURNS: &str = include_str!("../../services/instances.rs");
const CACHE_ASIDE: &str = include_str!("../../services/cached.rs");
const CONNECTIONS: &str = include_str!("../../state/connections.rs");

/// A page of code at most.
const LOW: usize = 100;
/// Half of one.
const VERY_LOW: usize = 50;

pub(super) const CLAIMS: Claims<()> = &[
    ("load-balancing.round-robin.implementation-complexity", |()| complexity(TURNS, VERY_LOW, "instances in turn")),
    ("cache-strategies.cache-aside.complexity", |()| complexity(CACHE_ASIDE, LOW, "the cache aside")),
    ("cache-strategies.cache-aside-with-ttl.complexity", |()| complexity(CACHE_ASIDE, LOW, "the cache aside with TTL")),
    ("database-performance.connection-pooling.complexity", |()| complexity(CONNECTIONS, LOW, "the pools' use")),
    ("database-performance.connection-reuse.complexity", |()| complexity(CONNECTIONS, LOW, "the pools' use")),
];

fn complexity(source: &str, most: usize, what: &str) -> Finding {
    let lines = lines_of_code(source);
    Finding::judged(
        (1..=most).contains(&lines),
        format!("{lines} lines of code"),
        format!("argued from the source of {what} in this stack; up to {most} lines count as such"),
    )
}

fn lines_of_code(source: &str) -> usize {
    let before_tests = source.split("#[cfg(test)]").next().unwrap_or_default();
    before_tests.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn tests_comments_and_blanks_are_no_code() {
        let source = "//! Doc.\n\nfn f() {\n    // why\n    g();\n}\n\n#[cfg(test)]\nmod tests {}\n";

        assert_eq!(lines_of_code(source), 3);
        assert_eq!(complexity(source, 2, "f").verdict, Verdict::NotMet);
        assert_eq!(complexity("", 2, "nothing").verdict, Verdict::NotMet);
    }

    #[test]
    fn what_is_called_simple_is_simple_here() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&()).verdict, Verdict::Met, "{id}: {}", judgement(&()).measured);
        }
    }
}
