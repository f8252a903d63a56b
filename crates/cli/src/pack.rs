//! `hyperslab pack`, `hyperslab unpack`, `hyperslab info`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, FromArgMatches};
use hyperslab::store::{
    PackInfo, PackOptions, PackReport, UnpackOptions, is_pack, pack_info, unpack as unpack_store, verify_pack,
};
use hyperslab::{Error, ErrorKind, OpenOptions, Result, Store};

use crate::FAILED;
use crate::args::parse_bytes;
use crate::convert::ConvertArgs;
use crate::run::report;

/// `hyperslab pack`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PackArgs {
    /// The store's folder. Others may use it meanwhile
    #[arg(value_name = "STORE")]
    pub(crate) store: PathBuf,

    /// The file to write, for example demo.tar.zst
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,

    /// Keep the versions before the newest that can still be read, with tags and history
    #[arg(long)]
    pub(crate) all_versions: bool,

    /// How hard zstd tries, from -7 to 22
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true)]
    pub(crate) level: i32,

    /// Replace OUT if it is there
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Where the store's further directories are now, in the same order, if they were moved. May be given several times
    #[arg(long = "dir", value_name = "PATH")]
    pub(crate) dirs: Vec<PathBuf>,
}

/// `hyperslab unpack`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UnpackArgs {
    /// The pack
    #[arg(value_name = "PACK")]
    pub(crate) pack: PathBuf,

    /// The store's folder, which must not be there
    #[arg(value_name = "STORE", required_unless_present = "verify")]
    pub(crate) store: Option<PathBuf>,

    /// Read the whole pack and compare its checksums, and write nothing
    #[arg(long)]
    pub(crate) verify: bool,

    /// Replace the store if there is one
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Refuse a pack that unpacks to more, for example 10GiB. Without it, to more than the disk has room for
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) max_size: Option<usize>,
}

/// `hyperslab info`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InfoArgs {
    /// A pack, or a store's folder
    #[arg(value_name = "PACK|STORE")]
    pub(crate) path: PathBuf,

    /// Of a pack: read all of it and compare its checksums
    #[arg(long)]
    pub(crate) verify: bool,
}

/// Packs a store.
pub(crate) fn pack(args: &PackArgs) -> ExitCode {
    done(|out| {
        let start = Instant::now();
        // Not read-only: only who may write can keep a VACUUM off.
        let open = OpenOptions { dirs: args.dirs.clone(), auto_compact: false, ..OpenOptions::default() };
        let store = Store::open_with(&args.store, open)?;
        let options = PackOptions { level: args.level, all_versions: args.all_versions, overwrite: args.overwrite };
        let packed = store.pack(&args.out, &options)?;
        summary(out, "packed", &packed, start)
    })
}

/// Unpacks a pack, or verifies it.
pub(crate) fn unpack(args: &UnpackArgs) -> ExitCode {
    done(|out| {
        let start = Instant::now();
        refuse_foreign(&args.pack)?;
        match &args.store {
            Some(store) if !args.verify => {
                let options = UnpackOptions { overwrite: args.overwrite, max_bytes: args.max_size.map(|n| n as u64) };
                summary(out, "unpacked", &unpack_store(&args.pack, store, &options)?, start)
            }
            _ => summary(out, "verified", &verify_pack(&args.pack)?, start),
        }
    })
}

/// What unpacking a package of NumPack's is: a conversion to a store, which must not be there.
pub(crate) fn as_conversion(args: &UnpackArgs) -> Option<ConvertArgs> {
    let store = args.store.as_ref().filter(|store| !args.verify && store.symlink_metadata().is_err())?;
    if !is_numpack(&args.pack) {
        return None;
    }
    let command = ConvertArgs::augment_args(clap::Command::new("unpack"));
    let arguments = [OsStr::new("unpack"), args.pack.as_os_str(), store.as_os_str(), OsStr::new("--to=store")];
    command.try_get_matches_from(arguments).and_then(|matches| ConvertArgs::from_arg_matches(&matches)).ok()
}

fn is_numpack(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npkg"))
}

/// Says what is in a pack or a store.
pub(crate) fn info(args: &InfoArgs) -> ExitCode {
    done(|out| {
        let start = Instant::now();
        if args.path.is_dir() {
            if args.verify {
                return Err(Error::invalid("--verify is for packs; `hyperslab check` verifies a store"));
            }
            return store_info(out, &args.path);
        }
        refuse_foreign(&args.path)?;
        print_pack(out, &args.path, &pack_info(&args.path)?)?;
        if args.verify { summary(out, "verified", &verify_pack(&args.path)?, start) } else { Ok(()) }
    })
}

/// Runs a command and gives the exit status.
fn done(run: impl FnOnce(&mut dyn Write) -> Result<()>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match run(&mut out).and_then(|()| out.flush().map_err(write_failed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            drop(out);
            report(&e.to_string());
            FAILED.into()
        }
    }
}

/// Says of a file that is no pack of ours what it is, where that is known.
fn refuse_foreign(path: &Path) -> Result<()> {
    use std::io::Read;
    if is_pack(path)? {
        return Ok(());
    }
    let mut begin = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io("opening", path.display(), e))?;
    file.take(4).read_to_end(&mut begin).map_err(|e| Error::io("reading", path.display(), e))?;
    let why = if is_numpack(path) {
        "it is a package of NumPack's, which can be unpacked to a store that is not there yet; `FROM 'FILE.npkg'` in SQL lists \
         what is in it"
    } else if begin == [0x28, 0xb5, 0x2f, 0xfd] {
        "it is compressed by zstd and does not end as a pack: one that was cut short, or another file, which \
         `tar --zstd -xf` may unpack"
    } else {
        "it is no pack; `hyperslab pack STORE OUT` makes one"
    };
    Err(Error::invalid(format!("{}: {why}", path.display())))
}

fn summary(out: &mut dyn Write, what: &str, report: &PackReport, start: Instant) -> Result<()> {
    let PackReport { version, files, equal, bytes, packed, .. } = report;
    let equal = if *equal > 0 { format!(" ({equal} equal to others)") } else { String::new() };
    let ratio = *bytes as f64 / (*packed).max(1) as f64;
    let seconds = start.elapsed().as_secs_f64();
    let line = format!(
        "{what} version {version}: {files} files{equal}, {bytes} bytes, {packed} in the pack ({ratio:.2} times smaller), \
         {seconds:.1} s"
    );
    writeln!(out, "{line}").map_err(write_failed)
}

fn print_pack(out: &mut dyn Write, path: &Path, info: &PackInfo) -> Result<()> {
    let versions = if info.all_versions { "with those before" } else { "alone" };
    let mut lines = vec![
        format!("pack      {}", path.display()),
        format!("store     {}", info.store),
        format!("version   {}, {versions}", info.version),
        format!("committed {}", time(info.time)),
        format!("writer    {}", info.writer),
        format!("files     {}", info.files),
        format!("bytes     {}", info.bytes),
        format!("packed    {}, in {} frames", info.packed, info.frames),
    ];
    lines.extend(info.arrays.iter().map(|(name, rows)| format!("array     {name}, {rows} rows")));
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(write_failed)
}

fn store_info(out: &mut dyn Write, path: &Path) -> Result<()> {
    let open = OpenOptions { read_only: true, auto_compact: false, ..OpenOptions::default() };
    let store = Store::open_with(path, open)?;
    let snapshot = store.snapshot()?;
    let mut lines = vec![
        format!("store     {}", store.describe()),
        format!("version   {}", snapshot.version()),
        format!("committed {}", time(snapshot.time())),
    ];
    lines.extend(snapshot.tags().iter().map(|(tag, version)| format!("tag       {tag}, of version {version}")));
    for schema in snapshot.schemas() {
        for name in snapshot.arrays(&schema) {
            let array = snapshot.array(hyperslab::ArrayName::new(schema.clone(), name))?;
            lines.push(format!("array     {}, {} rows", array.name(), array.rows()));
        }
    }
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(write_failed)
}

/// A time as SQL prints it, in UTC, to the second.
fn time(at: std::time::SystemTime) -> String {
    let seconds = at.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The civil date of a number of days since 1970 (H. Hinnant, chrono-compatible low-level date algorithms).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

fn write_failed(e: io::Error) -> Error {
    Error::new(ErrorKind::Io, "writing the result failed").because(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in
            [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_778, (2026, 11, 21))]
        {
            assert_eq!(date(days), expected);
        }
    }
}
