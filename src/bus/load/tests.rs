//! Loads that a person can check, and the test of feasibility against a line that is played through.

use super::demand::Task;
use super::*;
use crate::bus::plan::tests::{point, profile};
use crate::bus::{DeviceConfig, SerialConfig};
use crate::modbus::Framing;
use crate::profile::{Format, Table};
use proptest::prelude::*;
use std::sync::Arc;

const TURNAROUND: Duration = Duration::from_millis(20);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn every(period: u64) -> Every {
    Every::Period(ms(period))
}

/// Registers of one meter, side by side: a period for each.
fn device(unit: u8, periods: &[Every]) -> DeviceConfig {
    let points =
        (0u16..).zip(periods).map(|(n, _)| point(&format!("p{n}"), Table::HoldingRegister, n, Format::U16));
    let mut profile = profile(points.collect());
    profile.habits.max_registers = 125;
    let device =
        DeviceConfig::new(format!("m{unit}").parse().unwrap(), unit, Arc::new(profile), Every::Continuous);
    DeviceConfig { every: periods.to_vec(), ..device }
}

fn serial(baud: u32, devices: Vec<DeviceConfig>) -> LineConfig {
    let port = PortConfig::Serial(SerialConfig::new("/dev/null", baud));
    LineConfig { name: "l".parse().unwrap(), port, devices, max_probe: crate::bus::MAX_PROBE }
}

fn tcp(in_flight: u16, devices: Vec<DeviceConfig>) -> LineConfig {
    LineConfig { port: PortConfig::Tcp { address: "h:502".into(), in_flight }, ..serial(9600, devices) }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

/// `(13 + 2n)·c + t3.5 + 20 ms` at 9600 8N1, in seconds.
fn read(n: f64) -> f64 {
    (13.0 + 2.0 * n + 3.5) / 960.0 + 0.020
}

#[test]
fn the_load_is_what_the_requests_take_of_the_time() {
    let load = LineLoad::of(&serial(9600, vec![device(1, &[every(1000); 30])]), TURNAROUND);
    assert!(close(load.periodic, read(30.0)), "{}", load.periodic);
    assert_eq!((load.requests.len(), load.requests[0].points.len()), (1, 30));
    assert_eq!((load.requests[0].every, load.unmet.len(), load.remedy), (every(1000), 0, None));
}

#[test]
fn a_point_each_minute_makes_every_sixtieth_scan_the_larger_one() {
    let mut periods = vec![every(1000); 30];
    periods.push(every(60_000));
    let load = LineLoad::of(&serial(9600, vec![device(1, &periods)]), TURNAROUND);
    assert!(close(load.periodic, (59.0 * read(30.0) + read(31.0)) / 60.0), "{}", load.periodic);
    let asked: Vec<_> =
        load.requests.iter().map(|asked| (asked.request.count(), asked.every, asked.points.len())).collect();
    assert_eq!(asked, [(30, every(1000), 30), (31, every(60_000), 31)]);
}

#[test]
fn periods_that_coincide_now_and_then_are_planned_together_then() {
    // At 0 and 6 s both, at 2 and 4 s the one, at 3 s the other.
    let load = LineLoad::of(&serial(9600, vec![device(1, &[every(2000), every(3000)])]), TURNAROUND);
    assert!(close(load.periodic, (2.0 * read(1.0) + read(1.0) + read(2.0)) / 6.0));
    let asked: Vec<_> = load
        .requests
        .iter()
        .map(|asked| (asked.request.address(), asked.request.count(), asked.every))
        .collect();
    assert_eq!(asked, [(0, 1, every(2000)), (0, 2, every(6000)), (1, 1, every(6000))]);
    assert!(close(load.requests.iter().map(|asked| asked.share).sum(), load.periodic));
}

#[test]
fn the_time_to_the_next_one_runs_over_the_end_of_the_round() {
    // A round is six seconds: the first alone at 1 and 5 s, then at 7 s; with the second at 2 and 4; all at 0 and 3.
    let load =
        LineLoad::of(&serial(9600, vec![device(1, &[every(1000), every(2000), every(3000)])]), TURNAROUND);
    let asked: Vec<_> = load.requests.iter().map(|asked| (asked.request.count(), asked.every)).collect();
    assert_eq!(asked, [(1, every(2000)), (2, every(2000)), (3, every(3000))]);
}

#[test]
fn periods_that_hardly_ever_coincide_are_followed_for_a_while() {
    let periods = [every(997), every(1009), every(86_399_999)];
    let load = LineLoad::of(&serial(9600, vec![device(1, &periods)]), TURNAROUND);
    let apart = read(1.0) / 0.997 + read(1.0) / 1.009;
    assert!(load.periodic > apart * 0.99 && load.periodic < apart * 1.01, "{} {apart}", load.periodic);
}

#[test]
fn a_device_that_is_not_enabled_asks_nothing() {
    let off = DeviceConfig { enabled: false, ..device(1, &[every(1)]) };
    let load = LineLoad::of(&serial(9600, vec![off]), TURNAROUND);
    assert!(load.periodic == 0.0 && load.requests.is_empty() && load.unmet.is_empty());
}

#[test]
fn a_wish_for_silence_is_counted() {
    let patient = DeviceConfig { min_gap: ms(100), ..device(1, &[every(1000)]) };
    let load = LineLoad::of(&serial(9600, vec![patient]), TURNAROUND);
    assert!(close(load.periodic, read(1.0) - 3.5 / 960.0 + 0.100));
}

#[test]
fn too_much_on_9600_baud_is_said_with_what_would_carry_it() {
    let devices = (1..=5).map(|unit| device(unit, &[every(1000); 100])).collect();
    let load = LineLoad::of(&serial(9600, devices), TURNAROUND);
    assert!(close(load.periodic, 5.0 * read(100.0)), "{}", load.periodic);
    assert_eq!(load.unmet.iter().map(|unmet| unmet.points.len()).sum::<usize>(), 500);
    let remedy = load.remedy.unwrap();
    // 1.231 s of wire time a round are 95 % of 1.296 s.
    assert_eq!((remedy.every, remedy.baud, remedy.in_flight), (ms(1300), Some(19_200), None));
    // (0.95 / 5 - 0.020) · 960 = 163.2 characters, less 16.5: 73 registers.
    assert_eq!(remedy.points, Some(73));
}

#[test]
fn only_the_fast_points_have_to_give() {
    let mut devices: Vec<_> = (1..=5).map(|unit| device(unit, &[every(1000); 100])).collect();
    devices.push(device(6, &[every(10_000); 10]));
    let load = LineLoad::of(&serial(9600, devices), TURNAROUND);
    assert_eq!(load.unmet.len(), 5);
    assert!(load.unmet.iter().all(|unmet| unmet.every == ms(1000) && unmet.device.as_str() != "m6"));
}

#[test]
fn mixed_periods_at_eighty_five_percent_are_kept() {
    let mut periods = vec![every(1000); 60];
    periods.extend([every(60_000); 60]);
    let devices = (1..=5).map(|unit| device(unit, &periods)).collect();
    let load = LineLoad::of(&serial(9600, devices), TURNAROUND);
    assert!(load.periodic > 0.80 && load.periodic < 0.90, "{}", load.periodic);
    assert_eq!(load.unmet, []);
    // Were all sixtieth scans due at once, that second would have five of them to do.
    assert!(close(load.late.unwrap().as_secs_f64(), 5.0 * read(120.0) - 1.0), "{:?}", load.late);
}

#[test]
fn one_long_request_beside_a_short_period_is_found_although_the_load_is_low() {
    // 125 registers at 1200 baud keep the line for 2.2 s: what is due each 2 s waits too long.
    let devices = vec![device(1, &[every(2000)]), device(2, &[every(60_000); 125])];
    let load = LineLoad::of(&serial(1200, devices), TURNAROUND);
    assert!(load.periodic < 0.2);
    let unmet: Vec<_> = load.unmet.iter().map(|unmet| (unmet.device.as_str(), unmet.points.len())).collect();
    assert_eq!(unmet, [("m1", 1)]);
    assert_eq!(load.remedy.unwrap().baud, Some(2400));
}

#[test]
fn a_scan_of_several_requests_can_be_parted_for_what_is_urgent() {
    // The slow meter's scan takes 1.2 s in all, in requests of 0.15 s.
    let mut slow = device(2, &[every(60_000); 600]);
    slow.profile = Arc::new({
        let mut profile = (*slow.profile).clone();
        profile.habits.max_registers = 50;
        profile
    });
    let load = LineLoad::of(&serial(9600, vec![device(1, &[every(1000)]), slow]), TURNAROUND);
    assert_eq!(load.unmet, []);
}

#[test]
fn continuous_points_take_what_is_left() {
    let devices = vec![device(1, &[Every::Continuous; 30]), device(2, &[every(1000); 30])];
    let load = LineLoad::of(&serial(9600, devices), TURNAROUND);
    let continuous = load.continuous.unwrap();
    assert!(close(continuous.round.as_secs_f64(), read(30.0)));
    assert!(close(continuous.cycle.unwrap().as_secs_f64(), read(30.0) / (1.0 - read(30.0))));
    assert!(load.busy() == 1.0 && load.unmet.is_empty());
    assert!(close(load.requests.iter().map(|asked| asked.share).sum(), 1.0));
}

#[test]
fn continuous_points_miss_nothing_but_may_be_left_no_time() {
    let load = LineLoad::of(&serial(9600, vec![device(1, &[Every::Continuous; 30])]), TURNAROUND);
    assert_eq!((load.unmet.len(), load.remedy, load.periodic), (0, None, 0.0));
    let devices = vec![device(1, &[Every::Continuous; 30]), device(2, &[every(10); 30])];
    let load = LineLoad::of(&serial(9600, devices), TURNAROUND);
    assert_eq!(load.continuous.unwrap().cycle, None);
    assert!(load.busy() > 1.0 && load.unmet.len() == 1);
}

#[test]
fn an_endpoint_that_takes_more_questions_at_once_carries_more() {
    let devices: Vec<_> = (1..=10).map(|unit| device(unit, &[every(100); 10])).collect();
    let one = LineLoad::of(&tcp(1, devices.clone()), TURNAROUND);
    assert!(one.periodic > 2.0 && one.remedy.unwrap().baud.is_none(), "{}", one.periodic);
    let lanes = one.remedy.unwrap().in_flight.unwrap();
    assert_eq!(lanes, 3);
    assert_eq!(LineLoad::of(&tcp(lanes, devices), TURNAROUND).unmet, []);
}

/// A line played through in milliseconds: what is due is asked by earliest deadline, request by request. The most
/// that something came late.
fn played(tasks: &[(Task, u64)], until: u64) -> u64 {
    let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap();
    let mut waiting: Vec<(u64, u64, Task)> = Vec::new(); // deadline, what is left of it
    let mut next: Vec<u64> = tasks.iter().map(|(_, phase)| *phase).collect();
    let (mut now, mut late) = (0, 0);
    while now < until {
        for ((task, _), next) in tasks.iter().zip(&mut next) {
            while *next <= now {
                waiting.push((*next + whole(task.deadline), whole(task.cost), *task));
                *next += whole(task.period);
            }
        }
        let Some(urgent) = waiting.iter_mut().min_by_key(|(deadline, _, _)| *deadline) else {
            now = next.iter().copied().min().unwrap();
            continue;
        };
        let request = urgent.1.min(whole(urgent.2.longest));
        urgent.1 -= request;
        now += request;
        if urgent.1 == 0 {
            late = late.max(now.saturating_sub(urgent.0));
        }
        waiting.retain(|(_, left, _)| *left > 0);
    }
    late
}

fn some_tasks() -> impl Strategy<Value = Vec<Task>> {
    let period = proptest::sample::select(vec![20u64, 30, 50, 60, 100, 120, 150, 300, 600]);
    let task = (period, 1u64..30, 1u64..20, 1u64..3).prop_map(|(period, percent, longest, urgent)| {
        let cost = (period * percent / 100).max(1);
        let (period, deadline) = (ms(period), ms((period / urgent).max(cost)));
        Task { period, deadline, cost: ms(cost), scan: ms(cost), longest: ms(longest.min(cost)) }
    });
    proptest::collection::vec(task, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_scan_comes_later_than_is_said(tasks in some_tasks(), phases in proptest::collection::vec(0u64..600, 6)) {
        let Some(late) = fit::lateness(&tasks) else { return Ok(()) };
        let phased: Vec<_> = tasks.into_iter().zip(phases).collect();
        prop_assert!(ms(played(&phased, 3000)) <= late);
    }

    #[test]
    fn at_the_worst_moment_a_scan_comes_as_late_as_is_said(tasks in some_tasks()) {
        // Scans of one request, each due before the next: for them the test is exact.
        let one = |task: Task| Task { longest: task.cost, deadline: task.period, ..task };
        let tasks: Vec<Task> = tasks.into_iter().map(one).collect();
        let Some(late) = fit::lateness(&tasks) else { return Ok(()) };
        let seen = (0..tasks.len()).map(|begun| {
            // One has begun a millisecond before all the others are due.
            let phased: Vec<_> = (0..).zip(&tasks).map(|(n, task)| (*task, u64::from(n != begun))).collect();
            played(&phased, 3000)
        });
        prop_assert!(ms(seen.max().unwrap() + 1) >= late);
    }
}

fn a_line() -> impl Strategy<Value = LineConfig> {
    let period = proptest::sample::select(vec![20u64, 100, 500, 1000, 2000, 3000, 60_000, 0]);
    let group = (period, 1usize..60).prop_map(|(period, points)| {
        vec![if period == 0 { Every::Continuous } else { every(period) }; points]
    });
    let meter = proptest::collection::vec(group, 1..3).prop_map(|groups| groups.concat());
    let port = (proptest::sample::select(vec![1200u32, 9600, 19_200, 115_200]), 0u8..4);
    (proptest::collection::vec(meter, 1..5), port).prop_map(|(meters, (baud, kind))| {
        let mut devices: Vec<_> = (1u8..).zip(&meters).map(|(unit, periods)| device(unit, periods)).collect();
        devices[0].min_gap = ms(60);
        let mut line = if kind == 0 { tcp(1, devices) } else { serial(baud, devices) };
        if let (PortConfig::Serial(serial), 1) = (&mut line.port, kind) {
            serial.framing = Framing::Ascii;
        }
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_takes_the_advice_is_told_no_more(line in a_line()) {
        let load = LineLoad::of(&line, TURNAROUND);
        prop_assert_eq!(load.unmet.is_empty(), load.remedy.is_none());
        let Some(remedy) = load.remedy else { return Ok(()) };
        let mut slower = line.clone();
        for each in slower.devices.iter_mut().flat_map(|device| &mut device.every) {
            if let Every::Period(period) = each {
                *period = (*period).max(remedy.every);
            }
        }
        prop_assert_eq!(LineLoad::of(&slower, TURNAROUND).unmet, vec![]);
        let mut faster = line.clone();
        match (&mut faster.port, remedy.baud, remedy.in_flight) {
            (PortConfig::Serial(serial), Some(baud), _) => serial.baud = baud,
            (PortConfig::Tcp { in_flight, .. }, _, Some(lanes)) => *in_flight = lanes,
            _ => return Ok(()),
        }
        prop_assert_eq!(LineLoad::of(&faster, TURNAROUND).unmet, vec![]);
    }
}
