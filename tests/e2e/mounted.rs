//! File systems of a test's own, where root may mount: ext4 on a loop device, or memory of a given size.

use crate::skipped::skipped;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted as long as this lives.
pub struct Mounted {
    pub folder: PathBuf,
}

impl Mounted {
    /// A new ext4 of this size in a file. `None`, and said why, where that can't be had.
    pub fn ext4(image: &Path, octets: u64, folder: &Path) -> Option<Mounted> {
        fs::File::create(image).unwrap().set_len(octets).unwrap();
        let program =
            ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"].into_iter().find(|path| Path::new(path).exists());
        or_skipped(run(Command::new(program.unwrap_or("mkfs.ext4")).args(["-q", "-b", "4096"]).arg(image)))?;
        Mounted::image(image, folder)
    }

    /// What is in this image.
    pub fn image(image: &Path, folder: &Path) -> Option<Mounted> {
        Mounted::at(folder, Command::new("mount").args(["-o", "loop"]).arg(image))
    }

    /// A tmpfs with these options, such as `size=4M` and `nr_inodes=10`.
    pub fn memory(options: &str, folder: &Path) -> Option<Mounted> {
        Mounted::at(folder, Command::new("mount").args(["-t", "tmpfs", "-o", options, "test"]))
    }

    fn at(folder: &Path, command: &mut Command) -> Option<Mounted> {
        fs::create_dir_all(folder).unwrap();
        or_skipped(run(command.arg(folder)))?;
        Some(Mounted { folder: folder.to_owned() })
    }

    /// Mounts it otherwise, such as `ro`.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run(Command::new("mount").args(["-o", &options]).arg(&self.folder)).unwrap();
    }

    /// The loop device below it: `loop3`.
    pub fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let at = self.folder.to_str().unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at)).unwrap();
        mount.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever still uses it, it is gone when they have ended.
        if run(Command::new("umount").arg(&self.folder)).is_err() {
            let _ = run(Command::new("umount").arg("-l").arg(&self.folder));
        }
    }
}

fn or_skipped(done: Result<String, String>) -> Option<String> {
    done.map_err(|why| skipped(&why)).ok()
}

/// Runs it to its end; what it said on standard output, or why it failed.
pub fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|error| format!("{program}: {error}"))?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().replace('\n', "; ");
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("{program} ended with {}: {}", done.status, text(&done.stderr)))
}
