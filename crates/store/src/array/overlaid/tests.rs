#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt64Array, new_empty_array};
use arrow_buffer::Buffer;
use arrow_schema::Schema;
use hyperslab_core::{ArraySource, DType, FieldSpec, Selection, arrow};
use proptest::prelude::*;

use super::DIRTY_BYTES;
use crate::action::{Action, Id, Resize};
use crate::log::{Entry, SyncMode};
use crate::state::State;
use crate::{Array, ArrayOptions, Store};

/// One array in a working state, and what it must hold: per live row its address and its bytes.
struct Case {
    store: Store,
    spec: FieldSpec,
    state: State,
    id: Id,
    model: Vec<(u64, Vec<u8>)>,
    /// Counts the rows ever made, so that each has bytes of its own.
    made: u64,
}

fn values(spec: &FieldSpec, made: &mut u64, rows: usize) -> (ArrayRef, Vec<Vec<u8>>) {
    let row = |n: u64| -> Vec<u8> {
        let byte = |i: usize| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (i % 7 * 8)) as u8 ^ i as u8;
        (0..spec.row_bytes()).map(byte).map(|b| if spec.dtype() == DType::Bool { b & 1 } else { b }).collect()
    };
    let all: Vec<Vec<u8>> = (*made..*made + rows as u64).map(row).collect();
    *made += rows as u64;
    let array = arrow::array_from_buffer(spec, Buffer::from_vec(all.concat()), rows).unwrap().array;
    (array, all)
}

impl Case {
    /// `rows` committed rows, appended by `chunk`.
    fn new(spec: FieldSpec, rows: usize, chunk: usize, shard_bytes: u64) -> Self {
        let store = Store::memory();
        let mut tx = store.begin().unwrap();
        tx.create("a", vec![spec.clone()], ArrayOptions { shard_bytes, ..ArrayOptions::default() }).unwrap();
        tx.commit().unwrap();
        let (mut made, mut model) = (0, Vec::new());
        while model.len() < rows {
            let (array, bytes) = values(&spec, &mut made, chunk.min(rows - model.len()));
            let schema = Arc::new(Schema::new(vec![arrow::to_field(&spec)]));
            let mut tx = store.begin().unwrap();
            tx.append("a", &RecordBatch::try_new(schema, vec![array]).unwrap()).unwrap();
            tx.commit().unwrap();
            model.extend(bytes);
        }
        let state = store.snapshot().unwrap().state().as_ref().clone();
        let id = state.arrays().next().unwrap().id;
        let mut case = Self { store, spec, state, id, model: Vec::new(), made };
        let rows: Vec<u64> = (0..model.len() as u64).collect();
        case.model = case.array().addresses(&rows).unwrap().0.into_iter().zip(model).collect();
        case
    }

    fn array(&self) -> Array {
        let array = self.store.snapshot().unwrap().array("a").unwrap();
        Array { state: self.state.array(self.id).unwrap().clone(), ..array }
    }

    fn append(&mut self, rows: usize) {
        let (array, bytes) = values(&self.spec, &mut self.made, rows);
        let state = self.state.array_mut(self.id).unwrap();
        let first = state.push_memory_segment(vec![array], rows as u64).unwrap();
        self.model.extend((first..).zip(bytes));
    }

    fn replace(&mut self, rows: &[usize]) {
        let (array, bytes) = values(&self.spec, &mut self.made, rows.len());
        let addresses: Vec<u64> = rows.iter().map(|&row| self.model[row].0).collect();
        for (&row, bytes) in rows.iter().zip(bytes) {
            self.model[row].1 = bytes;
        }
        let state = self.state.array_mut(self.id).unwrap();
        state.push_memory_patch(0, Arc::new(UInt64Array::from(addresses)), array);
    }

    fn delete(&mut self, rows: &[usize]) {
        let addresses: Vec<u64> = rows.iter().map(|&row| self.model[row].0).collect();
        let array = self.array();
        let state = self.state.array_mut(self.id).unwrap();
        state.delete_addresses(array.store.storage.as_ref(), &addresses).unwrap();
        self.model.retain(|(address, _)| !addresses.contains(address));
    }

    /// Another length of the first axis, which the rows in files then have clipped or filled.
    fn resize(&mut self, axis: usize) {
        let (step, mut cell) = (self.spec.row_bytes() / self.spec.cell()[0], self.spec.cell().to_vec());
        cell[0] = axis;
        let action = Action::Resize(Resize { array: self.id, field: 0, cell: cell.clone() });
        let (version, time) = (self.state.version + 1, self.state.time + 1);
        let entry = Entry {
            version,
            base: version - 1,
            txn: Id::random(),
            prev: self.state.chain,
            time,
            sync: SyncMode::Os,
            writer: String::new(),
            message: None,
            actions: vec![action],
        };
        self.state.apply(&entry, self.state.chain, 0).unwrap();
        self.spec = self.spec.with_cell(cell).unwrap();
        self.model.iter_mut().for_each(|(_, bytes)| bytes.resize(axis * step, 0));
    }

    fn bytes(&self, array: &ArrayRef) -> Vec<u8> {
        arrow::raw_bytes(&self.spec, array.as_ref(), 0).unwrap().to_vec()
    }

    fn expected(&self, rows: impl IntoIterator<Item = usize>) -> Vec<u8> {
        rows.into_iter().flat_map(|row| self.model[row].1.clone()).collect()
    }

    fn check(&self, ranges: &[(usize, usize)]) {
        let array = self.array();
        let rows = self.model.len();
        assert_eq!(array.rows(), rows as u64);
        let (mut row, mut all) = (0, Vec::new());
        while row < array.rows() {
            let end = array.run_end(0, row);
            assert!(end > row && end <= array.rows(), "{row}..{end} of {rows}");
            let block = array.read(0, row..end).unwrap();
            assert_eq!(block.array.data_type(), &arrow::data_type(&self.spec));
            assert!(block.copied <= DIRTY_BYTES);
            all.extend(self.bytes(&block.array));
            row = end;
        }
        assert_eq!(all, self.expected(0..rows));
        for &(a, b) in ranges {
            let (start, end) = (a.min(b) % (rows + 1), a.max(b) % (rows + 1));
            let (start, end) = (start.min(end), start.max(end));
            let block = array.read(0, start as u64..end as u64).unwrap();
            assert_eq!(self.bytes(&block.array), self.expected(start..end), "{start}..{end} of {rows}");
        }
        let scattered: Vec<usize> =
            ranges.iter().filter(|_| rows > 0).flat_map(|&(a, b)| [a % rows, b % rows]).collect();
        let wanted: Vec<u64> = scattered.iter().map(|&row| row as u64).collect();
        assert_eq!(self.bytes(&array.take(0, &wanted).unwrap().array), self.expected(scattered));
        for (row, &(address, _)) in self.model.iter().enumerate().step_by(7) {
            let rank = array.state.rank_of(array.store.storage.as_ref(), address).unwrap();
            assert_eq!(rank, Some(row as u64));
        }
        if self.spec.dtype() == DType::Float32 {
            let slice = array.field("value").unwrap().slice::<f32>(&Selection::parse("::-3").unwrap()).unwrap();
            let bytes: Vec<u8> = slice.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(bytes, self.expected((0..rows).rev().step_by(3)));
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Replace(Vec<usize>),
    ReplaceRange(usize, usize),
    Delete(Vec<usize>),
    DeleteRange(usize, usize),
    Resize(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let rows = || prop::collection::vec(any::<usize>(), 1..20);
    prop_oneof![
        (1_usize..50).prop_map(Step::Append),
        rows().prop_map(Step::Replace),
        (any::<usize>(), 1_usize..300).prop_map(|(start, len)| Step::ReplaceRange(start, len)),
        rows().prop_map(Step::Delete),
        (any::<usize>(), 1_usize..100).prop_map(|(start, len)| Step::DeleteRange(start, len)),
        (1_usize..5).prop_map(Step::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever was appended, replaced, deleted and resized, every way of reading gives what counting gives.
    #[test]
    fn reads_are_those_of_a_list_of_rows(
        kind in 0_usize..4,
        chunk in 50_usize..400,
        steps in prop::collection::vec(step(), 0..12),
        ranges in prop::collection::vec((any::<usize>(), any::<usize>()), 1..6),
    ) {
        let (dtype, cell) = [
            (DType::Float32, vec![2]),
            (DType::Int64, vec![]),
            (DType::Bool, vec![3]),
            (DType::Complex64, vec![2, 2]),
        ][kind].clone();
        let mut case = Case::new(FieldSpec::new("value", dtype, cell).unwrap(), 600, chunk, 4096);
        for step in steps {
            let n = case.model.len();
            let within = |rows: Vec<usize>| -> Vec<usize> { rows.into_iter().map(|row| row % n).collect() };
            match step {
                Step::Append(rows) => case.append(rows),
                Step::Resize(axis) if !case.spec.cell().is_empty() && !has_memory(&case) => case.resize(axis),
                _ if n == 0 => {}
                Step::Replace(rows) => case.replace(&within(rows)),
                Step::ReplaceRange(start, len) => case.replace(&(start % n..(start % n + len).min(n)).collect::<Vec<_>>()),
                Step::Delete(rows) => case.delete(&within(rows)),
                Step::DeleteRange(start, len) => case.delete(&(start % n..(start % n + len).min(n)).collect::<Vec<_>>()),
                Step::Resize(_) => {}
            }
            case.check(&ranges);
        }
    }
}

fn has_memory(case: &Case) -> bool {
    let array = case.state.array(case.id).unwrap();
    array.segments().iter().any(|s| s.memory.is_some()) || array.patches(0).iter().any(|p| p.rows.memory.is_some())
}

/// The blocks of all rows: rows, and bytes copied.
fn blocks(array: &Array) -> Vec<(u64, u64)> {
    let (mut row, mut blocks) = (0, Vec::new());
    while row < array.rows() {
        let end = array.run_end(0, row);
        blocks.push((end - row, array.read(0, row..end).unwrap().copied));
        row = end;
    }
    blocks
}

#[test]
fn clean_stretches_are_views_and_others_copies_of_512_kib_at_most() {
    // 256 bytes a row: 256 rows are a clean stretch, 2048 a dirty block.
    let spec = FieldSpec::new("value", DType::Float32, vec![64]).unwrap();
    let mut case = Case::new(spec, 40_000, 40_000, 64 << 20);
    assert_eq!(blocks(&case.array()), [(40_000, 0)]);
    case.replace(&[1000]);
    assert_eq!(blocks(&case.array()), [(1000, 0), (1, 0), (38_999, 0)], "the patch is a view too");
    case.delete(&[5000]);
    case.replace(&[20_000, 20_100]);
    case.check(&[(900, 1100), (4990, 5010), (19_990, 20_200)]);
    let clean: u64 = blocks(&case.array()).iter().filter(|b| b.1 == 0).map(|b| b.0).sum();
    assert!(clean >= 39_999 - 103, "{clean} of 39999 rows are views");
    // Every 50th row is replaced or deleted: nothing is clean.
    let even: Vec<usize> = (0..39_000).step_by(100).collect();
    case.replace(&even);
    case.delete(&even.iter().map(|row| row + 50).collect::<Vec<_>>());
    let blocks = blocks(&case.array());
    assert!(blocks.iter().all(|&(rows, copied)| copied <= DIRTY_BYTES && (copied == 0 || copied == rows * 256)));
    assert!(blocks.iter().take(18).all(|&(rows, _)| rows == 2048), "{blocks:?}");
    case.check(&[(0, 39_000)]);
}

#[test]
fn rows_that_were_all_replaced_are_read_from_the_patches_without_a_copy() {
    let spec = FieldSpec::new("value", DType::Int64, vec![]).unwrap();
    let mut case = Case::new(spec, 100_000, 100_000, 64 << 20);
    case.replace(&(0..100_000).collect::<Vec<_>>());
    assert_eq!(blocks(&case.array()), [(100_000, 0)]);
    case.check(&[(0, 100_000)]);
}

#[test]
fn an_array_whose_rows_are_all_deleted_is_empty() {
    let spec = FieldSpec::new("value", DType::Float32, vec![2]).unwrap();
    let mut case = Case::new(spec, 600, 200, 4096);
    case.delete(&(0..600).collect::<Vec<_>>());
    case.check(&[(0, 0)]);
    let empty = case.array().read(0, 0..0).unwrap();
    assert_eq!(&empty.array, &new_empty_array(&arrow::data_type(&case.spec)));
    assert!(case.array().read(0, 0..1).is_err() && case.array().take(0, &[0]).is_err());
    case.append(3);
    case.check(&[(0, 3)]);
}
