//! Every parser of stored bytes; the first byte chooses which.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    engine::fuzzing::stored_bytes(bytes);
});
