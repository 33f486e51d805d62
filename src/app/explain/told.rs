//! An explanation as it grows: what is said at which step, what was decided, what is answered. It decides nothing.

use std::net::IpAddr;

use compact_str::CompactString;
use http::Method;
use http::header;

use super::count;
use crate::control::explain::{ExplainedAnswer, ExplainedStep, Explanation, Said, StepName};
use crate::keys::policy::Attribution;
use crate::keys::{Access, Denial, KeyTable, Principal};
use crate::proxy::identity::Identity;
use crate::proxy::known::KnownHeaders;
use crate::proxy::record::{decision_word, method_word};
use crate::proxy::reply::{self, No};
use crate::proxy::route::Family;
use crate::proxy::target::Target;

/// The explanation as it grows.
#[derive(Default)]
pub(super) struct Told {
    pub(super) explanation: Explanation,
    pub(super) family: Option<Family>,
    /// The path as it may be shown.
    pub(super) shown: String,
}

impl Told {
    pub(super) fn say(&mut self, step: StepName, said: Said, text: impl Into<String>) {
        let text = text.into();
        self.explanation
            .steps
            .push(ExplainedStep { step, said, text });
    }

    pub(super) fn yes(&mut self, step: StepName, text: impl Into<String>) {
        self.say(step, Said::Yes, text);
    }

    pub(super) fn no(&mut self, step: StepName, text: impl Into<String>) {
        self.say(step, Said::No, text);
    }

    pub(super) fn note(&mut self, step: StepName, text: impl Into<String>) {
        self.say(step, Said::Note, text);
    }

    pub(super) fn target(&mut self, method: &Method, target: &Target<'_>) {
        let method = method_word(method);
        let mut text = format!("{method} {}", self.shown);
        match count(&target.query) {
            0 => {}
            1 => text.push_str(", with 1 parameter in the query"),
            count => text.push_str(&format!(", with {count} parameters in the query")),
        }
        if target.is_forwarded() {
            text.push_str(", taken out of ddforward");
        }
        self.yes(StepName::Target, text);
    }

    pub(super) fn client(&mut self, peer: IpAddr, identity: &Identity) {
        let client = identity.client;
        let text = if client == peer.to_canonical() {
            format!("from {client}")
        } else {
            format!("from {client}, by the word of the trusted proxy {peer}")
        };
        self.note(StepName::Client, text);
    }

    pub(super) fn decided(
        &mut self,
        verdict: &Result<Principal, Denial>,
        access: &Access,
        table: &KeyTable,
    ) {
        let it = &mut self.explanation;
        let attribution: &Attribution = match verdict {
            // As in the record: there was nothing to decide.
            Ok(_) if matches!(access, Access::Open) => return,
            Ok(principal) => {
                it.decision = "allowed".to_owned();
                principal.attribution()
            }
            Err(denial) => {
                it.decision = decision_word(Some(denial.reason.decision())).to_owned();
                it.reason = Some(denial.reason.as_str().to_owned());
                &denial.attribution
            }
        };
        it.key_id = attribution.key.as_ref().map(|key| key.id);
        it.application_key_id = attribution.application_key.as_ref().map(|key| key.id);
        let names = table.names(attribution);
        let text = |name: Option<CompactString>| name.map(|name| name.to_string());
        it.org_id = attribution.org.map(|(id, _)| id);
        it.org_name = text(names.org);
        it.user_id = attribution.user.map(|(id, _)| id);
        it.user_name = text(names.user);
    }

    pub(super) fn refused(&mut self, no: &No, family: Family, asked: &KnownHeaders<'_>) {
        let answer = reply::refuse(no.refusal, family, reply::wants_protobuf(asked), no.because);
        if self.explanation.decision.is_empty() {
            self.explanation.reason = no.refusal.fault().map(ToOwned::to_owned);
        }
        let text = format!(
            "refused: what clients of the family {} are told of \"{}\"",
            family.as_str(),
            no.refusal.label()
        );
        self.no(StepName::Outcome, text);
        self.answered(&answer, family, no.refusal.closes(), false);
    }

    pub(super) fn answered(
        &mut self,
        answer: &http::Response<bytes::Bytes>,
        family: Family,
        closes: bool,
        head_only: bool,
    ) {
        let mut headers = answer.headers().clone();
        if family == Family::Browser {
            reply::allow_cross_origin(&mut headers);
        }
        let shown = headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), value.into_owned())
        });
        let is_text = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/json");
        let body = std::str::from_utf8(answer.body()).ok();
        self.explanation.answer = Some(ExplainedAnswer {
            status: answer.status().as_u16(),
            headers: shown.collect(),
            body: body
                .filter(|_| is_text && !head_only)
                .map(ToOwned::to_owned),
            closes,
        });
    }
}
