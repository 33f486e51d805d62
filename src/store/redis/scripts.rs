//! The scripts that run inside Redis, each one atomic step. What they are given and what they answer is said in each.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));)*
    };
}

scripts! {
    COMMIT = "commit.lua";
    READ = "read.lua";
    BUCKET = "bucket.lua";
    TAIL = "tail.lua";
    RINGS = "rings.lua";
    CHANGES = "changes.lua";
    CLAIM = "claim.lua";
    RELEASE = "release.lua";
    MAKE = "make.lua";
    PUT_BACK = "put_back.lua";
    SETTLE = "settle.lua";
    FINISH = "finish.lua";
    PROBE = "probe.lua";
    USAGE = "usage.lua";
    ENTRIES = "entries.lua";
    APPEND = "append.lua";
}

/// The arguments of a script, each of them bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<Vec<u8>>);

impl Arguments {
    pub(super) fn push(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.push(bytes.as_ref().to_vec());
    }

    pub(super) fn push_number(&mut self, number: impl ToString) {
        self.0.push(number.to_string().into_bytes());
    }
}
