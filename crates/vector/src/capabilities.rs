//! What the kernels use on this machine.

use crate::kernel::{InstructionSet, LANES};

/// One thing that the kernels use, and what it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// What.
    pub name: &'static str,
    /// What it is on this machine.
    pub value: String,
}

/// What the kernels use on this machine: the instruction set chosen, those to choose from, the
/// accumulation (the same everywhere, and so are results), the conversion of half precision, processors.
///
/// ```
/// let capabilities = hyperslab_vector::compute_capabilities();
/// assert_eq!(capabilities[0].name, "instruction_set");
/// ```
pub fn compute_capabilities() -> Vec<Capability> {
    let available: Vec<_> = InstructionSet::available().into_iter().map(InstructionSet::name).collect();
    let current = InstructionSet::current();
    let half = if current == InstructionSet::Baseline { "integer arithmetic" } else { "f16c" };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    [
        ("instruction_set", current.name().to_owned()),
        ("available_instruction_sets", available.join(", ")),
        ("accumulation", format!("float64, {LANES} lanes")),
        ("float16_conversion", half.to_owned()),
        ("processors", processors.to_string()),
    ]
    .map(|(name, value)| Capability { name, value })
    .into()
}

impl InstructionSet {
    fn name(self) -> &'static str {
        match self {
            InstructionSet::Baseline if cfg!(target_arch = "x86_64") => "sse2",
            InstructionSet::Baseline if cfg!(target_arch = "aarch64") => "neon",
            InstructionSet::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => "avx512",
        }
    }
}
