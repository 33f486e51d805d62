//! What each operation does: names resolved, the permission asked for, the store asked, what was changed noted. Who waits for
//! what is in force, and where, is `control`; which rules hold for keys is the store's business.
//!
//! This page is the list: which permission each operation takes is seen in the files beside it, one for each noun.

mod accounts;
mod audit;
pub(super) mod keys;
mod store;
mod usage;

use crate::control::caller::Standing;
use crate::control::explain::Question;
use crate::control::{
    Caller, FoundedView, KeyService, KeyView, OrgView, Request, Response, ServiceError,
    UserChanges, UserView,
};
use crate::keys::audit::AuditId;
use crate::keys::permissions::Permission;
use crate::keys::rules::Refusal;
use crate::keys::{Fingerprint, Org, OrgId, Partition, Revision, Timestamp};
use crate::store::{Done, Store};

/// One operation of one caller.
pub(super) struct Performing<'s> {
    pub(super) service: &'s KeyService,
    pub(super) store: &'s Store,
    pub(super) caller: &'s Caller,
    /// What the caller may.
    pub(super) standing: Standing,
    /// Whether it is wanted to know which nodes have applied the change.
    pub(super) waits: bool,
    /// What came of it.
    pub(super) traces: Traces,
}

/// What an operation leaves behind beside its answer.
#[derive(Default)]
pub(super) struct Traces {
    /// When the change was begun, by the clock that the nodes are told of.
    pub(super) begun: Option<Timestamp>,
    /// The key it revoked.
    pub(super) revoked: Option<Fingerprint>,
    /// The change it made.
    pub(super) changed: Option<(Partition, Revision)>,
    /// The entry of the audit log.
    pub(super) audit: Option<AuditId>,
}

impl Performing<'_> {
    pub(super) fn perform(&mut self, request: Request) -> Result<Response, ServiceError> {
        Ok(match request {
            Request::Init { org, user } => self.init(&org, &user)?,
            Request::CreateOrg { name } => self.create_org(&name)?,
            Request::ListOrgs => self.list_orgs()?,
            Request::ShowOrg { org } => Response::Org(OrgView::of(&self.org(&org)?)),
            Request::SetOrgDisabled { org, disabled } => self.set_org_disabled(&org, disabled)?,
            Request::CreateUser {
                org,
                email,
                name,
                title,
                role,
            } => self.create_user(&org, &email, name.as_deref(), title.as_deref(), role)?,
            Request::CreateServiceAccount {
                org,
                name,
                email,
                role,
            } => self.create_service_account(&org, &name, email.as_deref(), role)?,
            Request::ListUsers { org, kind } => self.list_users(&org, kind)?,
            Request::ShowUser { user } => self.show_user(&user)?,
            Request::SetUserDisabled { user, disabled } => {
                let change = UserChanges {
                    disabled: Some(disabled),
                    ..UserChanges::default()
                };
                self.update_user(&user, change)?
            }
            Request::UpdateUser { user, change } => self.update_user(&user, change)?,
            Request::ShowOffboarding { user } => self.offboarding(&user)?,
            Request::MakeLink { user } => self.make_link(&user)?,
            Request::ShowInvitation { id } => self.show_invitation(id)?,
            Request::CreateApiKey {
                org,
                name,
                expires_at,
                allowed_addresses,
                secret,
                labels,
            } => {
                self.create_api_key(&org, &name, expires_at, &allowed_addresses, secret, labels)?
            }
            Request::CreateApplicationKey {
                owner,
                name,
                expires_at,
                scopes,
            } => self.create_application_key(&owner, &name, expires_at, scopes)?,
            Request::CreateClientToken {
                org,
                name,
                expires_at,
                allowed_origins,
            } => self.create_client_token(&org, &name, expires_at, &allowed_origins)?,
            Request::ListKeys { kind, org } => self.list_keys(kind, &org)?,
            Request::ListKeysOfOwner { owner } => self.list_keys_of_owner(&owner)?,
            Request::ShowKey { kind, id } => self.show_key(kind, &id)?,
            Request::ShowKeyUse { kind, id } => self.show_key_use(kind, &id)?,
            Request::ShowOrgUse { org } => self.show_org_use(&org)?,
            Request::UpdateKey { kind, id, change } => self.update_key(kind, &id, change)?,
            Request::RotateKey {
                kind,
                id,
                name,
                overlap_ms,
                expires_at,
            } => self.rotate_key(kind, &id, name.as_deref(), overlap_ms, expires_at)?,
            Request::RevokeKey { kind, id } => self.revoke_key(kind, &id)?,
            Request::Whoami { secret } => self.whoami(&secret)?,
            // One receipt is enough.
            Request::AndWait { request, .. } => return self.perform(*request),
            Request::Explain { question } => self.explain(&question)?,
            Request::ListAudit { query } => self.list_audit(&query)?,
            Request::VerifyAudit { earlier } => self.verify_audit(&earlier)?,
            Request::ListNodes => self.list_nodes()?,
            Request::StoreStatus => self.store_status()?,
            Request::VerifyStore => self.verify_store()?,
            Request::RestoreStore => self.restore_store()?,
            Request::AddRootKey { root_key } => self.add_root_key(&root_key)?,
            Request::RetireRootKey { check } => self.retire_root_key(&check)?,
        })
    }

    /// Notes the time before a change, if somebody waits for the nodes.
    fn begin(&mut self, partition: Partition) -> Result<(), ServiceError> {
        if self.waits {
            self.traces.begun = self.store.now(partition)?;
        }
        Ok(())
    }

    /// Notes which entry tells of what was done.
    fn noted<T>(&mut self, done: Done<T>) -> T {
        self.traces.audit = done.audit;
        done.value
    }

    fn init(&mut self, org: &str, user: &str) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let done = self
            .store
            .found(org.parse()?, user.parse()?, &self.caller.by)?;
        let founded = self.noted(done);
        let last = &founded.application_key.key;
        self.traces.changed = Some((last.id.partition(), last.revision));
        let link = self.link_for(&founded.user)?;
        let mut view = FoundedView::of(founded);
        view.link = Some(link);
        Ok(Response::Founded(Box::new(view)))
    }

    /// Whoever may ask sees which secret is which key's, in any org.
    fn explain(&self, question: &Question) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let explain = self.service.explain.as_ref();
        let explained = explain
            .ok_or(Refusal::NotFound {
                what: "route table",
            })?
            .explain(question)?;
        Ok(Response::Explained(Box::new(explained)))
    }

    fn create_org(&mut self, name: &str) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let done = self.store.create_org(name.parse()?, &self.caller.by)?;
        let (org, issued) = self.noted(done);
        self.traces.changed = Some((org.id.partition(), issued.key.revision));
        Ok(Response::Org(OrgView {
            api_key: Some(KeyView::issued(issued)),
            ..OrgView::of(&org)
        }))
    }

    fn list_orgs(&self) -> Result<Response, ServiceError> {
        let mut orgs = match self.standing.org() {
            Some(own) => self.store.org(own)?.into_iter().collect(),
            None => self.store.orgs()?,
        };
        orgs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::Orgs(orgs.iter().map(OrgView::of).collect()))
    }

    fn set_org_disabled(&mut self, org: &str, disabled: bool) -> Result<Response, ServiceError> {
        let id = self.org(org)?.id;
        self.standing.need_operator()?;
        self.begin(id.partition())?;
        let done = self.store.set_org_disabled(id, disabled, &self.caller.by)?;
        let org = self.noted(done);
        self.traces.changed = Some((id.partition(), org.revision));
        Ok(Response::Org(OrgView::of(&org)))
    }

    /// An org by its id or its name. Another one than the caller's is not there.
    fn org(&self, text: &str) -> Result<Org, ServiceError> {
        let found = match text.parse::<OrgId>() {
            Ok(id) => self.store.org(id)?,
            Err(_) => self.store.org_named(text.trim())?,
        };
        let found = found.filter(|org| self.standing.is_of(org.id));
        Ok(found.ok_or(Refusal::NotFound { what: "org" })?)
    }

    fn need(&self, permission: Permission) -> Result<(), ServiceError> {
        Ok(self.standing.need(permission)?)
    }

    fn user_changed(&mut self, user: &crate::keys::User) -> Response {
        self.traces.changed = Some((user.id.partition(), user.revision));
        Response::User(UserView::of(user))
    }
}
