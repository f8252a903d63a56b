//! OPTIMIZE, VACUUM, CHECK: jobs that change no result.

mod check;
mod compaction;
mod index;
mod optimize;
mod vacuum;

use hyperslab_core::Result;

use crate::Storage;
use crate::action::Id;
use crate::layout::{self, ARRAYS};

pub use check::{CheckOptions, Finding, Severity, check, check_on};
pub(crate) use compaction::{Compaction, worn};
pub use index::IndexProgress;
pub use optimize::{OptimizeOptions, OptimizeReport};
pub use vacuum::{VacuumOptions, VacuumReport};

/// The folders of the arrays' files, in all of the store's directories.
fn array_folders(storage: &dyn Storage, dirs: u16) -> Result<Vec<String>> {
    let mut folders = Vec::new();
    for dir in 0..dirs {
        let arrays = layout::in_dir(dir, ARRAYS);
        folders.extend(storage.list(&arrays)?.iter().map(|array| format!("{arrays}/{array}")));
    }
    Ok(folders)
}

/// The transaction that wrote a file, with whose id the file's name begins.
fn transaction_of(path: &str) -> Option<Id> {
    let name = path.rsplit('/').next()?;
    name.get(..36).and_then(|id| uuid::Uuid::try_parse(id).ok()).map(Id)
}
