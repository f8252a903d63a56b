//! What was asked of a storage.

use std::ops::Sub;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often each kind of call was made. The difference of two is what happened between them.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Sub for Counts {
            type Output = Self;

            fn sub(self, earlier: Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}

counts! {
    /// `map`.
    maps,
    /// `read`.
    reads,
    /// `len`.
    lens,
    /// `list`.
    lists,
    /// `create_new` and `create_new_synced`.
    creates,
    /// `replace`.
    replaces,
    /// `write_at`.
    writes,
    /// `rename`.
    renames,
    /// `remove` and `remove_folder`.
    removes,
    /// `pin`.
    pins,
    /// Syncs of files: `sync_file`, and one in each `create_new_synced`.
    file_syncs,
    /// `sync_folder`.
    folder_syncs,
    /// `sync_file` and `sync_folder`.
    sync_calls,
    /// `lock`.
    locks,
    /// Bytes that were written, in calls that worked or were torn.
    bytes_written,
    /// Files that came into being.
    files_created,
}

impl Counts {
    /// The calls that change something, or make a change durable: those that faults count.
    pub fn mutations(&self) -> u64 {
        self.creates + self.replaces + self.writes + self.renames + self.removes + self.sync_calls
    }

    /// All syncs, of files and of folders.
    pub fn syncs(&self) -> u64 {
        self.file_syncs + self.folder_syncs
    }
}
