//! The configuration as text: every knob with its documentation, and the values in effect. No word of documentation is
//! written here; it is the doc comments of the declarations.

use super::Config;
use super::knob::{Kind, Knob, Section, Shape, secret_file_name};
use super::source::variable;
use serde_json::Value as Json;

/// Lists are broken before this many characters.
const LINE_WIDTH: usize = 110;

/// How the file begins.
const HEAD: &str = "\
# keygate: every knob, with its default. Printed by `keygate config print`.
#
# A line that begins with \"#\" and no space is a knob at its default, or an example when it has none: take the \"#\" away
# to set it. Every knob is also an environment variable, named above it, which wins over this file.
# Durations are whole numbers with a unit: ms, s, m, h, d. So are sizes: B, KB, KiB, MB, MiB, GB, GiB.
# A secret can be given by the knob itself or, better, by a file: put _file behind the knob's name, _FILE behind the
# variable's.
";

/// The example configuration: all knobs, their documentation and their defaults. It is itself a configuration that loads.
pub fn print() -> String {
    let mut page = Page {
        text: HEAD.to_owned(),
    };
    page.knobs(
        &Config::shape().knobs,
        &Place {
            path: Vec::new(),
            is_example: false,
        },
    );
    page.text
}

/// The values in effect, as JSON in the shape of the file. Of a secret it says only "set" or "not set".
pub fn describe(config: &Config) -> Json {
    config.show()
}

struct Page {
    text: String,
}

/// Where on the page a section is.
struct Place {
    /// The path of its variables.
    path: Vec<&'static str>,
    /// The section stands for those that may be added, so that all of it is commented out.
    is_example: bool,
}

impl Place {
    fn below(&self, names: &[&'static str], is_example: bool) -> Self {
        Self {
            path: [self.path.as_slice(), names].concat(),
            is_example: self.is_example || is_example,
        }
    }

    fn variable(&self, knob: &str) -> String {
        let path: Vec<&str> = self.path.iter().copied().chain([knob]).collect();
        variable(&path)
    }
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn comment(&mut self, about: &[&str]) {
        for line in about {
            self.line(format!("# {}", line.trim()).trim_end());
        }
    }

    fn knobs(&mut self, knobs: &[Knob], place: &Place) {
        for knob in knobs {
            match &knob.kind {
                Kind::Value {
                    printed,
                    is_required,
                    words,
                } => {
                    self.line("");
                    self.comment(knob.about);
                    for word in *words {
                        let about: Vec<&str> = word.about.iter().map(|line| line.trim()).collect();
                        self.line(&format!("# \"{}\": {}", word.spelling, about.join(" ")));
                    }
                    self.line(&format!("# {}", place.variable(knob.name)));
                    let sign = if *is_required && !place.is_example {
                        ""
                    } else {
                        "#"
                    };
                    self.line(&format!("{sign}{} = {printed}", knob.name));
                }
                Kind::Secret { file_example } => {
                    let file = secret_file_name(knob.name);
                    self.line("");
                    self.comment(knob.about);
                    self.line(&format!(
                        "# {}, {}",
                        place.variable(knob.name),
                        place.variable(&file)
                    ));
                    self.line(&format!("#{file} = {}", Json::from(*file_example)));
                }
                Kind::Section { shape } => {
                    let place = place.below(&[knob.name], false);
                    self.section(
                        &format!("[{}]", place.path.join(".")),
                        &shape(),
                        &[],
                        &place,
                    );
                }
                Kind::Named { known, shape } => {
                    let example = known.first().copied().unwrap_or("name");
                    let place = place.below(&[knob.name, example], false);
                    let header = format!("[{}]", place.path.join("."));
                    self.section(&header, &shape(), known, &place);
                }
                Kind::List { shape } => {
                    let header = format!("#[[{}]]", place.below(&[knob.name], true).path.join("."));
                    let place = place.below(&[knob.name, "0"], true);
                    self.section(&header, &shape(), &[], &place);
                }
            }
        }
    }

    fn section(&mut self, header: &str, shape: &Shape, known: &[&str], place: &Place) {
        self.line("");
        self.line("");
        self.comment(shape.about);
        if !known.is_empty() {
            self.line("# The known names:");
            self.list(known);
        }
        self.line(header);
        self.knobs(&shape.knobs, place);
    }

    /// Words with commas, as many in a line as fit.
    fn list(&mut self, words: &[&str]) {
        let mut line = String::from("#");
        for (index, word) in words.iter().enumerate() {
            if line.len() + word.len() > LINE_WIDTH {
                self.line(&line);
                line = String::from("#");
            }
            let comma = if index + 1 < words.len() { "," } else { "" };
            line.push_str(&format!(" {word}{comma}"));
        }
        self.line(&line);
    }
}
