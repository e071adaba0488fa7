//! A site in a network namespace of its own, with two wires to another one where the far ends are.
//!
//! ```text
//! site: eth0 10.1.0.1 ─── b0 10.1.0.2 :far
//!       wwan0 10.2.0.1 ── b1 10.2.0.2      10.99.0.1 on lo
//! ```
//! Both wires lead to 10.99.0.1, by routes of unlike metric, as a network manager makes them.

use crate::skipped::skipped;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the far end is.
pub const FAR: &str = "10.99.0.1";

/// Two namespaces; gone when this is dropped.
pub struct Site {
    name: String,
}

impl Site {
    /// Says why where this machine has no namespaces for us.
    pub fn build() -> Option<Site> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let site = Site { name: format!("lm{}x{count}", std::process::id()) };
        let (near, far) = (site.near(), site.far());
        if let Err(why) = ip(&["netns", "add", &near]).and_then(|()| ip(&["netns", "add", &far])) {
            skipped(&format!("network namespaces are not to be had here: {why}"));
            return None;
        }
        for (at, (ours, theirs)) in [("eth0", "b0"), ("wwan0", "b1")].into_iter().enumerate() {
            let net = format!("10.{}.0", at + 1);
            ip(&["link", "add", ours, "netns", &near, "type", "veth", "peer", "name", theirs, "netns", &far])
                .unwrap();
            ip(&["-n", &near, "addr", "add", &format!("{net}.1/24"), "dev", ours]).unwrap();
            ip(&["-n", &far, "addr", "add", &format!("{net}.2/24"), "dev", theirs]).unwrap();
            ip(&["-n", &near, "link", "set", ours, "up"]).unwrap();
            ip(&["-n", &far, "link", "set", theirs, "up"]).unwrap();
        }
        for namespace in [&near, &far] {
            ip(&["-n", namespace, "link", "set", "lo", "up"]).unwrap();
        }
        ip(&["-n", &far, "addr", "add", &format!("{FAR}/32"), "dev", "lo"]).unwrap();
        site.route();
        Some(site)
    }

    pub fn near(&self) -> String {
        format!("{}n", self.name)
    }

    pub fn far(&self) -> String {
        format!("{}f", self.name)
    }

    /// The kernel forgets the routes of an interface that is set down.
    fn route(&self) {
        for (interface, via, metric) in [("eth0", "10.1.0.2", "100"), ("wwan0", "10.2.0.2", "700")] {
            let to = format!("{FAR}/32");
            ip(&[
                "-n",
                &self.near(),
                "route",
                "replace",
                &to,
                "via",
                via,
                "dev",
                interface,
                "metric",
                metric,
            ])
            .unwrap();
        }
    }

    /// Somebody pulls the plug here.
    pub fn unplug(&self) {
        ip(&["-n", &self.near(), "link", "set", "eth0", "down"]).unwrap();
    }

    pub fn plug_in(&self) {
        ip(&["-n", &self.near(), "link", "set", "eth0", "up"]).unwrap();
        self.route();
    }

    /// The switch at the other end of the wire has no power, or has it again.
    pub fn power(&self, up: bool) {
        ip(&["-n", &self.far(), "link", "set", "b0", if up { "up" } else { "down" }]).unwrap();
    }

    /// What is sent over a wire goes to nobody, and nobody says so.
    pub fn swallow(&self, interface: &str) {
        let router = if interface == "eth0" { "10.1.0.2" } else { "10.2.0.2" };
        let nobody = "02:00:00:00:00:99";
        let entry = ["neigh", "replace", router, "lladdr", nobody, "dev", interface, "nud", "permanent"];
        ip(&[&["-n", &self.near()], &entry[..]].concat()).unwrap();
    }

    pub fn let_through(&self, interface: &str) {
        let router = if interface == "eth0" { "10.1.0.2" } else { "10.2.0.2" };
        ip(&["-n", &self.near(), "neigh", "del", router, "dev", interface]).unwrap();
    }

    /// The name server that the site has been told of.
    pub fn ask_for_names_at(&self, server: &str) {
        let folder = self.files();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("resolv.conf"), format!("nameserver {server}\n")).unwrap();
    }

    /// What `ip netns exec` puts over /etc.
    fn files(&self) -> std::path::PathBuf {
        Path::new("/etc/netns").join(self.near())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for namespace in [self.near(), self.far()] {
            let _ = ip(&["netns", "del", &namespace]);
        }
        let _ = std::fs::remove_dir_all(self.files());
    }
}

/// A command that runs in a namespace: `ip netns exec` becomes the program itself.
pub fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    match Command::new("ip").args(arguments).output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&stderr).trim()))
        }
        Err(error) => Err(format!("ip: {error}")),
    }
}
