//! Reads the Prometheus text format.

use std::collections::{HashMap, HashSet};

/// One sample line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample<'text> {
    pub(crate) name: &'text str,
    pub(crate) labels: Vec<(&'text str, String)>,
    pub(crate) value: f64,
}

impl Sample<'_> {
    /// A label's value; empty where it is missing, which means the same in this format.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// Why a text is none in this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub(crate) struct Malformed {
    line: usize,
    cause: &'static str,
}

/// The samples of a text.
///
/// # Errors
/// [`Malformed`] where Prometheus would not take the text: of a part of a text nobody knows what it leaves out.
///
/// # Source
/// Prometheus exposition formats, text-based format 0.0.4; where that is silent, what promtool takes.
pub(crate) fn samples(text: &str) -> Result<Vec<Sample<'_>>, Malformed> {
    let (mut read, mut families) = (Vec::new(), Families::default());
    let count = text.split('\n').count();
    for (line, content) in (1..).zip(text.split('\n')) {
        let malformed = |cause| Malformed { line, cause };
        if line == count {
            let ended = content.is_empty();
            return if ended { Ok(read) } else { Err(malformed("the last line does not end")) };
        }
        match content.trim_start_matches(BLANK).strip_prefix('#') {
            Some(comment) => families.comment(comment).map_err(malformed)?,
            None if content.trim_matches(BLANK).is_empty() => {}
            None => {
                let sample = sample(content.trim_start_matches(BLANK)).map_err(malformed)?;
                families.sample(&sample).map_err(malformed)?;
                read.push(sample);
            }
        }
    }
    Ok(read)
}

const BLANK: [char; 2] = [' ', '\t'];
const TYPES: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

/// What was said of each metric so far.
#[derive(Default)]
struct Families<'text> {
    helped: HashSet<&'text str>,
    /// Those with samples and without a type are of none from there on.
    types: HashMap<&'text str, &'text str>,
}

impl<'text> Families<'text> {
    fn comment(&mut self, text: &'text str) -> Result<(), &'static str> {
        let (keyword, rest) = word(text.trim_start_matches(BLANK));
        if !matches!(keyword, "HELP" | "TYPE") || rest.is_empty() {
            return Ok(());
        }
        let (metric, rest) = word(rest);
        if !is_name(metric, true) {
            return Err("a metric's name is none");
        }
        if rest.is_empty() {
            return Ok(());
        }
        if keyword == "HELP" {
            let second = !self.helped.insert(metric);
            return if second { Err("a second HELP of a metric") } else { escaped(rest, &['\\', 'n']) };
        }
        let kind = TYPES.into_iter().find(|kind| kind.eq_ignore_ascii_case(rest)).ok_or("an unknown type")?;
        let known = self.types.insert(metric, kind);
        if known.is_some() { Err("a second TYPE of a metric, or one after its samples") } else { Ok(()) }
    }

    fn sample(&mut self, sample: &Sample<'text>) -> Result<(), &'static str> {
        let base = |suffix| sample.name.strip_suffix(suffix).and_then(|base| self.types.get(base));
        let bound = match (base("_bucket"), self.types.get(sample.name)) {
            (Some(&"histogram"), _) => Some(sample.label("le")),
            (_, Some(&"summary")) => Some(sample.label("quantile")),
            _ => None,
        };
        if bound.is_some_and(|bound| !bound.is_empty() && number(bound).is_none()) {
            return Err("a bound that is no number");
        }
        let mut of_others = ["_bucket", "_sum", "_count"].into_iter().filter_map(base);
        if !of_others.any(|kind| matches!(*kind, "histogram" | "summary")) {
            self.types.entry(sample.name).or_insert("untyped");
        }
        Ok(())
    }
}

/// The first word of `text`, and what follows the blanks after it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_at(text.find(BLANK).unwrap_or(text.len()));
    (word, rest.trim_start_matches(BLANK))
}

/// Whether every backslash stands before one of `allowed`.
fn escaped(text: &str, allowed: &[char]) -> Result<(), &'static str> {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' && !letters.next().is_some_and(|escaped| allowed.contains(&escaped)) {
            return Err("an unknown escape");
        }
    }
    Ok(())
}

fn is_name(text: &str, may_have_colons: bool) -> bool {
    let inner = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || (may_have_colons && letter == ':');
    text.chars().all(inner) && text.starts_with(|letter: char| !letter.is_ascii_digit())
}

fn number(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let is_too_large = value.is_infinite() && text.contains(|letter: char| letter.is_ascii_digit());
    (!is_too_large).then_some(value)
}

fn sample(line: &str) -> Result<Sample<'_>, &'static str> {
    let (name, rest) = line.split_at(line.find(['{', ' ', '\t']).ok_or("a sample without a value")?);
    if !is_name(name, true) {
        return Err("a metric's name is none");
    }
    let rest = rest.trim_start_matches(BLANK);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split(BLANK).filter(|word| !word.is_empty());
    let value = words.next().and_then(number).ok_or("a value that is no number")?;
    if words.next().is_some_and(|time| time.parse::<i64>().is_err()) {
        return Err("a time that is no whole number");
    }
    if words.next().is_some() { Err("something after the time") } else { Ok(Sample { name, labels, value }) }
}

type Labels<'text> = Vec<(&'text str, String)>;

/// The labels and what follows the closing brace.
fn labels(mut rest: &str) -> Result<(Labels<'_>, &str), &'static str> {
    let mut labels: Labels<'_> = Vec::new();
    loop {
        rest = rest.trim_start_matches(BLANK);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, value) = rest.split_once('=').ok_or("a label without a value")?;
        let name = name.trim_end_matches(BLANK);
        if !is_name(name, false) || name == "__name__" {
            return Err("a label's name is none");
        }
        if labels.iter().any(|(known, _)| *known == name) {
            return Err("a label that is there twice");
        }
        let value = value.trim_start_matches(BLANK).strip_prefix('"').ok_or("a label's value without quotes")?;
        let (text, after) = quoted(value)?;
        labels.push((name, text));
        let after = after.trim_start_matches(BLANK);
        rest = match after.strip_prefix(',') {
            Some(next) => next,
            None if after.starts_with('}') => after,
            None => return Err("something after a label's value"),
        };
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    const OPEN: &str = "a label's value without an end";
    let mut plain = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((plain, text.get(at.saturating_add(1)..).ok_or(OPEN)?)),
            '\\' => match letters.next() {
                Some((_, 'n')) => plain.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => plain.push(escaped),
                _ => return Err("an unknown escape"),
            },
            letter => plain.push(letter),
        }
    }
    Err(OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_name_labels_and_value() {
        let text = "# HELP x y\n# TYPE x counter\nx 3\n x { a = \"1\" ,b=\"two words\",} 4.5\t1700000000\n\n# a remark\ny_bucket{le=\"+Inf\"} +Inf\n";

        let read = samples(text).unwrap();

        assert_eq!(read.len(), 3);
        assert_eq!((read[0].name, read[0].value, read[0].label("a")), ("x", 3.0, ""));
        assert_eq!((read[1].label("a"), read[1].label("b"), read[1].value), ("1", "two words", 4.5));
        assert_eq!((read[2].label("le"), read[2].value), ("+Inf", f64::INFINITY));
    }

    #[test]
    fn escapes_in_labels_are_undone() {
        let read = samples("x{a=\"q\\\"b\\\\n\\nend}\"} 1\n").unwrap();

        assert_eq!(read[0].label("a"), "q\"b\\n\nend}");
    }

    #[test]
    fn a_text_with_one_line_that_is_none_is_refused_with_that_line() {
        for (line, cause) in [
            ("x", "a sample without a value"),
            ("x{", "a label without a value"),
            ("x{a=\"1}", "a label's value without an end"),
            ("x{a=\"1\"}", "a value that is no number"),
            ("x{a} 1", "a label without a value"),
            ("x{a=1} 1", "a label's value without quotes"),
            ("x{a=\"1\" b=\"2\"} 1", "something after a label's value"),
            ("x{,a=\"1\"} 1", "a label's name is none"),
            ("x{1a=\"1\"} 1", "a label's name is none"),
            ("x{__name__=\"y\"} 1", "a label's name is none"),
            ("x{a=\"1\",a=\"1\"} 1", "a label that is there twice"),
            ("x{a=\"\\t\"} 1", "an unknown escape"),
            ("{} 1", "a metric's name is none"),
            ("1x 1", "a metric's name is none"),
            ("x-y 1", "a metric's name is none"),
            ("x one", "a value that is no number"),
            ("x 1e999", "a value that is no number"),
            ("x 1 1.5", "a time that is no whole number"),
            ("x 1 2 3", "something after the time"),
            ("# HELP z again", "a second HELP of a metric"),
            ("# HELP y a\\tb", "an unknown escape"),
            ("# TYPE z gauge", "a second TYPE of a metric, or one after its samples"),
            ("# TYPE w gauge", "a second TYPE of a metric, or one after its samples"),
            ("# TYPE y fancy", "an unknown type"),
            ("# TYPE 1y gauge", "a metric's name is none"),
            ("z_bucket{le=\"much\"} 1", "a bound that is no number"),
        ] {
            let text = format!("# HELP z Z.\n# TYPE z histogram\nz_bucket{{le=\"1\"}} 1\nw 1\n{line}\n");
            assert_eq!(samples(&text), Err(Malformed { line: 5, cause }), "{line}");
        }
        assert_eq!(samples("x 1"), Err(Malformed { line: 1, cause: "the last line does not end" }));
        assert_eq!(samples(""), Ok(Vec::new()));
    }
}
