//! Files that are damaged, of a newer version, or none of ours.

use super::*;

fn folder() -> PathBuf {
    PathBuf::from("/s/v1")
}

fn flip(disk: &SimDisk, path: &Path, at: usize) {
    let mut octets = disk.octets(path);
    octets[at] ^= 0x21;
    disk.put(path, octets);
}

#[test]
fn a_torn_header_costs_nothing_and_does_not_make_its_neighbour_old() {
    let disk = SimDisk::default();
    let settings = Config { max_age: Some(Duration::from_millis(1500)), ..config(1 << 20) };
    let mut log = open_with(&disk, settings.clone(), &["a"]);
    fill(&mut log, 1..=2000);
    let (path, epoch) = (log.segments[1].path.clone(), log.epoch);
    drop(log);
    // The header and the first anchor behind it: later anchors still say whose records they are.
    (0..100).for_each(|at| flip(&disk, &path, at));
    let mut log = open_with(&disk, settings, &["a"]);
    fill(&mut log, 2001..=2050);
    log.expire();
    let kept = all(&mut log, 0);
    assert!(kept[..2000].iter().all(|record| record.seq == record.position && record.epoch == epoch));
    assert_eq!(kept.len(), 2050);
}

#[test]
fn a_position_near_the_end_of_numbers_is_put_aside() {
    let disk = SimDisk::default();
    let numbers = format::Numbers { epoch: 1, position: u64::MAX, seq: 1 };
    let header = format::SegmentHeader { first: u64::MAX, first_ts: 1, numbers }.encode();
    disk.put(&folder().join(format!("{}.seg", u64::MAX)), header.to_vec());
    let mut log = open(&disk, 1 << 20);
    log.append(1, payload(1, 10));
    assert_eq!(all(&mut log, 0)[0].position, 1);
    assert!(disk.is_there(&folder().join(format!("damaged/{}.seg", u64::MAX))));
}

#[test]
fn damage_costs_a_devices_records_up_to_its_next_key_frame_and_is_counted_and_kept_aside() {
    let disk = SimDisk::default();
    let mut log = open(&disk, 4 << 20);
    for n in 1..=3000u64 {
        log.append(n as i64, reading(n, n as i64));
        if n % 100 == 0 {
            log.commit().unwrap();
        }
    }
    let path = log.segments[0].path.clone();
    drop(log);
    flip(&disk, &path, 9000);
    let mut log = open(&disk, 4 << 20);
    let kept = all(&mut log, 0);
    let lost: Vec<u64> = (1..=3000).filter(|n| !kept.iter().any(|record| record.position == *n)).collect();
    assert!((1..=64).contains(&lost.len()) && lost.iter().all(|n| n % 3 == lost[0] % 3), "{lost:?}");
    for record in &kept {
        assert_eq!(record.octets[..], reading(record.position, record.position as i64)[..]);
    }
    balanced(&log);
    let a = account(&log, "a");
    assert_eq!((a.dropped["damaged"], announced(&log, "a")), (lost.len() as u64, lost.len() as u64));
    assert!(disk.octets_below(&folder().join("damaged")) > 0);
}

#[test]
fn a_newer_version_is_left_untouched_and_a_new_folder_begun() {
    let disk = SimDisk::default();
    fill(&mut open_with(&disk, config(1 << 20), &["a"]), 1..=100);
    let theirs = folder().join(format!("{:020}.seg", 101));
    let mut octets = disk.octets(&folder().join(format!("{:020}.seg", 1)));
    octets[7] = b'2';
    let crc = crc32c::crc32c(&octets[..60]).to_le_bytes();
    octets[60..64].copy_from_slice(&crc);
    disk.put(&theirs, octets.clone());
    let before = disk.octets_below(&folder());
    for _ in 0..2 {
        let mut log = open_with(&disk, config(1 << 20), &["a"]);
        fill(&mut log, 1..=50);
        log.commit().unwrap();
        assert_eq!(log.folder, Path::new("/s/v1-2"));
    }
    assert_eq!((disk.octets_below(&folder()), disk.octets(&theirs)), (before, octets));
    assert_eq!(all(&mut open_with(&disk, config(1 << 20), &["a"]), 0).len(), 100);
}

#[test]
fn a_record_that_no_segment_takes_is_counted_and_nothing_else() {
    let disk = SimDisk::default();
    let mut log = open(&disk, 4 << 20);
    for size in [100, 127 << 10, 129 << 10, 8 << 20, 100] {
        log.append(1, payload(1, size));
        log.commit().unwrap();
    }
    assert_eq!(all(&mut log, 0).iter().map(|record| record.position).collect::<Vec<_>>(), [1, 2, 5]);
    assert_eq!(account(&log, "a").dropped["too-large"], 2);
    balanced(&log);
}
