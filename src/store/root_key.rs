//! The root key's file: read, refused when others may read it, made once. What the key is for is in `keys::secret`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::StoreError;
use crate::keys::secret::RootKey;

/// The root key of the installation: the one given, or the one in `file`, which is made (0600, flushed) when neither it
/// nor `database` exists yet. For a store that exists a new root key would make every secret unknown, so a missing one
/// is an error then.
///
/// # Errors
/// When the key is malformed, missing, readable by others, or the file cannot be used.
pub fn root_key(given: Option<&str>, file: &Path, database: &Path) -> Result<RootKey, StoreError> {
    if let Some(hex) = given {
        return RootKey::from_hex(hex.trim())
            .map_err(|_| StoreError::RootKeyMalformed { path: None });
    }
    match read(file) {
        Err(StoreError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {}
        outcome => return outcome,
    }
    if database.exists() {
        return Err(StoreError::RootKeyMissing {
            path: file.to_owned(),
            store: database.to_owned(),
        });
    }
    let key = RootKey::generate()?;
    match make(file, &key) {
        Ok(()) => Ok(key),
        // Another process was first: its key is the one.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file),
        Err(error) => Err(io_error(file)(error)),
    }
}

/// The root key of a store that others have made: the one given, or the one in `file`.
///
/// # Errors
/// When the key is malformed, missing, readable by others, or the file cannot be used.
pub fn existing_root_key(
    given: Option<&str>,
    file: &Path,
    store: &Path,
) -> Result<RootKey, StoreError> {
    if given.is_none() && !file.exists() {
        return Err(StoreError::RootKeyMissing {
            path: file.to_owned(),
            store: store.to_owned(),
        });
    }
    root_key(given, file, store)
}

fn read(file: &Path) -> Result<RootKey, StoreError> {
    let mode = fs::metadata(file)
        .map_err(io_error(file))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::RootKeyExposed {
            path: file.to_owned(),
            mode,
        });
    }
    let text = Zeroizing::new(fs::read_to_string(file).map_err(io_error(file))?);
    RootKey::from_hex(text.trim()).map_err(|_| StoreError::RootKeyMalformed {
        path: Some(file.to_owned()),
    })
}

fn make(file: &Path, key: &RootKey) -> io::Result<()> {
    let folder = parent(file);
    make_folder(folder)?;
    // Written aside and linked into place, so that a kill between the two never leaves half a key under its name.
    let aside = folder.join(format!(".root-key.{}", uuid::Uuid::new_v4().simple()));
    let mut out = new_private_file(&aside)?;
    let written = out
        .write_all(key.to_hex().as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&aside, file));
    fs::remove_file(&aside)?;
    linked?;
    File::open(folder)?.sync_all()
}

/// A new file that only we may read.
pub(super) fn new_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// The folder, made with its parents when it is not there; only we may enter what is made.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The folder a file is in.
pub(super) fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_key_is_made_once_private_and_read_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let (file, database) = (folder.path().join("root.key"), folder.path().join("db"));
        let made = root_key(None, &file, &database).unwrap();
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(root_key(None, &file, &database).unwrap(), made);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_root_key_that_others_may_read_or_that_is_missing_or_malformed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, database) = (folder.path().join("root.key"), folder.path().join("db"));
        root_key(None, &file, &database).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            root_key(None, &file, &database),
            Err(StoreError::RootKeyExposed { mode: 0o640, .. })
        ));
        fs::remove_file(&file).unwrap();
        fs::write(&database, b"").unwrap();
        assert!(matches!(
            root_key(None, &file, &database),
            Err(StoreError::RootKeyMissing { .. })
        ));
        assert!(!file.exists());
        assert!(matches!(
            root_key(Some("abc"), &file, &database),
            Err(StoreError::RootKeyMalformed { path: None })
        ));
    }
}
