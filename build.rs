//! Nothing is generated: a new profile in `profiles/` only has to be seen, since it is embedded.

fn main() {
    println!("cargo::rerun-if-changed=profiles");
}
