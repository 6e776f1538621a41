//! Reads the document into everything in it that claims something.
//!
//! A line that is not understood is an error, so nothing can be added to the document unseen.

use std::{collections::BTreeMap, fmt, iter::Peekable, str::Lines};

/// One thing that the document says: a figure, a plane, a box, a line in a box, an arrow, a table cell, a list item or
/// a paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) section: String,
    pub(crate) what: String,
    pub(crate) target: String,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} | {}", self.section, self.what, self.target)
    }
}

/// Reads the whole document.
pub(crate) fn parse(text: &str) -> Result<Vec<Element>, String> {
    let mut reader = Reader::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        reader.line(line.trim_end(), &mut lines)?;
    }
    Ok(reader.found)
}

#[derive(Default)]
struct Reader {
    chapter: String,
    heading: Option<String>,
    found: Vec<Element>,
}

impl Reader {
    fn line(&mut self, line: &str, rest: &mut Peekable<Lines<'_>>) -> Result<(), String> {
        if let Some(heading) = line.strip_prefix("### ") {
            self.heading = Some(heading.into());
        } else if let Some(chapter) = line.strip_prefix("## ").or_else(|| line.strip_prefix("# ")) {
            self.chapter = chapter.into();
            self.heading = None;
        } else if line == "```mermaid" {
            let figure = Figure::read(&mut rest.by_ref().take_while(|line| *line != "```"))?;
            self.figure(&figure);
        } else if line.starts_with('|') {
            self.table(line, rest)?;
        } else if let Some(item) = list_item(line) {
            let (what, target) =
                item.split_once(": ").or_else(|| item.split_once(" - ")).ok_or_else(|| unknown(line))?;
            self.add(what, target);
        } else if line.starts_with(['#', '`', '>', '-', '*']) && !line.starts_with("**") {
            return Err(unknown(line));
        } else if !line.is_empty() {
            self.add("text", line);
        }
        Ok(())
    }

    fn add(&mut self, what: &str, target: &str) {
        let section = match &self.heading {
            Some(heading) => format!("{} / {heading}", self.chapter),
            None => self.chapter.clone(),
        };
        self.found.push(Element { section, what: plain(what), target: plain(target) });
    }

    fn table(&mut self, header: &str, rest: &mut Peekable<Lines<'_>>) -> Result<(), String> {
        let columns = cells(header);
        let rule = rest.next().unwrap_or_default();
        if !rule.starts_with("|-") {
            return Err(format!("a table without a rule under its header: {header}"));
        }
        while let Some(line) = rest.next_if(|line| line.starts_with('|')) {
            let row = cells(line);
            if row.len() != columns.len() {
                return Err(format!("{} cells under {} columns: {line}", row.len(), columns.len()));
            }
            self.add(&columns[0], &row[0]);
            for (column, cell) in columns.iter().zip(&row).skip(1) {
                self.add(&format!("{}, {column}", row[0]), cell);
            }
        }
        Ok(())
    }

    fn figure(&mut self, figure: &Figure) {
        let counted =
            format!("{} planes, {} boxes, {} arrows", figure.planes.len(), figure.boxes.len(), figure.arrows.len());
        self.add("figure", &counted);
        self.add("figure, colours", &figure.colours.join(", "));
        for (plane, title) in &figure.planes {
            self.add(plane, title);
        }
        for (name, plane, claims) in figure.boxes.values() {
            self.add(name, &format!("box in the {plane}"));
            for claim in claims {
                match claim.split_once(": ") {
                    Some((what, target)) => self.add(&format!("{name}, {what}"), target),
                    None => self.add(name, claim),
                }
            }
        }
        for (from, to, kind) in &figure.arrows {
            self.add(&format!("{from} → {to}"), kind);
        }
    }
}

/// One mermaid block.
#[derive(Default)]
struct Figure {
    planes: Vec<(String, String)>,
    colours: Vec<String>,
    /// By node: name, plane, claims.
    boxes: BTreeMap<String, (String, String, Vec<String>)>,
    /// From, to, kind.
    arrows: Vec<(String, String, String)>,
}

impl Figure {
    fn read<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut figure = Self::default();
        let mut plane = String::new();
        for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(subgraph) = line.strip_prefix("subgraph ") {
                plane = figure.plane(subgraph).ok_or_else(|| unknown(line))?;
            } else if line == "end" {
                plane.clear();
            } else if let Some(colour) = line.strip_prefix("classDef ") {
                figure.colour(colour).ok_or_else(|| unknown(line))?;
            } else if let Some(class) = line.strip_prefix("class ") {
                figure.check_class(class).ok_or_else(|| unknown(line))?;
            } else if !plane.is_empty() {
                figure.node(line, &plane).ok_or_else(|| unknown(line))?;
            } else if !line.starts_with("graph ") && !line.starts_with("flowchart ") && !line.starts_with("%%") {
                figure.arrow(line).ok_or_else(|| unknown(line))?;
            }
        }
        Ok(figure)
    }

    /// `EdgePlane[Edge Plane - CDN & Load Balancers]`
    fn plane(&mut self, subgraph: &str) -> Option<String> {
        let (name, title) = inside(subgraph)?.1.split_once(" - ")?;
        self.planes.push((name.into(), title.into()));
        Some(name.into())
    }

    /// `CDN[CDN<br/>p99: 15ms]` or `CACHE[("Redis Cache<br/>TTL: 300s")]`
    fn node(&mut self, line: &str, plane: &str) -> Option<()> {
        let (node, text) = inside(line)?;
        let text = text.strip_prefix("(\"").and_then(|text| text.strip_suffix("\")")).unwrap_or(text);
        let (name, claims) = text.split_once("<br/>").unwrap_or((text, ""));
        let claims = claims.split("<br/>").filter(|claim| !claim.is_empty()).flat_map(claims_of).collect();
        self.boxes.insert(node.into(), (name.into(), plane.into(), claims)).is_none().then_some(())
    }

    /// `CDN --> LB` or `MS1 -."fallback".-> MS2`
    fn arrow(&mut self, line: &str) -> Option<()> {
        let (from, to, kind) = if let Some((from, to)) = line.split_once(" --> ") {
            (from, to, "arrow".into())
        } else {
            let (from, rest) = line.split_once(" -.\"")?;
            let (label, to) = rest.split_once("\".-> ")?;
            (from, to, format!("dashed arrow: {label}"))
        };
        let name = |node: &str| self.boxes.get(node).map(|(name, ..)| name.clone());
        self.arrows.push((name(from)?, name(to)?, kind));
        Some(())
    }

    /// `edgeStyle fill:#3B82F6,stroke:#2563EB,color:#fff`
    fn colour(&mut self, definition: &str) -> Option<()> {
        let (class, style) = definition.split_once("Style fill:")?;
        self.colours.push(format!("{class} {}", style.split(',').next()?));
        Some(())
    }

    /// `CDN,LB edgeStyle`: each box has the colour of the plane in which it stands.
    fn check_class(&self, class: &str) -> Option<()> {
        let (nodes, style) = class.split_once(' ')?;
        let plane = style.strip_suffix("Style")?;
        nodes
            .split(',')
            .all(|node| {
                self.boxes.get(node).is_some_and(|(_, stands_in, _)| stands_in.to_lowercase().starts_with(plane))
            })
            .then_some(())
    }
}

/// One line of a box may hold several figures: `Min: 3, Max: 20`.
fn claims_of(line: &str) -> Vec<String> {
    let parts: Vec<_> = line.split(", ").collect();
    if parts.iter().all(|part| part.contains(": ")) {
        parts.into_iter().map(Into::into).collect()
    } else {
        vec![line.into()]
    }
}

/// The identifier before the brackets and the text within.
fn inside(line: &str) -> Option<(&str, &str)> {
    line.strip_suffix(']')?.split_once('[')
}

fn list_item(line: &str) -> Option<&str> {
    let numbered = || line.split_once(". ").filter(|(number, _)| number.parse::<u32>().is_ok()).map(|(_, item)| item);
    line.strip_prefix("- ").or_else(numbered)
}

fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| plain(cell.trim())).collect()
}

fn plain(text: &str) -> String {
    text.replace("**", "")
}

fn unknown(line: &str) -> String {
    format!("a line that is not understood: {line}")
}

#[test]
fn a_line_that_is_not_understood_is_an_error() {
    for line in ["#### deeper", "> quoted", "* starred", "```rust", "- an item without a claim"] {
        assert_eq!(parse(line), Err(unknown(line)));
    }
    for line in ["A ==> B", "A --> GONE", "class GONE edgeStyle", "subgraph Edge"] {
        assert_eq!(parse(&format!("```mermaid\n{line}\n```")), Err(unknown(line)));
    }
}

#[test]
fn a_box_in_the_colour_of_another_plane_is_an_error() {
    let figure = "```mermaid\nsubgraph E[Edge Plane - X]\nA[A]\nend\nclass A serviceStyle\n```";

    assert_eq!(parse(figure), Err(unknown("class A serviceStyle")));
}

#[test]
fn a_row_of_a_table_that_is_too_short_is_an_error() {
    assert_eq!(parse("|a|b|\n|---|---|\n|1|"), Err("1 cells under 2 columns: |1|".into()));
}

#[test]
fn signs_and_brackets_inside_a_box_are_part_of_its_text() {
    let figure =
        "# C\n```mermaid\nsubgraph S[State Plane - Data]\nL1[L1 (In-Memory)<br/>Lag: <100ms<br/>CPU > 70%]\nend\n```";
    let element = |what: &str, target: &str| Element { section: "C".into(), what: what.into(), target: target.into() };

    let found = parse(figure).expect("readable");

    assert_eq!(
        found[3..],
        [
            element("L1 (In-Memory)", "box in the State Plane"),
            element("L1 (In-Memory), Lag", "<100ms"),
            element("L1 (In-Memory)", "CPU > 70%"),
        ]
    );
}
