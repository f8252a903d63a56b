//! The command line: what clap parses ([`Args`]) and what the rest of the program works with ([`Options`]).

use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};
use hyperslab::Durability;

use crate::convert::ConvertArgs;
use crate::output::Format;
use crate::pack::{InfoArgs, PackArgs, UnpackArgs};

const EXAMPLES: &str = "\
Examples:
  hyperslab                                    an interactive shell over an empty store in memory
  hyperslab demo.slab                          the same over the store demo.slab, created if there is none
  hyperslab demo.slab -c \"CREATE TABLE embeddings AS SELECT * FROM 'embeddings.npy'\"
  hyperslab demo.slab -c \"SELECT * FROM top_k('embeddings', [0.1, 0.2, 0.3], k => 5)\"
  hyperslab demo.slab --format csv -c 'SELECT * FROM arrays()' > arrays.csv
  hyperslab demo.slab -f load.sql -c 'SELECT count(*) FROM embeddings'
  hyperslab -c \"COPY (SELECT * FROM 'a.npy') TO 'a.parquet'\"
  echo 'SELECT 1;' | hyperslab
  hyperslab check demo.slab                    look for damage
  hyperslab convert model.safetensors out/     files of one format into another (hyperslab convert --help)
  hyperslab pack demo.slab demo.tar.zst        the store as one compressed, verified file
  hyperslab unpack demo.tar.zst copy.slab      and back

With neither -c nor -f, statements are read from the terminal, or from standard input when that is a pipe or a
file. Results go to standard output, everything else to standard error. In the shell, .help lists its commands.

Exit status: 0; 1 when a statement failed, the store could not be opened, or check found a loss; 2 for a wrong command line; 130 after
Ctrl-C in a script.";

/// The command line as clap sees it.
#[derive(Debug, Parser)]
#[command(name = "hyperslab", version, about = "An array store that you query with SQL.", after_help = EXAMPLES, max_term_width = 120, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    job: Option<Job>,

    /// The store's folder, created if there is none. Without it (or with `:memory:`), an empty store in memory that is
    /// gone when the program ends
    #[arg(value_name = "STORE")]
    store: Option<PathBuf>,

    /// Run these statements, separated by `;`, and leave. May be given several times; -c and -f run in the order given
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,

    /// Run the statements in a file, `-` for standard input, and leave. May be given several times
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Refuse everything that would change the store. The store must exist
    #[arg(long)]
    read_only: bool,

    /// Print results and errors only: no banner, no row counts, no timing
    #[arg(short, long)]
    quiet: bool,

    /// After a statement that failed, run the rest of the script. The exit status is still 1
    #[arg(long)]
    keep_going: bool,

    /// Threads, and partitions of a query. The machine's cores when not given
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Memory that sorts, joins and aggregations may hold before they spill to disk or fail, for example 512MiB.
    /// Mapped files do not count. Unlimited when not given
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory_limit: Option<usize>,

    /// What a finished statement survives: `full`, a power cut; `os`, a killed process (faster)
    #[arg(long, value_enum, default_value_t = DurabilityArg::Full)]
    durability: DurabilityArg,

    /// A further directory for the shards of a store that is created, perhaps on another disk. May be given several
    /// times. Of a store that exists: where its directories are now, in the same order, if they were moved
    #[arg(long = "dir", value_name = "PATH")]
    dirs: Vec<PathBuf>,

    /// Compare every file with its checksum before it is read for the first time
    #[arg(long)]
    verify: bool,

    /// Leave compaction to OPTIMIZE, instead of rewriting in the background what has become slow to read
    #[arg(long)]
    no_compact: bool,

    /// Rows that the formats table, box and markdown print on a terminal, or `all`
    #[arg(long, value_name = "N", default_value = "1000", value_parser = parse_rows)]
    max_rows: RowLimit,
}

/// What the program does instead of running statements.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Job {
    /// Look for damage in a store, also one that cannot be opened: the whole log, and every file that a version needs.
    /// Prints what was found, with what can be saved; the exit status is 1 if anything is lost
    Check(CheckArgs),
    /// Convert files, folders and stores into each other
    Convert(ConvertArgs),
    /// Write a store into one file: a tar archive compressed by zstd, with the checksum of every file, equal files once.
    /// `tar --zstd -xf` unpacks it, too
    Pack(PackArgs),
    /// Make a store of a pack, or of a package of NumPack's (.npkg). A pack's appears when every file was written, verified and made durable
    Unpack(UnpackArgs),
    /// Say what is in a pack or a store
    Info(InfoArgs),
}

/// `hyperslab check`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// The store's folder
    #[arg(value_name = "STORE")]
    pub(crate) store: PathBuf,

    /// Look at names, lengths and headers only: read no values
    #[arg(long)]
    pub(crate) quick: bool,

    /// Move a damaged end of the log aside, into a folder `_log/damaged-…`, so that the store opens at its last whole
    /// version. Nothing is removed
    #[arg(long)]
    pub(crate) repair: bool,

    /// Where the store's further directories are now, in the same order, if they were moved. May be given several times
    #[arg(long = "dir", value_name = "PATH")]
    pub(crate) dirs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DurabilityArg {
    Full,
    Os,
}

/// A number of rows, or all of them (`None`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowLimit(pub(crate) Option<u64>);

/// A positive number or `all`.
pub(crate) fn parse_rows(text: &str) -> Result<RowLimit, String> {
    match text.parse::<u64>() {
        Ok(n) if n > 0 => Ok(RowLimit(Some(n))),
        _ if text == "all" => Ok(RowLimit(None)),
        _ => Err(format!("{text:?} is neither a positive number nor `all`")),
    }
}

/// A number of bytes: `1000`, `64KiB`, `512MiB`, `2GiB`; without the `i`, powers of 1000.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: Option<usize> = match unit {
        "" | "B" => Some(1),
        "KB" => Some(1000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes = unit.and_then(|unit| number.parse::<usize>().ok()?.checked_mul(unit)).filter(|&bytes| bytes > 0);
    bytes.ok_or_else(|| format!("{text:?} is no size; write 512MiB, 2GB or a number of bytes"))
}

/// One source of statements on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Command(String),
    File(PathBuf),
    Stdin,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// Done instead of everything else.
    pub(crate) job: Option<Job>,
    pub(crate) open: OpenArgs,
    /// What to run, in order; none: interactive, or standard input.
    pub(crate) inputs: Vec<Input>,
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    pub(crate) keep_going: bool,
    pub(crate) max_rows: RowLimit,
}

/// How stores are opened: the one of the command line, and those of `.open`.
#[derive(Debug, Clone)]
pub(crate) struct OpenArgs {
    /// `None`: in memory.
    pub(crate) store: Option<PathBuf>,
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    pub(crate) threads: Option<usize>,
    pub(crate) memory_limit: Option<usize>,
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) verify: bool,
    pub(crate) auto_compact: bool,
}

impl Options {
    /// Parses the process's arguments; help, version and usage errors leave the process.
    pub(crate) fn from_command_line() -> Self {
        Self::from_matches(&Args::command().get_matches()).unwrap_or_else(|e| e.exit())
    }

    #[cfg(test)]
    fn parse(args: &[&str]) -> Result<Self, clap::Error> {
        Self::from_matches(&Args::command().try_get_matches_from(args)?)
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let args = Args::from_arg_matches(matches)?;
        let inputs = inputs(&args, matches);
        let store = args.store.filter(|s| s.as_os_str() != ":memory:");
        if args.read_only && store.is_none() {
            let text = "--read-only needs a STORE: one in memory starts empty";
            return Err(Args::command().error(clap::error::ErrorKind::MissingRequiredArgument, text));
        }
        let durability = match args.durability {
            DurabilityArg::Full => Durability::Full,
            DurabilityArg::Os => Durability::Os,
        };
        Ok(Self {
            job: args.job,
            open: OpenArgs {
                store,
                read_only: args.read_only,
                durability,
                threads: args.threads.map(usize::from),
                memory_limit: args.memory_limit,
                dirs: args.dirs,
                verify: args.verify,
                auto_compact: !args.no_compact,
            },
            inputs,
            format: args.format,
            quiet: args.quiet,
            keep_going: args.keep_going,
            max_rows: args.max_rows,
        })
    }
}

/// The -c and -f in the order in which they were given.
fn inputs(args: &Args, matches: &ArgMatches) -> Vec<Input> {
    let indices = |id| matches.indices_of(id).into_iter().flatten();
    let commands = indices("commands").zip(args.commands.iter().map(|c| Input::Command(c.clone())));
    let files = indices("files").zip(args.files.iter().map(|f| match f.as_os_str() == "-" {
        true => Input::Stdin,
        false => Input::File(f.clone()),
    }));
    let mut inputs: Vec<(usize, Input)> = commands.chain(files).collect();
    inputs.sort_by_key(|(index, _)| *index);
    inputs.into_iter().map(|(_, input)| input).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn commands_and_files_keep_their_order() {
        let options = Options::parse(&["hyperslab", "-c", "a", "-f", "b", "x.slab", "-c", "c", "-f", "-"]).unwrap();
        let expected = [Input::Command("a".into()), Input::File("b".into()), Input::Command("c".into()), Input::Stdin];
        assert_eq!(options.inputs, expected);
        assert_eq!(options.open.store, Some("x.slab".into()));
    }

    #[test]
    fn check_is_a_job() {
        let options = Options::parse(&["hyperslab", "check", "x.slab", "--quick"]).unwrap();
        assert!(matches!(options.job, Some(Job::Check(CheckArgs { quick: true, repair: false, .. }))));
        assert!(Options::parse(&["hyperslab", "check"]).is_err());
        assert!(Options::parse(&["hyperslab", "-c", "a", "check", "x.slab"]).is_err());
        let options =
            Options::parse(&["hyperslab", "x.slab", "--dir", "a", "--dir", "b", "--verify", "--no-compact"]).unwrap();
        assert!(!options.open.auto_compact);
        assert_eq!((options.open.dirs.len(), options.open.verify, options.job.is_none()), (2, true, true));
        assert_eq!(Options::parse(&["hyperslab", "./check"]).unwrap().open.store, Some("./check".into()));
    }

    #[test]
    fn usage_errors() {
        for wrong in [
            &["hyperslab", "--format", "xml"][..],
            &["hyperslab", "--threads", "0"],
            &["hyperslab", "--max-rows", "-1"],
            &["hyperslab", "--memory-limit", "12x"],
            &["hyperslab", "--memory-limit", "0"],
            &["hyperslab", "a", "b"],
            &["hyperslab", "--read-only"],
            &["hyperslab", "--read-only", ":memory:"],
        ] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Options::parse(&["hyperslab", ":memory:"]).unwrap().open.store, None);
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("2GB"), Ok(2_000_000_000));
        assert!(parse_bytes("99999999999999999999").is_err() && parse_bytes("17179869184GiB").is_err());
        assert_eq!(Options::parse(&["hyperslab", "--max-rows", "all"]).unwrap().max_rows, RowLimit(None));
    }
}
