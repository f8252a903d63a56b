//! The storage table of `docs/benchmarks.md`, our column: prints one JSON object, milliseconds by operation.
//!
//! `compare.py` runs it beside the peers. Every figure is the least of some repetitions, as Python's `timeit` gives.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench, which prints its figures")]

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use hyperslab_core::{ArraySource, DType, FieldSpec, Result};
use hyperslab_store::{ArrayOptions, Durability, OpenOptions, Store, Transaction};
use ndarray::Array2;

const REPEAT: usize = 3;

type Figures = BTreeMap<&'static str, f64>;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>().unwrap());
    let (rows, cols) = (arguments.next().unwrap_or(1_000_000), arguments.next().unwrap_or(10));
    let folder = std::env::var_os("BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let mut figures = Figures::new();
    whole(&mut figures, folder.path(), &noise(rows, cols));
    edits(&mut figures, folder.path(), rows, cols);
    overlay(&mut figures, folder.path());
    floors(&mut figures, folder.path(), cols);
    println!("{}", serde_json::to_string_pretty(&figures).unwrap());
}

/// The least time of a call in milliseconds: `number` calls, a few times; `setup` is not measured.
fn least<T>(number: usize, mut setup: impl FnMut() -> T, mut call: impl FnMut(&mut T)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..REPEAT {
        let mut state = setup();
        let start = Instant::now();
        for _ in 0..number {
            call(&mut state);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e3 / number as f64);
    }
    best
}

fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) % n as u64) as usize
    }
}

fn noise(rows: usize, cols: usize) -> Array2<f32> {
    let mut random = random(1);
    Array2::from_shape_fn((rows, cols), |_| random(1 << 24) as f32 / (1 << 24) as f32)
}

fn open(path: &Path, durability: Durability) -> Store {
    Store::open_with(path, OpenOptions { create: true, durability, ..OpenOptions::default() }).unwrap()
}

fn save(store: &Store, values: &Array2<f32>) {
    let mut tx = store.begin().unwrap();
    if tx.contains("a") {
        tx.drop_array("a").unwrap();
    }
    let field = FieldSpec::new("value", DType::Float32, vec![values.ncols()]).unwrap();
    tx.create("a", vec![field], ArrayOptions::default()).unwrap();
    tx.append_ndarray("a", values).unwrap();
    tx.commit().unwrap();
}

/// In 32 lanes, as a compiler vectorises.
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 32];
    let blocks = values.chunks_exact(32);
    let tail: f32 = blocks.remainder().iter().sum();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, x)| *lane += x);
    }
    lanes.iter().sum::<f32>() + tail
}

fn field_view(store: &Store) -> hyperslab_store::View<f32> {
    store.snapshot().unwrap().array("a").unwrap().field("value").unwrap().view::<f32>().unwrap()
}

/// Saving, loading, opening, random rows.
fn whole(figures: &mut Figures, folder: &Path, values: &Array2<f32>) {
    let path = folder.join("whole.slab");
    let store = open(&path, Durability::Os);
    figures.insert("save", least(1, || (), |()| save(&store, values)));
    let full = open(&path, Durability::Full);
    figures.insert("save, full", least(1, || (), |()| save(&full, values)));
    drop((store, full));

    let store = open(&path, Durability::Os);
    let load = || drop(black_box(field_view(&store).to_vec()));
    figures.insert("full load", least(5, || (), |()| load()));
    figures.insert(
        "view, summed",
        least(
            5,
            || (),
            |()| {
                black_box(sum(field_view(&store).as_slice()));
            },
        ),
    );
    let shard = shards(&path).pop().unwrap();
    let file = File::open(shard).unwrap();
    #[expect(unsafe_code, reason = "a map of a file that nobody writes")]
    // SAFETY: nothing writes to the store while this runs.
    let mapped = || unsafe { memmap2::Mmap::map(&file) }.unwrap();
    let floor = |map: &[u8]| {
        let (_, floats, _) = bytes_as_floats(map.get(4096..).unwrap());
        black_box(sum(floats.get(..values.len()).unwrap()));
    };
    figures.insert("view, summed: floor", least(5, || (), |()| floor(&mapped())));

    let array = || store.snapshot().unwrap().array("a").unwrap();
    figures.insert("lazy open", least(10, || (), |()| drop(black_box(array()))));
    figures.insert(
        "open the store",
        least(
            10,
            || (),
            |()| {
                drop(black_box(open(&path, Durability::Os).snapshot().unwrap().array("a").unwrap()));
            },
        ),
    );
    let array = array();
    for (what, n) in [("random 100", 100), ("random 1000", 1000), ("random 10000", 10_000)] {
        let mut random = random(n as u64);
        let rows: Vec<u64> = (0..n).map(|_| random(values.nrows()) as u64).collect();
        figures.insert(what, least(20, || (), |()| drop(black_box(array.take(0, &rows).unwrap()))));
    }
}

#[expect(unsafe_code, reason = "bytes of a map as floats")]
fn bytes_as_floats(bytes: &[u8]) -> (&[u8], &[f32], &[u8]) {
    // SAFETY: every bit pattern is a float.
    unsafe { bytes.align_to::<f32>() }
}

fn shards(path: &Path) -> Vec<std::path::PathBuf> {
    let array = std::fs::read_dir(path.join("arrays")).unwrap().map(|e| e.unwrap());
    // The newest array: those saved over are still there, for older versions.
    let newest = array.max_by_key(|e| e.metadata().unwrap().modified().unwrap()).unwrap().path();
    std::fs::read_dir(newest).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some()).collect()
}

/// Puts a figure in the table, or says on stderr why there is none.
fn put(figures: &mut Figures, what: &'static str, figure: std::result::Result<f64, impl std::fmt::Display>) {
    match figure {
        Ok(figure) => drop(figures.insert(what, figure)),
        Err(e) => {
            #[expect(clippy::print_stderr, reason = "so that an empty cell is explained")]
            {
                eprintln!("{what}: {e}");
            }
        }
    }
}

/// A change in an open transaction, and what its commit costs: the least of `n` transactions.
fn change(store: &Store, n: usize, change: impl Fn(&mut Transaction) -> Result<()>) -> Result<(f64, f64)> {
    let (mut inside, mut commit) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..n {
        let mut tx = store.begin()?;
        // The first touch of an array resolves its name and notes its base: numpack's is done when it is opened.
        change(&mut tx)?;
        let start = Instant::now();
        change(&mut tx)?;
        inside = inside.min(start.elapsed().as_secs_f64() * 1e3);
        drop(tx);
        let mut tx = store.begin()?;
        change(&mut tx)?;
        let start = Instant::now();
        tx.commit()?;
        commit = commit.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok((inside, commit))
}

/// Appending and replacing, inside a transaction and committed.
fn edits(figures: &mut Figures, folder: &Path, rows: usize, cols: usize) {
    let new = noise(100, cols);
    let first: Vec<i64> = (0..100).collect();
    let mut random = random(7);
    let scattered: Vec<i64> = (0..100).map(|_| random(rows) as i64).collect();
    for (durability, names) in [
        (Durability::Os, ["append 100", "append 100, commit os", "replace 100", "replace 100, commit os"]),
        (Durability::Full, ["", "append 100, commit full", "", "replace 100, commit full"]),
    ] {
        let path = folder.join(format!("edits-{durability:?}.slab"));
        let store = open(&path, durability);
        save(&store, &noise(rows, cols));
        let append = change(&store, 30, |tx| tx.append_ndarray("a", &new));
        let replace = change(&store, 30, |tx| tx.replace_ndarray("a", "value", &first, &new));
        for (done, inside, commit) in [(append, names[0], names[1]), (replace, names[2], names[3])] {
            if !inside.is_empty() {
                put(figures, inside, done.as_ref().map(|d| d.0));
            }
            put(figures, commit, done.map(|d| d.1));
        }
        if durability == Durability::Os {
            let done = change(&store, 30, |tx| tx.replace_ndarray("a", "value", &scattered, &new));
            put(figures, "replace 100 scattered", done.map(|d| d.0));
            put(figures, "100 edits of 10 rows", hundred_edits(&store));
        }
    }
}

/// What numpack's writable batch mode does, and a commit: the same ten rows negated a hundred times.
fn hundred_edits(store: &Store) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let start = Instant::now();
        let mut tx = store.begin()?;
        for _ in 0..100 {
            let mut ten = tx.rows_mut::<f32>("a", "value", 0..10)?;
            *ten *= -1.0;
            ten.write()?;
        }
        tx.commit()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

/// Summing 1M × 128 values, clean, and after 1 % of the rows were replaced and 1 % deleted at random.
fn overlay(figures: &mut Figures, folder: &Path) {
    const ROWS: usize = 1_000_000;
    const COLS: usize = 128;
    let store = open(&folder.join("overlay.slab"), Durability::Os);
    let values = noise(ROWS / 10, COLS);
    let mut tx = store.begin().unwrap();
    let field = FieldSpec::new("value", DType::Float32, vec![COLS]).unwrap();
    tx.create("a", vec![field], ArrayOptions::default()).unwrap();
    (0..10).for_each(|_| tx.append_ndarray("a", &values).unwrap());
    tx.commit().unwrap();
    figures.insert(
        "sum 1M x 128",
        least(
            1,
            || (),
            |()| {
                black_box(sum_batches(&store).unwrap());
            },
        ),
    );
    let edit = || -> Result<f64> {
        let mut random = random(3);
        let mut pick = || (0..ROWS / 100).map(|_| random(ROWS) as i64).collect::<Vec<_>>();
        let mut tx = store.begin()?;
        tx.replace_ndarray("a", "value", &pick(), &noise(ROWS / 100, COLS))?;
        tx.delete("a", &pick())?;
        tx.commit()?;
        let mut figure = f64::INFINITY;
        for _ in 0..REPEAT {
            let start = Instant::now();
            black_box(sum_batches(&store)?);
            figure = figure.min(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(figure)
    };
    put(figures, "sum 1M x 128, edited", edit());
}

/// As a scan does: batch by batch, each ending where its rows stop being in one place.
fn sum_batches(store: &Store) -> Result<f32> {
    let array = store.snapshot()?.array("a")?;
    let (mut row, mut total) = (0, 0.0);
    while row < array.rows() {
        let end = array.run_end(0, row).min(row + 8192);
        let block = array.read(0, row..end)?;
        let data = block.array.to_data();
        let child = data.child_data().first().unwrap();
        let values = child.buffers().first().unwrap().typed_data::<f32>();
        let (offset, len) = ((data.offset()) * 128 + child.offset(), data.len() * 128);
        total += sum(values.get(offset..offset + len).unwrap());
        row = end;
    }
    Ok(total)
}

/// The system calls that a commit of 100 rows cannot do without, as files are written here.
fn floors(figures: &mut Figures, folder: &Path, cols: usize) {
    let path = folder.join("floor");
    std::fs::create_dir(&path).unwrap();
    let bytes = vec![1_u8; 100 * cols * 4];
    let data: Vec<File> = (0..2).map(|n| File::create_new(path.join(format!("data{n}"))).unwrap()).collect();
    let mut n = 0_u64;
    let mut commit = |files: usize, sync: bool| {
        n += 1;
        for file in data.iter().take(files) {
            file.write_all_at(&bytes, 4096 + n * bytes.len() as u64).unwrap();
            if sync {
                file.sync_data().unwrap();
            }
        }
        let (entry, name) = (path.join("entry.tmp"), path.join(n.to_string()));
        let file = File::create_new(&entry).unwrap();
        file.write_all_at(&[b'x'; 500], 0).unwrap();
        if sync {
            file.sync_data().unwrap();
        }
        std::fs::rename(&entry, name).unwrap();
        if sync {
            File::open(&path).unwrap().sync_all().unwrap();
        }
    };
    figures.insert("commit os: floor", least(10, || (), |()| commit(2, false)));
    figures.insert("append 100, commit full: floor", least(10, || (), |()| commit(1, true)));
    figures.insert("replace 100, commit full: floor", least(10, || (), |()| commit(2, true)));
}
