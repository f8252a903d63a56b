//! OPTIMIZE, VACUUM, CHECK: jobs that change no result.

mod check;
mod optimize;
mod vacuum;

pub use check::{CheckOptions, Finding, Severity, check};
pub use optimize::{OptimizeOptions, OptimizeReport};
pub use vacuum::{VacuumOptions, VacuumReport};
