//! The Prometheus text format, version 0.0.4. Written here instead of by a crate: a page of code, no recorder that is a global,
//! and labels that are words of ours.

use std::fmt::{Display, Write as _};

/// A page of metrics.
#[derive(Default)]
pub(super) struct Page(String);

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// The next samples are of this counter.
    pub(super) fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    /// The next samples are of this gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    /// The next samples are of this histogram.
    pub(super) fn histogram(&mut self, name: &str, help: &str) {
        self.head(name, help, "histogram");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        if !labels.is_empty() {
            self.0.push('{');
            for (at, (label, value)) in labels.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                let _infallible = write!(self.0, "{comma}{label}=\"{}\"", escaped(value));
            }
            self.0.push('}');
        }
        let _infallible = writeln!(self.0, " {value}");
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_54_no_label_value_breaks_out_of_its_quotes() {
        let mut page = Page::default();
        page.counter("a_total", "What it counts.");
        page.sample("a_total", &[], 3);
        page.sample("a_total", &[("x", "plain"), ("y", "a\"} 1\nb_total 7 \\")], 4);
        let text = page.into_text();
        assert_eq!(
            text,
            "# HELP a_total What it counts.\n# TYPE a_total counter\na_total 3\na_total{x=\"plain\",y=\"a\\\"} 1\\nb_total 7 \\\\\"} 4\n"
        );
    }
}
