//! The document's scorecard, as `four-plane score` fills it in on a stack of its own.

use std::path::Path;

use super::Claims;
use crate::{
    score::{self, Row},
    verify::report::Finding,
};

pub(super) const CLAIMS: Claims<Scored> = &[
    ("scorecard.monitoring.basic-level-1", |it| basic(it, "Monitoring")),
    ("scorecard.monitoring.your-score", |it| score(it, "Monitoring")),
    ("scorecard.deployment.your-score", |it| score(it, "Deployment")),
    ("scorecard.incident-response.basic-level-1", |it| basic(it, "Incident Response")),
    ("scorecard.incident-response.your-score", |it| score(it, "Incident Response")),
    ("scorecard.testing.your-score", |it| score(it, "Testing")),
    ("scorecard.security.your-score", |it| score(it, "Security")),
    ("scorecard.performance.basic-level-1", |it| basic(it, "Performance")),
    ("scorecard.performance.your-score", |it| score(it, "Performance")),
    ("scorecard.total", total),
];

/// The rows of the scorecard.
#[derive(Debug, Default)]
pub(super) struct Scored(Vec<Row>);

/// Starts a stack of its own and fills the scorecard in.
pub(super) async fn observe(program: &Path) -> anyhow::Result<Scored> {
    Ok(Scored(score::measure(program).await?))
}

fn of_area(Scored(rows): &Scored, area: &str, judge: impl FnOnce(&Row) -> Finding) -> Finding {
    let row = rows.iter().find(|row| row.area == area);
    row.map_or_else(|| Finding::unobserved(format!("{area} has no score")), judge)
}

/// The lowest level counts where the stack itself shows it.
fn basic(scored: &Scored, area: &str) -> Finding {
    of_area(scored, area, |row| {
        Finding::judged(row.level >= 1 && row.basis == "measured", format!("level {}", row.level), row.evidence.clone())
    })
}

/// What the row asks for is a score with something that shows it, however low.
fn score(scored: &Scored, area: &str) -> Finding {
    of_area(scored, area, |row| {
        let evidence = format!("{}: {}; for more, {}", row.basis, row.evidence, row.missing);
        Finding::judged(!row.evidence.is_empty(), format!("{}/{}", row.level, row.of), evidence)
    })
}

fn total(Scored(rows): &Scored) -> Finding {
    let sum = |of: fn(&Row) -> u8| rows.iter().map(|row| u32::from(of(row))).fold(0, u32::saturating_add);
    let most = sum(|row| row.of);
    Finding::judged(
        most == 18,
        format!("{}/{most}", sum(|row| row.level)),
        "the sum of the six areas, `four-plane score`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn an_area_without_a_score_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&Scored::default()).verdict, Verdict::NotMet, "{id}");
        }
    }

    #[test]
    fn a_level_that_is_only_argued_is_not_shown_by_the_stack() {
        let scored = |level, basis| Scored(vec![score::row("Monitoring", level, basis, "seen".to_owned(), "alerts")]);

        assert_eq!(basic(&scored(1, "measured"), "Monitoring").verdict, Verdict::Met);
        assert_eq!(basic(&scored(1, "argued"), "Monitoring").verdict, Verdict::NotMet);
        assert_eq!(basic(&scored(0, "measured"), "Monitoring").verdict, Verdict::NotMet);
        assert_eq!(score(&scored(0, "argued"), "Monitoring").measured, "0/3");
    }
}
