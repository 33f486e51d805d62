//! Reading and proving the audit log.

use super::Performing;
use crate::control::audit::{Wanted, page};
use crate::control::{AuditQuery, Response, ServiceError};
use crate::keys::audit::Action;
use crate::keys::permissions::Permission;
use crate::keys::rules::Refusal;
use crate::keys::{Actor, UserId};
use crate::store::log::HeadView;

impl Performing<'_> {
    pub(super) fn list_audit(&self, query: &AuditQuery) -> Result<Response, ServiceError> {
        let org = match (&query.org, self.standing.org()) {
            (Some(org), _) => Some(self.org(org)?.id),
            (None, own) => own,
        };
        self.need(Permission::AuditLogsRead)?;
        let actor = match query.actor.as_deref() {
            Some("operator") => Some(Actor::Operator),
            Some("system") => Some(Actor::System),
            Some(user) => Some(Actor::User(self.user(user)?.id)),
            None => None,
        };
        let wanted = Wanted {
            org,
            action: query.action,
            actor,
            object: query.object,
            since: query.since,
            until: query.until,
        };
        let name = |id: UserId| {
            let user = self.store.user(id).ok().flatten()?;
            Some(user.name.to_string())
        };
        let found = page(
            self.store,
            &wanted,
            query.after.as_deref(),
            query.most,
            &name,
        )?;
        Ok(Response::Audit(found))
    }

    pub(super) fn verify_audit(&self, earlier: &[HeadView]) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let findings = self.store.verify_log(earlier)?;
        Ok(Response::AuditVerified(Box::new(findings)))
    }
}

impl std::str::FromStr for Action {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let found = Self::ALL.iter().find(|action| action.as_str() == text);
        found.copied().ok_or(Refusal::NotFound { what: "action" })
    }
}
