//! A secret of the operator's, such as an upstream's credential, and how it is given. Not a secret that clients present:
//! that is `keys`.

use super::error::{Mistake, Problem};
use super::knob::{Initial, Kind, Mode, Reader, secret_file_name};
use super::source::Body;
use serde_json::Value as Json;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A file that is longer is not a secret's, and `/dev/zero` must not fill the memory.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A secret given by configuration. It does not print, and its clones share one text, wiped with the last of them.
#[derive(Clone)]
pub struct SecretValue(Arc<Zeroizing<String>>);

impl SecretValue {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The plain text, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(redacted)")
    }
}

/// A secret that need not be set, given as a value or as a file.
pub(super) struct Secret {
    file_example: &'static str,
    check: fn(&str) -> Result<(), Mistake>,
}

/// The check must not quote the secret.
pub(super) fn secret(file_example: &'static str, check: fn(&str) -> Result<(), Mistake>) -> Secret {
    Secret {
        file_example,
        check,
    }
}

impl Mode<Option<SecretValue>> for Secret {
    fn kind(&self) -> Kind {
        Kind::Secret {
            file_example: self.file_example,
        }
    }

    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<Option<SecretValue>> {
        let file_name = secret_file_name(name);
        let knob = reader.path_of(name);
        match (reader.find(name), reader.find(&file_name)) {
            (None, None) => Some(None),
            (Some(value), Some(file)) => {
                let other = file.origin.clone();
                reader.refuse(&value.origin, Problem::SecretTwice { knob, other });
                None
            }
            (Some(node), None) => {
                let given = match &node.body {
                    Body::Text(secret) | Body::Loose(secret) => filled(secret)
                        .and_then(|()| (self.check)(secret))
                        .map(|()| secret),
                    Body::Number(_) | Body::List(_) | Body::Table(_) | Body::Other(_) => {
                        Err(Mistake::new("a secret is a text in quotes"))
                    }
                };
                match given {
                    Ok(secret) => Some(Some(SecretValue::new(secret))),
                    Err(mistake) => {
                        reader.refuse(&node.origin, Problem::Value { knob, mistake });
                        None
                    }
                }
            }
            (None, Some(node)) => {
                let knob = reader.path_of(&file_name);
                let file: PathBuf = reader.value(&file_name, node, |_| Ok(()))?;
                let given = read_secret(&file)
                    .and_then(|secret| (self.check)(&secret).map(|()| secret))
                    .map(|secret| SecretValue::new(secret.as_str()));
                match given {
                    Ok(secret) => Some(Some(secret)),
                    Err(mistake) => {
                        let problem = Problem::SecretFile {
                            knob,
                            file,
                            mistake,
                        };
                        reader.refuse(&node.origin, problem);
                        None
                    }
                }
            }
        }
    }

    fn show(&self, value: &Option<SecretValue>) -> Json {
        Json::from(if value.is_some() { "set" } else { "not set" })
    }
}

impl Initial<Option<SecretValue>> for Secret {
    fn initial(self) -> Option<SecretValue> {
        None
    }
}

fn filled(secret: &str) -> Result<(), Mistake> {
    if secret.is_empty() {
        Err(Mistake::new("is empty"))
    } else {
        Ok(())
    }
}

/// The text of a secret's file without the newline that editors and `echo` put at its end.
fn read_secret(file: &Path) -> Result<Zeroizing<String>, Mistake> {
    let mut secret = Zeroizing::new(String::new());
    std::fs::File::open(file)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut secret))
        .map_err(|error| Mistake::new(format!("cannot be read: {error}")))?;
    if secret.len() as u64 > FILE_BYTES_MAX {
        return Err(Mistake::new("is longer than 64KiB, so it is not a secret"));
    }
    let text = secret.strip_suffix('\n').unwrap_or(&secret);
    let text = text.strip_suffix('\r').unwrap_or(text);
    filled(text)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::SecretValue;

    #[test]
    fn a_secret_does_not_print() {
        let secret = SecretValue::new("hunter2");
        assert_eq!(format!("{secret:?}"), "SecretValue(redacted)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
