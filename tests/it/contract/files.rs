//! The far end of `file`: a folder, which can be away, and what stands in the file.

use super::end::{Arrival, End, Far, Mood, Shared, shared};
use linesman::upstream::{Kind, file};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

pub fn end() -> End {
    End { word: "file", refuses: false, has_limit: false, start: Box::new(start) }
}

fn start(folder: &Path) -> Far {
    let (shared, place) = (shared(), folder.join("out"));
    let ended = Arc::new(AtomicBool::new(false));
    let thread = {
        let (shared, place, ended) = (Arc::clone(&shared), place.clone(), Arc::clone(&ended));
        std::thread::spawn(move || {
            while !ended.load(Relaxed) {
                attend(&shared, &place);
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
        })
    };
    Far::new(shared, Ending(ended, Some(thread)), move |_| {
        Kind::File(file::Config { path: place.join("readings.jsonl"), ..file::Config::default() })
    })
}

/// The folder is there or not; what the file holds has arrived.
fn attend(shared: &Mutex<Shared>, place: &PathBuf) {
    let mut shared = shared.lock().unwrap();
    if shared.mood == Mood::Away {
        return;
    }
    fs::create_dir_all(place).unwrap();
    let text = fs::read_to_string(place.join("readings.jsonl")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    shared.arrived = whole.lines().filter_map(arrival).collect();
}

pub fn arrival(line: &str) -> Option<Arrival> {
    let object: serde_json::Value = serde_json::from_str(line).unwrap();
    let number = Some((object["epoch"].as_str()?.to_owned(), object["seq"].as_u64()?));
    Some(Arrival {
        device: object["device"].as_str()?.to_owned(),
        ts: object["ts"].as_i64()?,
        n: object["values"]["n"].as_i64(),
        number,
    })
}

struct Ending(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}
