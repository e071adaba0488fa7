//! linesman: wired meters on one side, IP on the other.
//!
//! This page is the map of the code. The README says what the program is for; each room's own page
//! says what it promises and which formats it keeps.
//!
//! ```text
//! bus ──Scan──► normalize ──Reading──► record ► spool ──Stored──► upstream (encode) ──► the far end
//!  a thread      pure fn               one thread,                 a task per upstream,
//!  per line                            owns its folder             acknowledges ► spool
//! profile ► bus, normalize             serve: beside the stream, never in its way
//! ```
//!
//! # Five promises
//! 1. *A reading is delivered at least once, or its loss is counted and announced.* For each upstream, in
//!    records: `sampled = delivered + pending + left_out + dropped{reason}` at every instant. A cursor
//!    moves only on an acknowledgement from the far end. ([`spool`], [`upstream`])
//! 2. *A value is never attributed to another device, point or moment.* Unit, function and exact length are
//!    compared; what arrives before our own last octet has left is not an answer; after a timeout the same
//!    question waits until a late answer can no longer come. ([`bus`])
//! 3. *Polling never waits for network or disk; neither waits for a meter.* ([`app`])
//! 4. *One sick part costs only itself.* A dead meter costs one probe, a bad register costs that register,
//!    a dead port its line, a dead upstream its own backlog. ([`bus`], [`app`])
//! 5. *Nothing is written to a meter.* No writing function code is built anywhere in this version. ([`modbus`])
//!
//! # Rooms and arrows
//! Each room may name only the rooms below, and a test (`tests/it/architecture.rs`) holds them to it:
//! [`model`] (nothing), [`profile`] (model), [`modbus`] (nothing), [`bus`] (model, profile, modbus),
//! [`normalize`] (model, profile, the types of bus), [`record`] (model), [`spool`] (record, to pack: it keeps octets),
//! [`encode`] (model), [`upstream`] (model, record, encode, spool, uplink), [`uplink`] (model),
//! [`serve`] (model, modbus, record, spool), [`sim`] (model, profile, modbus),
//! [`config`] (each room's configuration), [`app`] and [`cli`] (everything).
//!
//! # How it runs
//! Four primitives join the tasks: bounded `mpsc`, `oneshot`, `watch`, `CancellationToken`. No mutex is
//! held across rooms, there are no globals, and every queue's size is a named constant with a sentence.
//! A serial line has an OS thread of its own, because a runtime's millisecond timers are too coarse for
//! 3.5 characters of silence; the spool has one, because a card may take seconds to sync. Only sources and
//! sinks hear the stop token; everything between ends when its input ends. Any part that ends unasked
//! ends the process: one recovery path for power cut, panic and `kill -9`.
//!
//! # Why these choices
//! - *A line engine of our own.* A Modbus RTU reply carries no transaction number, so a general client
//!   that reads "the next frame" hands a late answer to the next question. The rules stand in [`bus`].
//! - *A log of our own.* What must survive a power cut and be counted exactly is small and append-only;
//!   a database writes several times as much to a card with a limited life. The format stands in [`spool`].
//! - *MQTT as a dumb pipe.* The client's own queue is forgotten when a session is lost; so each connection
//!   is a new client, and the spool is the only queue. The reasons stand in [`upstream`].
//! - *Decimals from the register to the payload.* Widening an `f32` invents digits. See [`model::Decimal`].

// Tests make their data as they need it.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        clippy::float_cmp
    )
)]

pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod encode;
pub mod modbus;
pub mod model;
pub mod normalize;
pub mod profile;
pub mod record;
pub mod serve;
pub mod sim;
pub mod spool;
pub mod uplink;
pub mod upstream;
