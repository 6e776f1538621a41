//! The list of rows holds everything that the document says, and nothing that it does not say.

mod document;

use document::{Element, parse};
use four_plane::verify::rows::{self, Basis, Row};

const DOCUMENT: &str = include_str!("../../../../docs/production-best-practices.md");

#[test]
fn everything_in_the_document_has_a_row() {
    let missing = without_row(&elements(), &rows::all().expect("the list is valid"));

    assert!(missing.is_empty(), "in the document, but no row names it:\n{}", lines(&missing));
}

#[test]
fn every_row_names_something_in_the_document() {
    let unknown = without_element(&elements(), &rows::all().expect("the list is valid"));

    assert!(unknown.is_empty(), "rows that name nothing in the document:\n{}", lines(&unknown));
}

#[test]
fn removing_any_single_row_is_noticed() {
    let elements = elements();
    let rows = rows::all().expect("the list is valid");

    for gone in 0..rows.len() {
        let mut rest = rows.clone();
        let removed = rest.remove(gone);

        assert_eq!(without_row(&elements, &rest), [element_of(&removed)], "{} was removed", removed.id);
    }
}

#[test]
fn adding_a_row_that_the_document_does_not_hold_is_noticed() {
    let mut rows = rows::all().expect("the list is valid");
    let invented = Row {
        id: "figure.failure-first.cdn.p999".into(),
        section: "Failure-First Architecture".into(),
        what: "CDN, p999".into(),
        target: "15ms".into(),
        basis: Basis::Measured,
    };

    rows.push(invented.clone());

    assert_eq!(without_element(&elements(), &rows), [element_of(&invented)]);
}

#[test]
fn a_figure_that_changes_in_the_document_is_noticed_from_both_sides() {
    let changed = parse(&DOCUMENT.replace("CDN[CDN<br/>p99: 15ms]", "CDN[CDN<br/>p99: 20ms]")).expect("still readable");
    let rows = rows::all().expect("the list is valid");

    let element = |target: &str| Element {
        section: "Failure-First Architecture".into(),
        what: "CDN, p99".into(),
        target: target.into(),
    };
    assert_eq!(without_row(&changed, &rows), [element("20ms")]);
    assert_eq!(without_element(&changed, &rows), [element("15ms")]);
}

#[test]
fn every_kind_of_element_is_found_in_the_document() {
    let elements = elements();
    let holds = |section: &str, what: &str, target: &str| {
        let wanted = Element { section: section.into(), what: what.into(), target: target.into() };
        assert!(elements.contains(&wanted), "not found: {wanted}");
    };

    holds("Stateless Service Architecture", "figure", "3 planes, 8 boxes, 15 arrows");
    holds("Incident Response Workflow", "Edge Plane", "Detection");
    holds("Failure-First Architecture", "Redis Cache", "box in the State Plane");
    holds("Failure-First Architecture", "Redis Cache, TTL", "300s");
    holds("Failure-First Architecture", "CDN → Load Balancer", "arrow");
    holds("Failure-First Architecture", "Recommendation Service → Catalog Service", "dashed arrow: fallback");
    holds("Stateless Service Architecture", "Auto Scaling Group, Min", "3");
    holds("Stateless Service Architecture", "Auto Scaling Group, Max", "20");
    holds("Failure-First Architecture / Resilience Implementation Patterns", "Pattern", "Load Shedding");
    holds("Failure-First Architecture / Resilience Implementation Patterns", "Load Shedding, Timeout", "Immediate");
    holds("Production Excellence Scorecard / System Maturity Assessment", "Security, Your Score", "___/3");
    holds(
        "Production Excellence Scorecard / System Maturity Assessment",
        "12-18",
        "Production-ready distributed system",
    );
    holds(
        "Production Excellence Scorecard / Critical Success Factors",
        "Automation reduces risk",
        "Human error causes 70% of outages",
    );
}

fn elements() -> Vec<Element> {
    parse(DOCUMENT).expect("every line of the document is understood")
}

fn element_of(row: &Row) -> Element {
    Element { section: row.section.clone(), what: row.what.clone(), target: row.target.clone() }
}

/// The elements left over when each row has taken one: the document repeats itself, so this counts.
fn without_row(elements: &[Element], rows: &[Row]) -> Vec<Element> {
    remainder(elements.to_vec(), rows.iter().map(element_of))
}

fn without_element(elements: &[Element], rows: &[Row]) -> Vec<Element> {
    remainder(rows.iter().map(element_of).collect(), elements.iter().cloned())
}

fn remainder(mut of: Vec<Element>, taken: impl Iterator<Item = Element>) -> Vec<Element> {
    for element in taken {
        if let Some(at) = of.iter().position(|candidate| *candidate == element) {
            of.remove(at);
        }
    }
    of
}

fn lines(elements: &[Element]) -> String {
    elements.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
