//! A file system of its own, whose device counts what reaches it: ext4 on a loop device, where that can be had.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Medium {
    pub folder: PathBuf,
    device: String,
}

impl Medium {
    /// Why not, where it can't be had: it needs root, loop devices and mkfs.ext4.
    pub fn mount(beside: &Path) -> Result<Medium, Box<dyn Error>> {
        let (image, folder) = (beside.join("card.img"), beside.join("card"));
        fs::create_dir(&folder)?;
        fs::File::create(&image)?.set_len(512 << 20)?;
        run(Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-b", "4096"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&folder))?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let at = folder.to_str().ok_or("a strange path")?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at)).ok_or("not mounted")?;
        let device =
            mount.split(' ').next().and_then(|device| device.strip_prefix("/dev/")).ok_or("no device")?;
        Ok(Medium { folder, device: device.to_owned() })
    }

    /// Octets written to the device so far (Documentation/block/stat.rst: the seventh field, in sectors of 512).
    pub fn written(&self) -> Result<u64, Box<dyn Error>> {
        run(Command::new("sync").arg("-f").arg(&self.folder))?;
        let stat = fs::read_to_string(format!("/sys/block/{}/stat", self.device))?;
        Ok(stat.split_whitespace().nth(6).ok_or("no such field")?.parse::<u64>()? * 512)
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let done = command.output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&done.stderr).trim().to_owned().into())
}
