//! A plain model of a store, and random transactions that are done to the model and to the store alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, Int64Array, LargeStringArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::Schema;
use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec, Result, arrow};
use hyperslab_store::{Array, ArrayOptions, IndexOptions, Snapshot, Transaction};

use crate::common::Random;

/// The name of every array's index.
pub(crate) const INDEX: &str = "i";

/// One cell: its elements, the number that a text is made of, or `NULL` alone.
pub(crate) type Cell = Vec<i64>;

const NULL: i64 = i64::MIN;

/// A text of any length that says its number; 0 is the empty one.
fn text(n: i64) -> String {
    if n == 0 { String::new() } else { format!("{n};{}", "é".repeat(n as usize % 30)) }
}

fn number(text: &str) -> i64 {
    let n = text.split_once(';').map_or(0, |(n, _)| n.parse().unwrap());
    assert_eq!(text, self::text(n));
    n
}

/// What nobody wrote.
fn fill(spec: &FieldSpec) -> Cell {
    if spec.nullable() { vec![NULL] } else { vec![0; spec.elements()] }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub fields: Vec<FieldSpec>,
    /// By row, by field.
    pub rows: Vec<Vec<Cell>>,
}

pub(crate) type World = BTreeMap<String, Table>;

/// One change, with all that it needs, so that it can be done again.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(String, Vec<FieldSpec>, u64),
    Append(String, Vec<Vec<Cell>>),
    /// Positions, fields, rows of these fields.
    Replace(String, Vec<i64>, Vec<usize>, Vec<Vec<Cell>>),
    Delete(String, Vec<i64>),
    Truncate(String),
    Resize(String, u64),
    ResizeCell(String, usize, Vec<usize>),
    AddField(String, FieldSpec),
    DropField(String, usize),
    RenameField(String, usize, String),
    Clone(String, String),
    Rename(String, String),
    Drop(String),
    Restore(String, u64),
    /// The array's index is dropped, or made of a field.
    Index(String, usize),
    Tag(String, u64),
    /// Done and then rolled back to a savepoint.
    Undone(Vec<Op>),
}

fn specs(table: &Table, fields: &[usize]) -> Vec<FieldSpec> {
    fields.iter().map(|&f| table.fields[f].clone()).collect()
}

fn column(spec: &FieldSpec, cells: impl Iterator<Item = Cell>) -> ArrayRef {
    let one = |cell: Cell| (cell[0] != NULL).then_some(cell[0]);
    if spec.dtype() == DType::Utf8 {
        return Arc::new(cells.map(|cell| one(cell).map(text)).collect::<LargeStringArray>());
    }
    if spec.nullable() {
        return Arc::new(cells.map(one).collect::<Int64Array>());
    }
    let mut elements: Vec<i64> = Vec::new();
    let mut rows = 0;
    for cell in cells {
        assert_eq!(cell.len(), spec.elements());
        elements.extend(cell);
        rows += 1;
    }
    arrow::array_from_buffer(spec, Buffer::from_vec(elements), rows).unwrap().array
}

pub(crate) fn batch(specs: &[FieldSpec], rows: &[Vec<Cell>]) -> RecordBatch {
    let schema = Schema::new(specs.iter().map(arrow::to_field).collect::<Vec<_>>());
    let columns = specs.iter().enumerate().map(|(f, spec)| column(spec, rows.iter().map(|row| row[f].clone())));
    RecordBatch::try_new(Arc::new(schema), columns.collect()).unwrap()
}

fn cells(spec: &FieldSpec, column: &ArrayRef) -> Vec<Cell> {
    if spec.dtype() == DType::Utf8 {
        let texts = column.as_any().downcast_ref::<LargeStringArray>().unwrap();
        return texts.iter().map(|t| vec![t.map_or(NULL, number)]).collect();
    }
    if spec.nullable() {
        let numbers = column.as_any().downcast_ref::<Int64Array>().unwrap();
        return numbers.iter().map(|n| vec![n.unwrap_or(NULL)]).collect();
    }
    let bytes = arrow::raw_bytes(spec, column.as_ref(), 0).unwrap();
    let elements = bytes.typed_data::<i64>();
    match spec.elements() {
        0 => vec![Vec::new(); column.len()],
        n => elements.chunks(n).map(<[i64]>::to_vec).collect(),
    }
}

/// An array as a table, read in one go, or run by run and row by row.
fn table(array: &Array, random: &mut Random) -> Result<Table> {
    crate::indexes::known(array)?;
    let rows = array.rows();
    let mut by_row = vec![Vec::new(); rows as usize];
    for (f, spec) in array.fields().iter().enumerate() {
        let mut found = Vec::new();
        match random.below(3) {
            0 if rows > 0 => found = cells(spec, &array.read(f, 0..rows)?.array),
            1 => {
                let all: Vec<u64> = (0..rows).rev().collect();
                found = cells(spec, &array.take(f, &all)?.array);
                found.reverse();
            }
            _ => {
                while (found.len() as u64) < rows {
                    let row = found.len() as u64;
                    let end = array.run_end(f, row);
                    assert!(end > row && end <= rows, "run of row {row} ends at {end} of {rows}");
                    let end = end.min(row + 1 + random.below(100) as u64);
                    found.extend(cells(spec, &array.read(f, row..end)?.array));
                }
            }
        }
        assert_eq!(found.len() as u64, rows);
        by_row.iter_mut().zip(found).for_each(|(row, cell)| row.push(cell));
    }
    Ok(Table { fields: array.fields().to_vec(), rows: by_row })
}

/// Everything that a snapshot shows.
pub(crate) fn world(snapshot: &Snapshot, random: &mut Random) -> Result<World> {
    let names = snapshot.arrays("public").into_iter();
    names.map(|name| Ok((name.clone(), table(&snapshot.array(name.as_str())?, random)?))).collect()
}

/// Where two worlds differ, in a line.
pub(crate) fn difference(left: &World, right: &World) -> String {
    if !left.keys().eq(right.keys()) {
        return format!("arrays {:?} and {:?}", left.keys(), right.keys());
    }
    for (name, l) in left {
        let r = &right[name];
        if l.fields != r.fields {
            return format!("{name}: fields {:?} and {:?}", l.fields, r.fields);
        }
        if l.rows.len() != r.rows.len() {
            return format!("{name}: {} and {} rows", l.rows.len(), r.rows.len());
        }
        if let Some(row) = (0..l.rows.len()).find(|&row| l.rows[row] != r.rows[row]) {
            return format!("{name}, row {row}: {:?} and {:?}", l.rows[row], r.rows[row]);
        }
    }
    "none".to_owned()
}

/// A cell in another shape: what both have stays, what is new is 0.
fn reshaped(cell: &Cell, from: &[usize], to: &[usize]) -> Cell {
    let mut new = vec![0; to.iter().product()];
    let strides =
        |shape: &[usize]| -> Vec<usize> { (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect() };
    let (old_strides, new_strides) = (strides(from), strides(to));
    for (at, &element) in cell.iter().enumerate() {
        let index: Vec<usize> = old_strides.iter().zip(from).map(|(s, n)| at / s % n).collect();
        if index.iter().zip(to).all(|(i, n)| i < n) {
            new[index.iter().zip(&new_strides).map(|(i, s)| i * s).sum::<usize>()] = element;
        }
    }
    new
}

fn position(row: i64, rows: usize) -> usize {
    usize::try_from(if row < 0 { row + rows as i64 } else { row }).unwrap()
}

impl Op {
    /// Does it to the model.
    pub(crate) fn model(&self, world: &mut World, history: &BTreeMap<u64, World>) {
        match self {
            Self::Create(name, fields, _) => {
                world.insert(name.clone(), Table { fields: fields.clone(), rows: Vec::new() });
            }
            Self::Append(name, rows) => world.get_mut(name).unwrap().rows.extend(rows.iter().cloned()),
            Self::Replace(name, positions, fields, rows) => {
                let table = world.get_mut(name).unwrap();
                let len = table.rows.len();
                for (&at, row) in positions.iter().zip(rows) {
                    for (&field, cell) in fields.iter().zip(row) {
                        table.rows[position(at, len)][field] = cell.clone();
                    }
                }
            }
            Self::Delete(name, positions) => {
                let table = world.get_mut(name).unwrap();
                let len = table.rows.len();
                let mut gone: Vec<usize> = positions.iter().map(|&at| position(at, len)).collect();
                gone.sort_unstable();
                gone.dedup();
                gone.iter().rev().for_each(|&at| drop(table.rows.remove(at)));
            }
            Self::Truncate(name) => world.get_mut(name).unwrap().rows.clear(),
            Self::Resize(name, rows) => {
                let table = world.get_mut(name).unwrap();
                let fill: Vec<Cell> = table.fields.iter().map(fill).collect();
                table.rows.resize(*rows as usize, fill);
            }
            Self::ResizeCell(name, field, cell) => {
                let table = world.get_mut(name).unwrap();
                let old = table.fields[*field].clone();
                table.fields[*field] = FieldSpec::new(old.name(), old.dtype(), cell.clone()).unwrap();
                table.rows.iter_mut().for_each(|row| row[*field] = reshaped(&row[*field], old.cell(), cell));
            }
            Self::AddField(name, field) => {
                let table = world.get_mut(name).unwrap();
                table.fields.push(field.clone());
                table.rows.iter_mut().for_each(|row| row.push(fill(field)));
            }
            Self::DropField(name, field) => {
                let table = world.get_mut(name).unwrap();
                table.fields.remove(*field);
                table.rows.iter_mut().for_each(|row| drop(row.remove(*field)));
            }
            Self::RenameField(name, field, to) => {
                let fields = &mut world.get_mut(name).unwrap().fields;
                fields[*field] = fields[*field].renamed(to.as_str()).unwrap();
            }
            Self::Clone(from, to) => drop(world.insert(to.clone(), world[from].clone())),
            Self::Rename(from, to) => {
                let table = world.remove(from).unwrap();
                world.insert(to.clone(), table);
            }
            Self::Drop(name) => drop(world.remove(name)),
            Self::Restore(name, version) => drop(world.insert(name.clone(), history[version][name].clone())),
            Self::Tag(..) | Self::Index(..) | Self::Undone(_) => {}
        }
    }

    /// Does it to a transaction.
    pub(crate) fn run(&self, tx: &mut Transaction) -> Result<()> {
        match self {
            Self::Create(name, fields, shard_bytes) => tx.create(
                name.as_str(),
                fields.clone(),
                ArrayOptions { shard_bytes: *shard_bytes, ..ArrayOptions::default() },
            ),
            Self::Append(name, rows) => {
                let fields = tx.fields(name.as_str())?;
                tx.append(name.as_str(), &batch(&fields, rows))
            }
            Self::Replace(name, positions, fields, rows) => {
                let all = Table { fields: tx.fields(name.as_str())?, rows: Vec::new() };
                tx.replace(name.as_str(), positions, &batch(&specs(&all, fields), rows))
            }
            Self::Delete(name, positions) => tx.delete(name.as_str(), positions).map(drop),
            Self::Truncate(name) => tx.truncate(name.as_str()).map(drop),
            Self::Resize(name, rows) => tx.resize(name.as_str(), *rows),
            Self::ResizeCell(name, field, cell) => {
                let field = tx.fields(name.as_str())?[*field].name().to_owned();
                without_index(tx, name)?;
                tx.resize_cell(name.as_str(), &field, cell)
            }
            Self::AddField(name, field) => tx.add_field(name.as_str(), field.clone()),
            Self::DropField(name, field) => {
                let field = tx.fields(name.as_str())?[*field].name().to_owned();
                tx.drop_field(name.as_str(), &field)
            }
            Self::RenameField(name, field, to) => {
                let field = tx.fields(name.as_str())?[*field].name().to_owned();
                tx.rename_field(name.as_str(), &field, to)
            }
            Self::Clone(from, to) => tx.clone_array(from.as_str(), to.as_str()),
            Self::Rename(from, to) => tx.rename(from.as_str(), to.as_str()),
            Self::Drop(name) => tx.drop_array(name.as_str()),
            Self::Restore(name, version) => tx.restore(name.as_str(), *version),
            Self::Tag(tag, version) => tx.set_tag(tag, *version),
            Self::Index(name, field) => {
                if without_index(tx, name)? {
                    return Ok(());
                }
                let field = tx.fields(name.as_str())?[*field].name().to_owned();
                tx.create_index(name.as_str(), INDEX, &field, "checksums", &IndexOptions::new())
            }
            Self::Undone(ops) => {
                let savepoint = tx.savepoint()?;
                ops.iter().try_for_each(|op| op.run(tx))?;
                tx.rollback_to(&savepoint)
            }
        }
    }

    /// A change that the model allows, at random.
    pub(crate) fn any(random: &mut Random, world: &World, history: &BTreeMap<u64, World>, depth: usize) -> Self {
        let name = |random: &mut Random| format!("a{}", random.below(6));
        let free = |random: &mut Random| (0..10).map(|_| name(random)).find(|n| !world.contains_key(n));
        let Some((at, table)) = world.iter().nth(random.below(world.len().max(1))) else {
            return Self::Create(name(random), fields(random), shard_bytes(random));
        };
        let (array, rows) = (at.clone(), table.rows.len());
        let field = random.below(table.fields.len());
        match random.below(32) {
            30 if !table.fields[field].nullable()
                && table.fields[field].dtype() == DType::Int64
                && table.fields[field].elements() > 0 =>
            {
                Self::Index(array, field)
            }
            0 | 1 if let Some(name) = free(random) => Self::Create(name, fields(random), shard_bytes(random)),
            2..=9 if rows > 0 => {
                let fields: Vec<usize> =
                    (0..table.fields.len()).filter(|&f| f == field || random.below(2) == 0).collect();
                let positions = positions(random, rows);
                let new = new_rows(random, &specs(table, &fields), positions.len());
                Self::Replace(array, positions, fields, new)
            }
            10..=15 if rows > 0 => Self::Delete(array, positions(random, rows)),
            16 => Self::Truncate(array),
            17 => Self::Resize(array, random.below(2 * rows + 20) as u64),
            18 if !table.fields[field].cell().is_empty() => {
                let cell = table.fields[field].cell().iter().map(|_| random.below(4)).collect();
                Self::ResizeCell(array, field, cell)
            }
            19 if let Some(spec) = free_field(random, table) => Self::AddField(array, spec),
            20 if table.fields.len() > 1 => Self::DropField(array, field),
            21 if let Some(spec) = free_field(random, table) => Self::RenameField(array, field, spec.name().to_owned()),
            22 if let Some(to) = free(random) => Self::Clone(array, to),
            23 if let Some(to) = free(random) => Self::Rename(array, to),
            24 => Self::Drop(array),
            25 => {
                let version = history.keys().nth(random.below(history.len().max(1))).copied();
                match version.filter(|v| history[v].contains_key(&array)) {
                    Some(version) => Self::Restore(array, version),
                    None => Self::Truncate(array),
                }
            }
            26 if let Some(version) = history.keys().nth(random.below(history.len().max(1))) => {
                Self::Tag(format!("t{}", random.below(3)), *version)
            }
            27 | 28 if depth == 0 => Self::Undone(transaction(random, world, history, 1).0),
            _ => {
                let n = [1, 3, 30, 300][random.below(4)];
                let n = random.below(n) + 1;
                Self::Append(array, new_rows(random, &table.fields, n))
            }
        }
    }
}

/// Drops the index of an array; false if it has none.
fn without_index(tx: &mut Transaction, array: &str) -> Result<bool> {
    match tx.drop_index(array, INDEX) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

/// Some changes, one after the other, and what the world is after them.
pub(crate) fn transaction(
    random: &mut Random,
    before: &World,
    history: &BTreeMap<u64, World>,
    depth: usize,
) -> (Vec<Op>, World) {
    let (mut world, mut known, none) = (before.clone(), history, BTreeMap::new());
    let mut ops = Vec::new();
    for _ in 0..=random.below(5) {
        let op = Op::any(random, &world, known, depth);
        op.model(&mut world, known);
        if matches!(op, Op::Tag(..)) {
            // A tag that moves may let the version go that it kept.
            known = &none;
        }
        ops.push(op);
    }
    (ops, world)
}

/// Arrays with shards of this size are compressed.
const COMPRESSED: u64 = 16 << 10;

fn shard_bytes(random: &mut Random) -> u64 {
    [4096, COMPRESSED, 1 << 20][random.below(3)]
}

fn spec(random: &mut Random, name: &str) -> FieldSpec {
    let dtype = match random.below(8) {
        0 | 1 => DType::Utf8,
        2 => DType::Int64,
        _ => return plain(random, name),
    };
    let nullable = dtype == DType::Int64 || random.below(2) == 0;
    FieldSpec::new(name, dtype, vec![]).unwrap().with_nullable(nullable)
}

fn plain(random: &mut Random, name: &str) -> FieldSpec {
    let axes = random.below(3);
    let cell = (0..axes).map(|_| 1 + random.below(3)).collect();
    FieldSpec::new(name, DType::Int64, cell).unwrap()
}

fn fields(random: &mut Random) -> Vec<FieldSpec> {
    (0..=random.below(3)).map(|f| spec(random, &format!("f{f}"))).collect()
}

fn free_field(random: &mut Random, table: &Table) -> Option<FieldSpec> {
    let name = format!("f{}", random.below(5));
    (table.fields.iter().all(|f| f.name() != name)).then(|| spec(random, &name))
}

/// Scattered, repeated, negative, or a run.
fn positions(random: &mut Random, rows: usize) -> Vec<i64> {
    let n = 1 + random.below(rows.min(20));
    if random.below(3) == 0 {
        let start = random.below(rows - n + 1) as i64;
        return (start..start + n as i64).collect();
    }
    (0..n)
        .map(|_| {
            let row = random.below(rows) as i64;
            if random.below(4) == 0 { row - rows as i64 } else { row }
        })
        .collect()
}

fn new_rows(random: &mut Random, fields: &[FieldSpec], n: usize) -> Vec<Vec<Cell>> {
    let mut cell = |f: &FieldSpec| match f.nullable() && random.below(4) == 0 {
        true => vec![NULL],
        false => (0..f.elements()).map(|_| random.below(1 << 40) as i64 + 1).collect(),
    };
    (0..n).map(|_| fields.iter().map(&mut cell).collect()).collect()
}
