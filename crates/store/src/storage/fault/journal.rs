//! The steps taken on a storage, and which of them a power cut leaves.

use std::collections::BTreeMap;

/// Files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What happened since the start, in order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    start: Files,
    steps: Vec<Step>,
    /// Which file each name stands for now. Files are numbered; the first are those of the start, in order.
    names: BTreeMap<String, usize>,
    files: usize,
}

#[derive(Debug)]
struct Step {
    /// The number of the call that took it.
    call: u64,
    change: Change,
    durable: Durable,
}

#[derive(Debug)]
enum Change {
    /// A name stands for a file from now on, or for none.
    Name(String, Option<usize>),
    /// Bytes are written to a file.
    Bytes { file: usize, offset: usize, bytes: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Durable {
    NotYet,
    /// Since the call of this number.
    Since(u64),
    /// The sync failed; the system forgot that there is anything to write.
    Never,
}

impl Journal {
    pub(super) fn with_files(start: Files) -> Self {
        let names: BTreeMap<_, _> = start.keys().cloned().zip(0..).collect();
        Self { files: names.len(), start, steps: Vec::new(), names }
    }

    /// A new file with these bytes takes the name.
    pub(super) fn create(&mut self, call: u64, path: &str, bytes: &[u8], synced: bool) {
        let file = self.new_file();
        let durable = if synced { Durable::Since(call) } else { Durable::NotYet };
        let change = Change::Bytes { file, offset: 0, bytes: bytes.to_vec() };
        self.steps.push(Step { call, change, durable });
        self.name(call, path, Some(file));
    }

    pub(super) fn write(&mut self, call: u64, path: &str, offset: u64, bytes: &[u8]) {
        let file = match self.names.get(path) {
            Some(file) => *file,
            None => {
                let file = self.new_file();
                self.name(call, path, Some(file));
                file
            }
        };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let change = Change::Bytes { file, offset, bytes: bytes.to_vec() };
        self.steps.push(Step { call, change, durable: Durable::NotYet });
    }

    pub(super) fn remove(&mut self, call: u64, path: &str) {
        if self.names.contains_key(path) {
            self.name(call, path, None);
        }
    }

    pub(super) fn rename(&mut self, call: u64, from: &str, to: &str) {
        if let Some(file) = self.names.get(from).copied() {
            self.name(call, from, None);
            self.name(call, to, Some(file));
        }
    }

    pub(super) fn sync_file(&mut self, call: u64, path: &str) {
        self.settle_file(path, Durable::Since(call));
    }

    pub(super) fn lose_file(&mut self, path: &str) {
        self.settle_file(path, Durable::Never);
    }

    pub(super) fn sync_folder(&mut self, call: u64, folder: &str) {
        self.settle_folder(folder, Durable::Since(call));
    }

    pub(super) fn lose_folder(&mut self, folder: &str) {
        self.settle_folder(folder, Durable::Never);
    }

    pub(super) fn files_after_crash(&self, call: u64, mut keep: impl FnMut(usize) -> bool) -> Files {
        let mut names: BTreeMap<&str, usize> = self.start.keys().map(String::as_str).zip(0..).collect();
        let mut contents: BTreeMap<usize, Vec<u8>> = (0..).zip(self.start.values().cloned()).collect();
        for (number, step) in self.steps.iter().take_while(|step| step.call < call).enumerate() {
            let durable = matches!(step.durable, Durable::Since(since) if since < call);
            if !durable && !keep(number) {
                continue;
            }
            match &step.change {
                Change::Name(path, Some(file)) => drop(names.insert(path, *file)),
                Change::Name(path, None) => drop(names.remove(path.as_str())),
                Change::Bytes { file, offset, bytes } => {
                    let content = contents.entry(*file).or_default();
                    let end = offset.saturating_add(bytes.len());
                    content.resize(content.len().max(end), 0);
                    if let Some(target) = content.get_mut(*offset..end) {
                        target.copy_from_slice(bytes);
                    }
                }
            }
        }
        let content = |file| contents.get(&file).cloned().unwrap_or_default();
        names.into_iter().map(|(path, file)| (path.to_owned(), content(file))).collect()
    }

    fn new_file(&mut self) -> usize {
        self.files += 1;
        self.files - 1
    }

    fn name(&mut self, call: u64, path: &str, file: Option<usize>) {
        match file {
            Some(file) => drop(self.names.insert(path.into(), file)),
            None => drop(self.names.remove(path)),
        }
        self.steps.push(Step { call, change: Change::Name(path.into(), file), durable: Durable::NotYet });
    }

    fn settle_file(&mut self, path: &str, durable: Durable) {
        let Some(synced) = self.names.get(path).copied() else { return };
        self.settle(durable, |change| matches!(change, Change::Bytes { file, .. } if *file == synced));
    }

    fn settle_folder(&mut self, folder: &str, durable: Durable) {
        let of = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder) == folder;
        self.settle(durable, |change| matches!(change, Change::Name(path, _) if of(path)));
    }

    fn settle(&mut self, durable: Durable, concerned: impl Fn(&Change) -> bool) {
        for step in self.steps.iter_mut().filter(|step| step.durable == Durable::NotYet && concerned(&step.change)) {
            step.durable = durable;
        }
    }
}
