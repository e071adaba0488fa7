//! The delivery contract, the same tests for every row of `upstream::Kind`: whatever its far end does, nothing is lost,
//! what is dropped is counted by name, and what comes twice is the same record.
//!
//! To add a kind, add its far end to [`ends`]; a kind without one fails.

mod broker;
mod end;
mod files;
mod plant;
mod sparkplug;
mod web;

use end::{End, Mood};
use linesman::upstream::Kind;
use plant::Plant;
use std::collections::BTreeSet;
use std::time::Duration;

/// The far end of each kind, by its word; and where a kind is held to the contract that can't be run here.
fn ends() -> Vec<(&'static str, Option<End>)> {
    let mut ends: Vec<(&str, Option<End>)> =
        broker::ends().into_iter().chain(web::ends()).map(|(word, end)| (word, Some(end))).collect();
    ends.push(("sparkplug", Some(sparkplug::end())));
    ends.push(("file", Some(files::end())));
    // Its far end is this process' own output: tests/e2e.
    ends.push(("stdout", None));
    // Its far end is PostgreSQL, which no few lines of ours could stand in for: tests/e2e/postgres.rs.
    ends.push(("postgres", None));
    ends
}

/// Runs it for every kind, side by side: most of the time is waiting.
fn for_every_kind(test: impl Fn(&End) + Sync) {
    let ends = ends();
    std::thread::scope(|scope| {
        let test = &test;
        let running: Vec<_> = ends
            .iter()
            .filter_map(|(word, end)| Some((word, end.as_ref()?)))
            .map(|(word, end)| (word, scope.spawn(move || test(end))))
            .collect();
        let failed: Vec<&str> = running
            .into_iter()
            .filter_map(|(word, thread)| thread.join().is_err().then_some(*word))
            .collect();
        assert!(failed.is_empty(), "not kept by {failed:?}");
    });
}

#[test]
fn every_kind_has_a_far_end_here() {
    let words: BTreeSet<&str> = ends().iter().map(|(word, _)| *word).collect();
    assert_eq!(words, Kind::ALL.iter().copied().collect::<BTreeSet<_>>());
}

#[test]
fn an_outage_costs_nothing() {
    for_every_kind(|end| {
        let mut plant = Plant::new(end);
        plant.far.mood(Mood::Away);
        plant.sample(150);
        plant.run_for(Duration::from_millis(300));
        plant.far.mood(Mood::Takes);
        plant.run_until_all_is_settled();
        plant.assert_kept(&[]);
    });
}

#[test]
fn sessions_that_are_lost_again_and_again_cost_nothing() {
    for_every_kind(|end| {
        let mut plant = Plant::new(end);
        plant.sample(150);
        plant.far.mood(Mood::CutsAfter(40));
        plant.run_for(Duration::from_secs(2));
        plant.far.mood(Mood::Takes);
        plant.run_until_all_is_settled();
        plant.assert_kept(&[]);
    });
}

#[test]
fn a_far_end_that_hears_and_never_answers_costs_nothing() {
    for_every_kind(|end| {
        let mut plant = Plant::new(end);
        plant.sample(150);
        plant.far.mood(Mood::Silent);
        plant.run_for(Duration::from_millis(700));
        plant.far.mood(Mood::Takes);
        plant.run_until_all_is_settled();
        plant.assert_kept(&[]);
    });
}

#[test]
fn a_far_end_that_is_slow_gets_everything_once() {
    for_every_kind(|end| {
        let mut plant = Plant::new(end);
        plant.sample(150);
        plant.far.mood(Mood::Slow(Duration::from_millis(3)));
        plant.run_until_all_is_settled();
        plant.assert_kept(&[]);
        assert_eq!(plant.far.arrived().len(), 150, "{}: once", end.word);
    });
}

#[test]
fn killed_at_any_moment_it_goes_on_where_it_was() {
    for_every_kind(|end| {
        let mut plant = Plant::new(end);
        plant.far.mood(Mood::Slow(Duration::from_millis(1)));
        for n in 0..8 {
            plant.sample(25);
            plant.run_for(Duration::from_millis(20 + 35 * n));
        }
        plant.far.mood(Mood::Takes);
        plant.run_until_all_is_settled();
        plant.assert_kept(&[]);
    });
}

#[test]
fn a_record_that_the_far_end_refuses_for_good_is_set_aside_and_the_rest_goes_on() {
    for_every_kind(|end| {
        if !end.refuses {
            return;
        }
        let mut plant = Plant::new(end);
        plant.sample(30);
        let poison = plant.sample(1)[0].clone();
        plant.sample(30);
        plant.far.mood(Mood::Refuses(poison.clone()));
        plant.run_until_all_is_settled();
        plant.assert_kept(&[("refused", 1)]);
        assert!(plant.far.arrived().iter().all(|arrival| arrival.id() != poison), "{}", end.word);
    });
}

#[test]
fn a_record_that_is_too_large_is_given_up_by_name_and_the_rest_goes_on() {
    for_every_kind(|end| {
        let mut plant = Plant::new(end);
        plant.sample(10);
        plant.sample_large();
        plant.sample(10);
        plant.run_until_all_is_settled();
        let lost: &[(&str, u64)] = if end.has_limit { &[("too-large", 1)] } else { &[] };
        plant.assert_kept(lost);
    });
}
