//! What the processes that have the store open still need.

use std::collections::BTreeMap;
use std::time::Duration;

use hyperslab_core::{Error, Result};

use crate::action::Id;
use crate::layout::PINS;
use crate::pins::Pinned;
use crate::storage::PinFile;
use crate::store::Inner;

/// How often a pin is read again that was being written.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(1);

/// Versions and transactions, with the process that needs them.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub versions: BTreeMap<u64, String>,
    pub staging: BTreeMap<Id, String>,
}

impl Needs {
    /// Reads all pins. Those of dead processes go; where it cannot be known who lives, they are believed for the grace
    /// period.
    ///
    /// # Errors
    /// `Conflict` for a pin that cannot be understood: its process may need everything.
    pub(super) fn read(inner: &Inner, grace: Duration, clean: bool) -> Result<Self> {
        let mut needs = Self::default();
        let (own, pinned) = inner.pins.own();
        needs.add(pinned, "this process");
        for pin in inner.storage.pins()? {
            if own.as_ref() == Some(&pin.name) {
                continue;
            }
            if !pin.lives && pin.age > grace {
                if clean {
                    inner.storage.remove(&format!("{PINS}/{}", pin.name))?;
                }
                continue;
            }
            let name = pin.name.clone();
            let pinned = understood(inner, pin)?.unwrap_or_default();
            let who = format!("process {} (pin {name})", pinned.process);
            needs.add(pinned, &who);
        }
        Ok(needs)
    }

    fn add(&mut self, pinned: Pinned, who: &str) {
        for version in pinned.versions {
            self.versions.entry(version).or_insert_with(|| who.to_owned());
        }
        for txn in pinned.staging {
            self.staging.entry(txn).or_insert_with(|| who.to_owned());
        }
    }
}

/// What a pin says; `None` if it went, or says nothing yet: then its process has not begun to read or write.
fn understood(inner: &Inner, mut pin: PinFile) -> Result<Option<Pinned>> {
    for _ in 0..TRIES {
        if pin.line.is_empty() {
            return Ok(None);
        }
        if let Some(pinned) = Pinned::parse(&pin.line) {
            return Ok(Some(pinned));
        }
        std::thread::sleep(PAUSE);
        match inner.storage.pins()?.into_iter().find(|other| other.name == pin.name) {
            Some(again) => pin = again,
            None => return Ok(None),
        }
    }
    Err(Error::conflict(format!(
        "{PINS}/{} is not understood, so that what its process needs is not known; end the process that uses the store \
         (perhaps a newer hyperslab), or remove the file if there is none, and retry",
        pin.name
    )))
}
