//! `hyperslab check`.

use std::io::{self, Write};
use std::process::ExitCode;

use hyperslab::{CheckOptions, Finding, Severity, check};

use crate::FAILED;
use crate::args::CheckArgs;
use crate::run::report;

/// Checks the store, prints what was found, and gives the exit status.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let (quick, repair, dirs) = (args.quick, args.repair, args.dirs.clone());
    let options = CheckOptions { quick, repair, dirs, ..CheckOptions::default() };
    let findings = match check(&args.store, &options) {
        Ok(findings) => findings,
        Err(e) => {
            report(&e.to_string());
            return FAILED.into();
        }
    };
    if let Err(e) = print(&findings)
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        report(&format!("writing the result failed: {e}"));
        return FAILED.into();
    }
    if findings.iter().any(|f| f.severity == Severity::Error) { FAILED.into() } else { ExitCode::SUCCESS }
}

fn print(findings: &[Finding]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for finding in findings {
        let array = finding.array.as_ref().map(|array| format!(" (array {array})")).unwrap_or_default();
        writeln!(out, "{}: {}{array}: {}", finding.severity.as_str(), finding.file, finding.problem)?;
        writeln!(out, "    {}", finding.advice)?;
    }
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| match count(severity) {
        1 => format!("1 {}", severity.as_str()),
        n => format!("{n} {}s", severity.as_str()),
    });
    writeln!(out, "{}", counts.join(", "))?;
    out.flush()
}
