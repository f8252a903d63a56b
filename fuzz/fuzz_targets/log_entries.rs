#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hyperslab_store::testing::targets::log_entries(bytes));
