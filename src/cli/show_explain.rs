//! What is shown of an explained request. It asks nobody.

use std::io::{self, Write};

use super::show::{columns, fact, fact_if, plain};
use crate::control::explain::{Explanation, Said};

/// Why a request is decided as it is.
pub(super) fn explanation(explained: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let rows = explained.steps.iter().map(|step| {
        [
            step.step.as_str().to_owned(),
            match step.said {
                Said::Yes => "yes",
                Said::No => "NO",
                Said::Note => "",
            }
            .to_owned(),
            step.text.clone(),
        ]
    });
    columns(["STEP", "", "WHAT WAS SEEN"], rows, out)?;
    writeln!(out)?;
    fact("decision", &explained.decision, out)?;
    fact_if("reason", explained.reason.as_deref(), out)?;
    let id = explained.key_id.map(|id| id.to_string());
    fact_if("key id", id.as_deref(), out)?;
    let id = explained.application_key_id.map(|id| id.to_string());
    fact_if("app key id", id.as_deref(), out)?;
    fact_if("org", explained.org_name.as_deref(), out)?;
    fact_if("user", explained.user_name.as_deref(), out)?;
    if let Some(answer) = &explained.answer {
        writeln!(out, "\nThe client is answered:")?;
        writeln!(out, "  {}", answer.status)?;
        for (name, value) in &answer.headers {
            writeln!(out, "  {}: {}", plain(name), plain(value))?;
        }
        if let Some(body) = &answer.body {
            writeln!(out, "  {}", plain(body))?;
        }
        if answer.closes {
            writeln!(out, "  and the connection is closed")?;
        }
    }
    if let Some(to) = &explained.forwarded {
        writeln!(
            out,
            "\nThe upstream {} at {} gets:",
            plain(&to.upstream),
            plain(&to.authority)
        )?;
        let query = match to.parameters {
            0 => String::new(),
            1 => " with 1 parameter in the query".to_owned(),
            count => format!(" with {count} parameters in the query"),
        };
        writeln!(out, "  {}{query}", plain(&to.path))?;
        for (name, value) in &to.headers {
            writeln!(out, "  {}: {}", plain(name), plain(value))?;
        }
        if let Some(place) = &to.own_credential {
            writeln!(out, "  and its own credential in {}", plain(place))?;
        }
    }
    Ok(())
}
