//! Programs and their input: whatever compiles ends with a value or a fault, within its budget, and what is written can
//! be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use torana_reshape::{Budget, Reshape, read, write};

const BUDGET: Budget = Budget { turns: 5_000, time: Duration::from_millis(50), size: 1 << 16 };

fuzz_target!(|input: &[u8]| {
    // Before a zero byte the program, behind it its input.
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let (program, json) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"null"));
    let Ok(value) = read(json) else { return };
    let Some(program) = std::str::from_utf8(program).ok().and_then(|text| Reshape::compile(text, &["$request"]).ok())
    else {
        return;
    };
    let Ok(result) = program.run(value, vec![Default::default()], BUDGET) else { return };
    let mut out = Vec::new();
    if write(&result, 1 << 20, &mut out).is_ok() {
        // Only a member that was made twice by different bytes of no text could stand twice.
        assert!(
            read(&out).is_ok() || String::from_utf8_lossy(&out).contains('\u{fffd}'),
            "{}",
            String::from_utf8_lossy(&out)
        );
    }
});
