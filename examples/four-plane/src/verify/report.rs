//! What a row came to, and how it is printed.

use std::io::{self, Write};

use serde::Serialize;

use super::rows::{Basis, Expected, Row};

/// What a measurement says about its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "outsiders rely on exactly these three")]
pub enum Verdict {
    /// Measured, and it is as the document says.
    Met,
    /// Measured, and it is not.
    NotMet,
    /// Nothing measures it.
    NotYet,
}

/// The result of one measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, built by tests")]
pub struct Finding {
    /// The figure, with its unit.
    pub measured: String,
    /// Whether it is as the document says.
    pub verdict: Verdict,
    /// How it was measured.
    pub evidence: String,
}

impl Finding {
    /// A figure that was looked at and is or is not as the document says.
    pub fn judged(met: bool, measured: impl Into<String>, evidence: impl Into<String>) -> Self {
        let verdict = if met { Verdict::Met } else { Verdict::NotMet };
        Self { measured: measured.into(), verdict, evidence: evidence.into() }
    }

    /// Nothing stands here that could be measured: no figure either.
    pub const fn not_yet() -> Self {
        Self { measured: String::new(), verdict: Verdict::NotYet, evidence: String::new() }
    }

    /// A claimed row whose measurement could not be made: it is not met until it can.
    pub fn unobserved(why: impl Into<String>) -> Self {
        Self::judged(false, "nothing observed", why)
    }
}

/// One line of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "outsiders rely on exactly these fields")]
pub struct Record {
    /// The row's id.
    pub id: String,
    /// The document's chapter and heading.
    pub section: String,
    /// The box, arrow or cell.
    pub what: String,
    /// What the document says of it.
    pub target: String,
    /// What was found; nothing where the verdict is not-yet.
    pub measured: Option<String>,
    /// How it is or will be known.
    pub basis: Basis,
    /// Met, not met, or not measured yet.
    pub verdict: Verdict,
    /// How it was found; nothing where the verdict is not-yet.
    pub evidence: Option<String>,
}

impl Record {
    /// Joins a row with what was found, if anything measures it.
    pub fn new(row: Row, finding: Option<Finding>) -> Self {
        let Row { id, section, what, target, basis } = row;
        let (measured, verdict, evidence) = match finding {
            Some(Finding { verdict: Verdict::NotYet, .. }) | None => (None, Verdict::NotYet, None),
            Some(Finding { measured, verdict, evidence }) => (Some(measured), verdict, Some(evidence)),
        };
        Self { id, section, what, target, measured, basis, verdict, evidence }
    }
}

/// All rows with their verdicts, in the order of the document.
#[derive(Debug)]
pub struct Report {
    records: Vec<Record>,
}

impl Report {
    /// Wraps records in the order in which they are printed.
    pub const fn new(records: Vec<Record>) -> Self {
        Self { records }
    }

    /// The records.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The ids among `baseline` whose rows fell short or were not measured, save those of a server that is not there.
    pub fn regressed<'a>(
        &self,
        baseline: impl Iterator<Item = Expected<'a>>,
        is_there: impl Fn(&str) -> bool,
    ) -> Vec<&'a str> {
        let verdict = |id: &str| self.records.iter().find(|record| record.id == id).map(|record| record.verdict);
        let regressed = |expected: &Expected<'_>| match verdict(expected.id) {
            Some(Verdict::Met) => false,
            Some(Verdict::NotMet) => true,
            Some(Verdict::NotYet) | None => expected.needs.is_none_or(&is_there),
        };
        baseline.filter(regressed).map(|expected| expected.id).collect()
    }

    /// How many rows have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.records.iter().filter(|record| record.verdict == verdict).count()
    }

    /// Writes one JSON object a line.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        for record in &self.records {
            serde_json::to_writer(&mut *out, record)?;
            writeln!(out)?;
        }
        Ok(())
    }

    /// Writes what was measured as a table per section, with a line that counts the rows that nothing measures.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        for section in self.records.chunk_by(|a, b| a.section == b.section) {
            let measured: Vec<_> = section.iter().filter(|record| record.verdict != Verdict::NotYet).collect();
            writeln!(out, "{}", section[0].section)?;
            let width = measured.iter().map(|record| label(record).chars().count()).max().unwrap_or_default();
            for record in &measured {
                let mark = if record.verdict == Verdict::Met { "met    " } else { "NOT MET" };
                writeln!(
                    out,
                    "  {mark}  {:width$}  {}",
                    label(record),
                    record.measured.as_deref().unwrap_or_default()
                )?;
                if record.verdict == Verdict::NotMet {
                    writeln!(out, "           {}: {}", record.id, record.evidence.as_deref().unwrap_or_default())?;
                }
            }
            let rest = section.len().saturating_sub(measured.len());
            if rest > 0 {
                writeln!(out, "  not yet  {rest} of {}", section.len())?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "{} met, {} not met, {} not yet",
            self.count(Verdict::Met),
            self.count(Verdict::NotMet),
            self.count(Verdict::NotYet),
        )
    }
}

fn label(record: &Record) -> String {
    format!("{}: {}", record.what, record.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, finding: Option<Finding>) -> Record {
        let row = Row {
            id: id.into(),
            section: "Failure-First Architecture".into(),
            what: "CDN, p99".into(),
            target: "15ms".into(),
            basis: Basis::Measured,
        };
        Record::new(row, finding)
    }

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_that_nothing_measures_has_no_figure_and_no_evidence() {
        let report = Report::new(vec![record("cdn.p99", None)]);

        assert_eq!(
            text(|out| report.write_json(out)),
            "{\"id\":\"cdn.p99\",\"section\":\"Failure-First Architecture\",\"what\":\"CDN, p99\",\"target\":\"15ms\",\
             \"measured\":null,\"basis\":\"measured\",\"verdict\":\"not-yet\",\"evidence\":null}\n"
        );
    }

    #[test]
    fn a_row_of_the_baseline_regresses_when_it_falls_short_or_nobody_measures_it() {
        let met = record("a", Some(Finding::judged(true, "4 ms", "1,000 requests")));
        let short = record("b", Some(Finding::judged(false, "40 ms", "1,000 requests")));
        let report = Report::new(vec![met, short, record("c", None), record("d", Some(Finding::not_yet()))]);
        let regressed = |ids: &[&'static str]| {
            let expected = ids.iter().map(|id| Expected { id, needs: None });
            report.regressed(expected, |_| false)
        };

        assert_eq!(regressed(&["a"]), Vec::<&str>::new());
        assert_eq!(regressed(&["a", "b", "c", "d", "e"]), ["b", "c", "d", "e"]);
    }

    #[test]
    fn a_row_of_a_server_regresses_unmeasured_only_where_that_server_is() {
        let short = record("short", Some(Finding::judged(false, "40 ms", "1,000 requests")));
        let report = Report::new(vec![short, record("open", Some(Finding::not_yet()))]);
        let regressed = |there: bool| {
            let expected = ["short", "open"].map(|id| Expected { id, needs: Some("redis") });
            report.regressed(expected.into_iter(), |server| there && server == "redis")
        };

        assert_eq!(regressed(false), ["short"]);
        assert_eq!(regressed(true), ["short", "open"]);
    }

    #[test]
    fn a_measurement_that_could_not_be_made_is_not_met_and_says_why() {
        let finding = Finding::unobserved("no request was shed");

        assert_eq!(finding.verdict, Verdict::NotMet);
        assert_eq!(finding.evidence, "no request was shed");
    }

    #[test]
    fn the_table_shows_figures_and_counts_what_is_not_measured() {
        let report = Report::new(vec![
            record("a", Some(Finding::judged(true, "4 ms", "1,000 requests"))),
            record("b", Some(Finding::judged(false, "40 ms", "1,000 requests"))),
            record("c", None),
        ]);

        let table = text(|out| report.write_table(out));

        assert_eq!(
            table.lines().collect::<Vec<_>>(),
            [
                "Failure-First Architecture",
                "  met      CDN, p99: 15ms  4 ms",
                "  NOT MET  CDN, p99: 15ms  40 ms",
                "           b: 1,000 requests",
                "  not yet  1 of 3",
                "",
                "1 met, 1 not met, 1 not yet",
            ]
        );
    }
}
