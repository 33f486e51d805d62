//! A create that happens once, however often it is asked for.

use zeroize::Zeroizing;

use super::{ANSWERED_AGAIN_MS, Writing};
use crate::keys::audit::AuditId;
use crate::keys::rules::Refusal;
use crate::keys::{Partition, Secret, Timestamp};
use crate::store::papers::{Answer, PaperId};
use crate::store::tables::Tables;
use crate::store::{StoreError, sealed_secret};

/// The id of what a create made, and the secret that it showed.
type Answered = ([u8; 16], Option<Secret>);

impl<T: Tables> Writing<'_, T> {
    /// What a request with this `Idempotency-Key` made before, and its secret.
    pub(in crate::store) fn answered(
        &mut self,
        partition: Partition,
    ) -> Result<Option<Answered>, StoreError> {
        let Some(once) = &self.by.once else {
            return Ok(None);
        };
        let found = self.paper::<Answer>(partition, &PaperId::Answer(once.id))?;
        let Some(answer) = found.filter(|answer| answer.expires_at > self.now) else {
            return Ok(None);
        };
        if answer.request != once.request {
            return Err(Refusal::OnceReused.into());
        }
        let secret = match answer.secret.as_slice() {
            [] => None,
            // Without it, the answer would be one with another secret.
            sealed => {
                let text = sealed_secret::open(&once.seal, sealed);
                let secret = text.and_then(|text| Secret::import(Zeroizing::new(text)).ok());
                Some(secret.ok_or_else(|| StoreError::Damaged {
                    what: "answer to an earlier request",
                    why: "its secret does not open".to_owned(),
                })?)
            }
        };
        self.logged = Some(AuditId {
            partition,
            number: answer.entry,
        });
        Ok(Some((answer.id, secret)))
    }

    pub(in crate::store) fn answer(
        &mut self,
        partition: Partition,
        id: [u8; 16],
        secret: Option<&Secret>,
    ) -> Result<(), StoreError> {
        let Some(once) = &self.by.once else {
            return Ok(());
        };
        let sealed = match secret {
            Some(secret) => sealed_secret::seal(&once.seal, secret.expose())?,
            None => Vec::new(),
        };
        let answer = Answer {
            request: once.request,
            id,
            secret: sealed,
            entry: self.logged.map_or(0, |logged| logged.number),
            expires_at: Timestamp(self.now.0.saturating_add(ANSWERED_AGAIN_MS)),
        };
        self.put_paper(partition, &PaperId::Answer(once.id), &answer)
    }
}
