//! What a node of a fleet is called, and what tells it from every other one. It starts nothing.

use std::path::Path;

use uuid::Uuid;

use crate::config::Config;

/// What tells this node from every other one, for as long as it has its folder on its host: a node that was killed and is
/// back is not waited for as if it were two, and a copy of the folder elsewhere is another node.
pub(super) fn node_id(folder: &Path) -> Uuid {
    let file = folder.join("node.id");
    let place = format!("{} {}", host_name(), folder.display());
    let known = std::fs::read_to_string(&file).ok().and_then(|text| {
        let (id, of) = text.trim_end().split_once(' ')?;
        (of == place).then(|| Uuid::try_parse(id).ok())?
    });
    known.unwrap_or_else(|| {
        let id = Uuid::new_v4();
        // Where nothing can be written it is another node at the next start.
        let _ = std::fs::write(&file, format!("{id} {place}\n"));
        id
    })
}

fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().to_owned()
}

/// Where lists of nodes say that this one listens.
pub(super) fn node_address(config: &Config) -> String {
    let address = config.listen.address;
    if address.ip().is_unspecified() {
        format!("{}:{}", host_name(), address.port())
    } else {
        address.to_string()
    }
}

/// What lists of nodes call this one.
pub(super) fn node_name(config: &Config) -> String {
    let configured = config.store.redis.node_name.clone();
    configured.unwrap_or_else(host_name)
}
