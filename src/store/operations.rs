//! The operations that write, once for both homes: what is made before the transaction, which partition it is in, and
//! whether it may happen while that is being put back together. What is checked and written is in `writing`.

/// Gives a home the operations. It has `write`, which runs one transaction, and is a `LogSource`.
macro_rules! operations_of {
    ($home:ident) => {
        mod operations {
            use super::$home;
            use crate::keys::audit::{Action, By};
            use crate::keys::rules::{Name, Refusal};
            use crate::keys::{
                Key, KeyId, KeyKind, Org, OrgId, Partition, Role, Secret, Slot, User, UserId,
            };
            use crate::store::log::{self, LogSource as _};
            use crate::store::papers::{self, Link, PaperId, Password, Session};
            use crate::store::writing::{FirstSecrets, Made};
            use crate::store::{
                Done, Founded, Issued, KeyChange, Needs, NewKey, NewUser, Rotation, StoreError,
                UserChange, operators_partition,
            };

            impl $home {
                /// As `Store::create_org`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn create_org(
                    &self,
                    name: Name,
                    by: &By,
                ) -> Result<Done<(Org, Issued)>, StoreError> {
                    let secret = Secret::generate(KeyKind::ApiKey)?;
                    let partition = Slot::of_org_name(name.as_str()).partition();
                    let done = self.write(partition, Needs::Whole, by, |writing| {
                        writing.create_org(&name, &secret)
                    })?;
                    Ok(done.map(|(org, made)| (org, issued(made, secret))))
                }

                /// As `Store::found`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn found(
                    &self,
                    org: Name,
                    handle: Name,
                    by: &By,
                ) -> Result<Done<Founded>, StoreError> {
                    let secrets = FirstSecrets::generate()?;
                    let partition = Slot::of_org_name(org.as_str()).partition();
                    let done = self.write(partition, Needs::Whole, by, |writing| {
                        writing.found(&org, &handle, &secrets)
                    })?;
                    Ok(done.map(|(org, user, api_key, application_key)| {
                        Founded::of(org, user, api_key, application_key, secrets)
                    }))
                }

                /// As `Store::set_org_disabled`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when there is no such org.
                pub fn set_org_disabled(
                    &self,
                    id: OrgId,
                    disabled: bool,
                    by: &By,
                ) -> Result<Done<Org>, StoreError> {
                    self.write(id.partition(), Needs::Nothing, by, |writing| {
                        writing.set_org_disabled(id, disabled)
                    })
                }

                /// As `Store::create_user`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn create_user(
                    &self,
                    user: NewUser,
                    by: &By,
                ) -> Result<Done<User>, StoreError> {
                    self.write(user.org.partition(), Needs::Whole, by, |writing| {
                        writing.create_user(&user)
                    })
                }

                /// As `Store::create_service_account`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn create_service_account(
                    &self,
                    org: OrgId,
                    name: Name,
                    email: Option<Name>,
                    role: Role,
                    by: &By,
                ) -> Result<Done<User>, StoreError> {
                    self.write(org.partition(), Needs::Whole, by, |writing| {
                        writing.create_service_account(org, &name, email.as_ref(), role)
                    })
                }

                /// As `Store::update_user`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn update_user(
                    &self,
                    id: UserId,
                    change: UserChange,
                    by: &By,
                ) -> Result<Done<User>, StoreError> {
                    self.write(id.partition(), Needs::Nothing, by, |writing| {
                        writing.update_user(id, &change)
                    })
                }

                /// As `Store::create_key`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn create_key(
                    &self,
                    mut new: NewKey,
                    by: &By,
                ) -> Result<Done<Issued>, StoreError> {
                    let secret = match new.secret.take() {
                        Some(secret) => secret,
                        None => Secret::generate(new.of.kind())?,
                    };
                    let done = self.write(new.of.partition(), Needs::Whole, by, |writing| {
                        writing.create_key(&new, &secret)
                    })?;
                    Ok(done.map(|made| issued(made, secret)))
                }

                /// As `Store::update_key`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn update_key(
                    &self,
                    id: KeyId,
                    change: KeyChange,
                    by: &By,
                ) -> Result<Done<Key>, StoreError> {
                    self.write(id.partition(), Needs::Nothing, by, |writing| {
                        writing.update_key(id, &change)
                    })
                }

                /// As `Store::rotate_key`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn rotate_key(
                    &self,
                    id: KeyId,
                    rotation: Rotation,
                    by: &By,
                ) -> Result<Done<(Key, Issued)>, StoreError> {
                    let old = self.key(id)?.ok_or(Refusal::NotFound { what: "key" })?;
                    let secret = Secret::generate(old.kind)?;
                    let done = self.write(id.partition(), Needs::Whole, by, |writing| {
                        writing.rotate_key(id, &rotation, &secret)
                    })?;
                    Ok(done.map(|(old, made)| (old, issued(made, secret))))
                }

                /// As `Store::revoke_key`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when a rule says no.
                pub fn revoke_key(&self, id: KeyId, by: &By) -> Result<Done<Key>, StoreError> {
                    self.write(id.partition(), Needs::Nothing, by, |writing| {
                        writing.revoke_key(id)
                    })
                }

                /// As `Store::make_link`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when the user cannot sign in.
                pub fn make_link(
                    &self,
                    hash: [u8; 32],
                    link: Link,
                    by: &By,
                ) -> Result<Done<User>, StoreError> {
                    self.write(link.user.partition(), Needs::Nothing, by, |writing| {
                        writing.make_link(hash, &link)
                    })
                }

                /// As `Store::use_link`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when it is spent.
                pub fn use_link(
                    &self,
                    partition: Partition,
                    hash: [u8; 32],
                    password: &str,
                    by: &By,
                ) -> Result<Done<User>, StoreError> {
                    self.write(partition, Needs::Nothing, by, |writing| {
                        writing.use_link(partition, hash, password)
                    })
                }

                /// As `Store::set_password`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when the user cannot sign in.
                pub fn set_password(
                    &self,
                    id: UserId,
                    password: &str,
                    by: &By,
                ) -> Result<Done<User>, StoreError> {
                    self.write(id.partition(), Needs::Nothing, by, |writing| {
                        writing.set_password(id, password)
                    })
                }

                /// As `Store::open_session`.
                ///
                /// # Errors
                /// [`StoreError::Refused`] when the user cannot sign in.
                pub fn open_session(
                    &self,
                    hash: [u8; 32],
                    session: Session,
                    by: &By,
                ) -> Result<Done<User>, StoreError> {
                    self.write(session.user.partition(), Needs::Nothing, by, |writing| {
                        writing.open_session(hash, &session)
                    })
                }

                /// As `Store::touch_session`.
                ///
                /// # Errors
                /// When the store cannot be written.
                pub fn touch_session(
                    &self,
                    partition: Partition,
                    hash: [u8; 32],
                ) -> Result<(), StoreError> {
                    self.write(partition, Needs::Nothing, &By::system(), |writing| {
                        writing.touch_session(partition, hash)
                    })
                    .map(|done| done.value)
                }

                /// As `Store::end_session`.
                ///
                /// # Errors
                /// When the store cannot be written.
                pub fn end_session(
                    &self,
                    partition: Partition,
                    hash: [u8; 32],
                    by: &By,
                ) -> Result<Done<()>, StoreError> {
                    self.write(partition, Needs::Nothing, by, |writing| {
                        writing.end_session(partition, hash)
                    })
                }

                /// As `Store::password`.
                ///
                /// # Errors
                /// When the store cannot be read.
                pub fn password(&self, id: UserId) -> Result<Option<Password>, StoreError> {
                    let found: Option<Password> =
                        papers::read(self, id.partition(), &PaperId::Password(id))?;
                    // An earlier one that was put back is none.
                    let user = self.user(id)?;
                    let set_at = user.and_then(|user| user.password_set_at);
                    Ok(found.filter(|password| Some(password.set_at) == set_at))
                }

                /// As `Store::link`.
                ///
                /// # Errors
                /// When the store cannot be read.
                pub fn link(
                    &self,
                    partition: Partition,
                    hash: [u8; 32],
                ) -> Result<Option<Link>, StoreError> {
                    papers::read(self, partition, &PaperId::Link(hash))
                }

                /// As `Store::session`.
                ///
                /// # Errors
                /// When the store cannot be read.
                pub fn session(
                    &self,
                    partition: Partition,
                    hash: [u8; 32],
                ) -> Result<Option<Session>, StoreError> {
                    papers::read(self, partition, &PaperId::Session(hash))
                }

                /// As `Store::forget_expired`.
                ///
                /// # Errors
                /// When the store cannot be written.
                pub fn forget_expired(&self) -> Result<usize, StoreError> {
                    let mut gone = 0;
                    for partition in Partition::all() {
                        let mut ids = Vec::new();
                        self.each_paper(partition, &mut |id, _| {
                            ids.extend(PaperId::of_bytes(id).filter(PaperId::is_forgotten));
                            Ok(())
                        })?;
                        for ids in ids.chunks(papers::FORGOTTEN_AT_ONCE) {
                            let by = By::system();
                            let done = self.write(partition, Needs::Nothing, &by, |writing| {
                                writing.forget(partition, ids)
                            })?;
                            gone += done.value;
                        }
                    }
                    Ok(gone)
                }

                /// As `Store::log_store`.
                ///
                /// # Errors
                /// When the store cannot be written.
                pub fn log_store(
                    &self,
                    action: Action,
                    note: &str,
                    by: &By,
                ) -> Result<Done<()>, StoreError> {
                    self.write(operators_partition(), Needs::Nothing, by, |writing| {
                        writing.log_store(action, note)
                    })
                }

                /// Says in a partition's log that records were put back which it does not tell of.
                ///
                /// # Errors
                /// When the store cannot be written.
                pub fn begin_log(&self, partition: Partition) -> Result<(), StoreError> {
                    self.write(partition, Needs::Nothing, &By::system(), |writing| {
                        writing.begin_log(partition)
                    })
                    .map(drop)
                }

                /// As `Store::log_before`.
                ///
                /// # Errors
                /// When the store cannot be read.
                pub fn log_before(
                    &self,
                    partition: Partition,
                    number: Option<u64>,
                    most: usize,
                ) -> Result<Vec<log::Entry>, StoreError> {
                    log::before(self, partition, number, most)
                }

                /// As `Store::verify_log`.
                ///
                /// # Errors
                /// When the store cannot be read.
                pub fn verify_log(
                    &self,
                    earlier: &[log::HeadView],
                ) -> Result<log::LogFindings, StoreError> {
                    log::verify(self, earlier)
                }
            }

            /// What was issued: with the secret just made, or that of the earlier request that this one repeats.
            fn issued((key, earlier): Made, secret: Secret) -> Issued {
                Issued {
                    key,
                    secret: earlier.unwrap_or(secret),
                }
            }
        }
    };
}

pub(super) use operations_of;
