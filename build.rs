//! The profiles are embedded, so a new one has to be seen; and the program knows when it was built, because no wall
//! clock that says an earlier time can be right. `SOURCE_DATE_EPOCH` (reproducible-builds.org) stands for that time
//! where it is given.

use std::time::{SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the time of the build is what is asked for")]
fn main() {
    println!("cargo::rerun-if-changed=profiles");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| text.parse::<u64>().is_ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rustc-env=LINESMAN_BUILT={}", given.unwrap_or_else(|| now.to_string()));
}
