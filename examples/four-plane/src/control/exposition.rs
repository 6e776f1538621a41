//! Reads the Prometheus text format, as far as this program's own processes write it.

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

/// The samples of a text; lines that are none are left out.
///
/// # Source
/// Prometheus exposition formats, text-based format 0.0.4.
pub(crate) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    (!name.is_empty()).then_some(Sample { name, labels, value })
}

type Labels<'text> = Vec<(&'text str, String)>;

/// The labels and what follows the closing brace.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (text, after) = quoted(value)?;
        labels.push((name, text));
        rest = after;
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut plain = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((plain, text.get(at.saturating_add(1)..)?)),
            '\\' => match letters.next()?.1 {
                'n' => plain.push('\n'),
                escaped => plain.push(escaped),
            },
            letter => plain.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_name_labels_and_value() {
        let text = "# HELP x y\n# TYPE x counter\nx 3\nx{a=\"1\",b=\"two words\"} 4.5 1700000000\n\ny_bucket{le=\"+Inf\"} +Inf\n";

        let read: Vec<_> = samples(text).collect();

        assert_eq!(read.len(), 3);
        assert_eq!((read[0].name, read[0].value, read[0].label("a")), ("x", 3.0, ""));
        assert_eq!((read[1].label("a"), read[1].label("b"), read[1].value), ("1", "two words", 4.5));
        assert_eq!((read[2].label("le"), read[2].value), ("+Inf", f64::INFINITY));
    }

    #[test]
    fn escapes_in_labels_are_undone() {
        let read: Vec<_> = samples(r#"x{a="q\"b\\n\nend}"} 1"#).collect();

        assert_eq!(read[0].label("a"), "q\"b\\n\nend}");
    }

    #[test]
    fn lines_that_are_no_samples_are_left_out() {
        for line in ["", "x", "x{", "x{a=\"1}", "x{a=\"1\"}", "x{a} 1", "{} 1", "x one", "x{a=\"\\"] {
            assert_eq!(samples(line).count(), 0, "{line}");
        }
    }
}
