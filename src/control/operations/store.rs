//! The operations on the store itself and on the nodes. All of them are the operator's.

use super::Performing;
use crate::control::{
    NodeView, Response, RootKeyView, SecretText, ServiceError, Verified, compare,
};
use crate::keys::Revision;
use crate::keys::audit::Action;
use crate::keys::rules::Refusal;
use crate::keys::secret::RootKey;
use crate::store::StoreError;

impl Performing<'_> {
    pub(super) fn list_nodes(&self) -> Result<Response, ServiceError> {
        self.need_fleet_view()?;
        let (nodes, now) = self.store.nodes(None)?.ok_or(ServiceError::NoFleet)?;
        let tails: Vec<Revision> = self
            .store
            .status()?
            .partitions
            .iter()
            .map(|partition| Revision(partition.revision))
            .collect();
        let mut nodes: Vec<NodeView> = nodes
            .iter()
            .map(|node| NodeView::of(node, &tails, now))
            .collect();
        nodes.sort_by(|a, b| (&a.node, a.node_id).cmp(&(&b.node, b.node_id)));
        Ok(Response::Nodes(nodes))
    }

    pub(super) fn store_status(&self) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        Ok(Response::Status(Box::new(self.store.status()?)))
    }

    pub(super) fn verify_store(&self) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let mut findings = self.store.verify()?;
        if let Some(table) = &self.service.table {
            compare::compare(self.store, table, &mut findings)?;
        }
        Ok(Response::Verified(Box::new(Verified {
            place: self.store.status()?.place,
            findings,
            compared_with_server: self.service.table.is_some(),
        })))
    }

    pub(super) fn restore_store(&mut self) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let restore = self.service.restore.as_ref().ok_or(ServiceError::NoFleet)?;
        let copied = (restore.all)()?;
        self.log(Action::StoreRestored, &copied.sentence())?;
        Ok(Response::Copied(Box::new(copied)))
    }

    pub(super) fn add_root_key(&mut self, root_key: &SecretText) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let root_key = RootKey::from_hex(root_key.expose().trim())
            .map_err(|_| StoreError::RootKeyMalformed { path: None })?;
        let check = self.store.add_root_key(&root_key)?;
        self.log(Action::RootKeyAdded, &check)?;
        Ok(Response::RootKey(RootKeyView { check }))
    }

    pub(super) fn retire_root_key(&mut self, check: &str) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
        let check = self.store.retire_root_key(check)?;
        self.log(Action::RootKeyRetired, &check)?;
        Ok(Response::RootKey(RootKeyView { check }))
    }

    /// Logs what is done already: a failure is one of the log alone.
    fn log(&mut self, action: Action, note: &str) -> Result<(), ServiceError> {
        let done = self.store.log_store(action, note, &self.caller.by);
        let done = done.map_err(ServiceError::NotLogged)?;
        self.noted(done);
        Ok(())
    }

    /// The names and addresses of nodes are for the operator, and for the admins of the orgs that the configuration names.
    fn need_fleet_view(&self) -> Result<(), ServiceError> {
        let Some(org) = self.standing.org() else {
            return Ok(());
        };
        let org = self.store.org(org)?;
        let sees = org.is_some_and(|org| self.service.pages.sees_fleet(&org.name));
        if !sees {
            return Err(Refusal::NodesHidden.into());
        }
        self.need(crate::keys::permissions::Permission::AuditLogsRead)
    }
}
