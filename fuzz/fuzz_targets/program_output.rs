#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_gateway::fuzzing::program_output(bytes));
