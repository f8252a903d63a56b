//! What the entries of the log did, told from the entries alone.

use std::collections::{BTreeMap, HashMap};

use super::ChangeInfo;
use crate::ArrayName;
use crate::action::{Action, ArrayRecord, FieldRecord, Id, SegmentRecord};
use crate::log::Entry;

/// A change, and the array that it changed.
pub(super) type Change = (Option<Id>, ChangeInfo);

/// What must be remembered of earlier entries to say what the next one did.
#[derive(Debug, Default)]
pub(super) struct Changes {
    names: HashMap<Id, ArrayName>,
    /// Which array had a name last.
    last: BTreeMap<ArrayName, Id>,
    /// By segment (or patch segment): its rows, and how many of them are deleted.
    segments: HashMap<(Id, u32), (u64, u64)>,
    fields: HashMap<(Id, u32), String>,
}

impl Changes {
    /// The array that had a name last.
    pub(super) fn last_named(&self, name: &ArrayName) -> Option<Id> {
        self.last.get(name).copied()
    }

    /// What an entry did; the entries before it were given before.
    pub(super) fn of(&mut self, entry: &Entry) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        // Patches of several fields replace the same rows.
        let mut replaced: BTreeMap<Id, BTreeMap<u32, u64>> = BTreeMap::new();
        for action in &entry.actions {
            if let Action::Patch(a) = action {
                let before = self.segments.insert((a.array, a.segment), (a.rows, 0)).map_or(0, |s| s.0);
                *replaced.entry(a.array).or_default().entry(a.field).or_default() += a.rows.saturating_sub(before);
                continue;
            }
            let (id, action, rows, detail) = self.see(action);
            let array = id.and_then(|id| self.names.get(&id)).cloned();
            let same = changes.iter_mut().find(|(of, c)| *of == id && c.action == action && rows.is_some());
            match same {
                Some((_, change)) => change.rows = change.rows.zip(rows).map(|(a, b)| a.saturating_add(b)),
                None => changes.push((id, ChangeInfo { array, action, rows, detail })),
            }
            if action == "drop"
                && let Some(id) = id
            {
                self.names.remove(&id);
            }
        }
        for (id, fields) in replaced {
            let names: Vec<&str> = fields.keys().filter_map(|f| Some(self.fields.get(&(id, *f))?.as_str())).collect();
            let (array, detail) = (self.names.get(&id).cloned(), names.join(", "));
            let rows = fields.values().max().copied();
            changes.push((Some(id), ChangeInfo { array, action: "replace", rows, detail }));
        }
        changes
    }

    /// The array, the kind of change, the rows and the detail of an action that is no patch.
    fn see(&mut self, action: &Action) -> (Option<Id>, &'static str, Option<u64>, String) {
        let none = String::new;
        match action {
            Action::Protocol(_) => (None, "protocol", None, none()),
            Action::SchemaCreate(a) => (None, "create schema", None, a.schema.clone()),
            Action::SchemaDrop(a) => (None, "drop schema", None, a.schema.clone()),
            Action::ArrayCreate(a) => {
                self.named(a.array, &a.schema, &a.name);
                self.add_fields(a.array, &a.fields);
                (Some(a.array), "create", None, described(&a.fields))
            }
            Action::ArrayRename(a) => {
                let from = self.names.get(&a.array).map(ToString::to_string).unwrap_or_default();
                self.named(a.array, &a.schema, &a.name);
                (Some(a.array), "rename", None, format!("from {from}"))
            }
            Action::ArrayDrop(a) => (Some(a.array), "drop", None, none()),
            Action::SegmentAdd(a) | Action::SegmentExtend(a) => {
                let known = self.segments.entry((a.array, a.segment)).or_default();
                let added = a.rows.saturating_sub(known.0);
                known.0 = a.rows;
                (Some(a.array), "append", Some(added), none())
            }
            Action::SegmentReplace(a) => {
                for old in &a.old {
                    self.segments.remove(&(a.array, old.segment));
                }
                self.add_segments(a.array, &a.new);
                let detail = format!("{} segments became {}", a.old.len(), a.new.len());
                (Some(a.array), "optimize", None, detail)
            }
            Action::ArrayClone(record) => {
                let from = record.segments.iter().flat_map(|s| &s.shards).find_map(|s| s.home);
                let from = from.and_then(|id| self.names.get(&id)).map(|name| format!("of {name}")).unwrap_or_default();
                (Some(self.add_record(record)), "clone", Some(live(record)), from)
            }
            Action::ArrayRestore(record) => (Some(self.add_record(record)), "restore", Some(live(record)), none()),
            Action::ArraySet(a) => (Some(a.array), "set options", None, none()),
            Action::FieldAdd(a) => {
                self.add_fields(a.array, std::slice::from_ref(&a.field));
                (Some(a.array), "add field", None, described(std::slice::from_ref(&a.field)))
            }
            Action::FieldDrop(a) => {
                (Some(a.array), "drop field", None, self.fields.remove(&(a.array, a.field)).unwrap_or_default())
            }
            Action::FieldRename(a) => {
                let from = self.fields.insert((a.array, a.field), a.name.clone()).unwrap_or_default();
                (Some(a.array), "rename field", None, format!("{from} to {}", a.name))
            }
            Action::IndexCreate(a) => {
                let field = self.fields.get(&(a.array, a.index.field)).cloned().unwrap_or_default();
                (Some(a.array), "create index", None, format!("{} on {field}", a.index.name))
            }
            Action::IndexFill(a) => (Some(a.array), "build index", None, none()),
            Action::IndexDrop(a) => (Some(a.array), "drop index", None, a.name.clone()),
            Action::Resize(a) => {
                let field = self.fields.get(&(a.array, a.field)).cloned().unwrap_or_default();
                (Some(a.array), "resize", None, format!("{field} to {:?}", a.cell))
            }
            Action::Patch(a) => (Some(a.array), "replace", None, none()),
            Action::Delete(a) => {
                let mut deleted = 0_u64;
                for segment in &a.segments {
                    let known = self.segments.entry((a.array, segment.segment)).or_default();
                    deleted = deleted.saturating_add(segment.rows.saturating_sub(known.1));
                    known.1 = segment.rows;
                }
                (Some(a.array), "delete", Some(deleted), none())
            }
            Action::TagSet(a) => (None, "tag", None, format!("{} = version {}", a.tag, a.version)),
            Action::TagDrop(a) => (None, "drop tag", None, a.tag.clone()),
            Action::Expire(a) => (None, "expire", None, format!("versions before {}", a.before)),
        }
    }

    fn named(&mut self, id: Id, schema: &str, name: &str) {
        let name = ArrayName::new(schema, name);
        self.last.insert(name.clone(), id);
        self.names.insert(id, name);
    }

    fn add_record(&mut self, record: &ArrayRecord) -> Id {
        let id = record.create.array;
        self.named(id, &record.create.schema, &record.create.name);
        self.add_fields(id, &record.create.fields);
        self.add_segments(id, &record.segments);
        for patch in &record.patches {
            self.segments.insert((id, patch.segment), (patch.rows, 0));
        }
        id
    }

    fn add_segments(&mut self, id: Id, segments: &[SegmentRecord]) {
        for segment in segments {
            self.segments.insert((id, segment.segment), (segment.rows, segment.deleted.rows));
        }
    }

    fn add_fields(&mut self, id: Id, fields: &[FieldRecord]) {
        self.fields.extend(fields.iter().map(|f| ((id, f.id), f.name.clone())));
    }
}

fn live(record: &ArrayRecord) -> u64 {
    record.segments.iter().map(|s| s.rows.saturating_sub(s.deleted.rows)).sum()
}

fn described(fields: &[FieldRecord]) -> String {
    let text = |f: &FieldRecord| f.spec().map_or_else(|_| f.name.clone(), |spec| spec.to_string());
    fields.iter().map(text).collect::<Vec<_>>().join(", ")
}
