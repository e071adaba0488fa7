//! The status in Prometheus' text form (OpenMetrics): every count of every line and device, the spool,
//! and the account of each upstream. Names `linesman_…`, units in the name, counters end in `_total`.

use super::status::{Device, Finding, Line, Snapshot, Uplink, Upstream};
use crate::model::status::{BusCounters, DeviceState, LineState, UplinkState, UpstreamState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

type Labels<'a> = Vec<(&'static str, &'a str)>;
type Samples<'a, N> = Vec<(Labels<'a>, N)>;

/// One field of the counters, as a metric: name, help, and how to read it.
type Count = (&'static str, &'static str, fn(&BusCounters) -> u64);

const COUNTS: &[Count] = &[
    ("requests", "Requests sent", |c| c.requests),
    ("replies", "Valid replies", |c| c.replies),
    ("timeouts", "Requests that nothing answered in time", |c| c.timeouts),
    ("crc_errors", "Frames with a wrong checksum", |c| c.crc_errors),
    ("short_frames", "Frames that began and did not end in time", |c| c.short_frames),
    ("foreign_frames", "Valid frames of another unit, function or length than was asked", |c| {
        c.foreign_frames
    }),
    ("exceptions", "Refusals by the device", |c| c.exceptions),
    ("echoes", "Our own request heard again", |c| c.echoes),
    ("noise_octets", "Octets that belonged to no frame", |c| c.noise_octets),
    ("unsolicited_octets", "Octets that lay there before we asked", |c| c.unsolicited_octets),
    ("scans_lost", "Scans that could not be handed on to the spool", |c| c.scans_lost),
    ("periods_missed", "Periods that went by without a scan", |c| c.periods_missed),
];

/// One figure of an upstream's account, as a metric.
type Figure = (&'static str, &'static str, fn(&Upstream) -> u64);

const ACCOUNT: &[Figure] = &[
    ("upstream_sampled_records", "Records there were to deliver", |u| u.sampled),
    ("upstream_delivered_records", "Records acknowledged by the far end", |u| u.delivered),
    ("upstream_left_out_records", "Records a filter left empty", |u| u.left_out),
    ("upstream_reconnects", "Connections made after the first", |u| u.reconnects),
];

/// The whole exposition.
pub fn text(snapshot: &Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("linesman");
    registry.register_collector(Box::new(Exposition(snapshot.clone())));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Exposition(Snapshot);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.about(out)?;
        self.lines(out)?;
        self.devices(out)?;
        self.spool(out)?;
        self.upstreams(out)?;
        self.uplinks(out)
    }
}

impl Exposition {
    fn about(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = vec![
            ("gateway", self.0.gateway.as_str()),
            ("version", self.0.version),
            ("config", &self.0.config),
        ];
        gauges(out, "gateway", "Always 1; what is running", vec![(labels, 1.0)])?;
        let known = vec![(vec![], truth(self.0.clock == "known"))];
        gauges(out, "clock_known", "1 while the wall clock is known to be right", known)
    }

    fn lines(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let lines = &self.0.lines;
        for (name, help, read) in COUNTS {
            let samples = lines.iter().map(|line| (line_labels(line), read(&line.counters))).collect();
            counters(out, &format!("line_{name}"), help, samples)?;
        }
        let up = lines.iter().map(|line| (line_labels(line), truth(line.state == LineState::Up))).collect();
        gauges(out, "line_up", "1 while the port or connection is open", up)?;
        let stuck =
            lines.iter().map(|line| (line_labels(line), truth(line.state == LineState::Stuck))).collect();
        gauges(out, "line_stuck", "1 while the port's driver does not return", stuck)?;
        let load = lines.iter().map(|line| (line_labels(line), line.load_pct / 100.0)).collect();
        gauges(out, "line_load_ratio", "Share of the last minute that the wire was in use", load)?;
        let found = lines
            .iter()
            .flat_map(|line| line.findings.iter().map(move |f| (found(line_labels(line), f), 1.0)));
        gauges(out, "line_finding", "1 for what is wrong with the line", found.collect())
    }

    fn devices(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let devices = &self.0.devices;
        for (name, help, read) in COUNTS {
            let samples =
                devices.iter().map(|device| (device_labels(device), read(&device.counters))).collect();
            counters(out, &format!("device_{name}"), help, samples)?;
        }
        let answers = |device: &Device| matches!(device.state, DeviceState::Ok | DeviceState::Degraded);
        let up = devices.iter().map(|device| (device_labels(device), truth(answers(device)))).collect();
        gauges(out, "device_up", "1 while the device answers", up)?;
        let degraded = devices.iter().filter(|device| device.state == DeviceState::Degraded);
        let why = degraded.filter_map(|device| Some((device, device.reason.as_deref()?)));
        let why =
            why.map(|(device, reason)| ([device_labels(device), vec![("reason", reason)]].concat(), 1.0));
        gauges(
            out,
            "device_degraded",
            "1 while it answers, but not all of its values are good",
            why.collect(),
        )?;
        let late = devices.iter().map(|d| (device_labels(d), seconds(d.lateness_ms))).collect();
        gauges_in(out, "device_lateness", "How late the last scan began", Unit::Seconds, late)?;
        let latency =
            devices.iter().filter_map(|d| Some((device_labels(d), d.latency_ms? / 1000.0))).collect();
        let help = "From our last octet to its first, smoothed";
        gauges_in(out, "device_latency", help, Unit::Seconds, latency)?;
        let refused = devices.iter().map(|d| (device_labels(d), whole(d.refused.len() as u64))).collect();
        gauges(out, "device_refused_points", "Points that the device refuses", refused)?;
        let found =
            devices.iter().flat_map(|d| d.findings.iter().map(move |f| (found(device_labels(d), f), 1.0)));
        gauges(out, "device_finding", "1 for what is wrong with the device", found.collect())?;
        let seen = devices.iter().filter_map(|d| Some((device_labels(d), stamp(d.last_ok?)))).collect();
        gauges_in(out, "device_last_success_timestamp", "When it last answered", Unit::Seconds, seen)
    }

    fn spool(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let spool = &self.0.spool;
        counters(
            out,
            "spool_appended_records",
            "Records since the folder was made",
            vec![(vec![], spool.appended)],
        )?;
        gauges(
            out,
            "spool_records",
            "Records kept, acknowledged or not",
            vec![(vec![], whole(spool.records))],
        )?;
        gauges_in(out, "spool_size", "Octets on disk", Unit::Bytes, vec![(vec![], whole(spool.octets))])?;
        let help = "1 while the disk takes what it is given";
        gauges(out, "spool_healthy", help, vec![(vec![], truth(spool.healthy))])
    }

    fn upstreams(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let upstreams = &self.0.upstreams;
        for (name, help, read) in ACCOUNT {
            let samples =
                upstreams.iter().map(|upstream| (upstream_labels(upstream), read(upstream))).collect();
            counters(out, name, help, samples)?;
        }
        let dropped = upstreams.iter().flat_map(|upstream| {
            upstream.dropped.iter().map(move |(reason, count)| {
                let mut labels = upstream_labels(upstream);
                labels.push(("reason", reason.as_str()));
                (labels, *count)
            })
        });
        counters(out, "upstream_dropped_records", "Records given up, by reason", dropped.collect())?;
        let pending =
            upstreams.iter().map(|upstream| (upstream_labels(upstream), whole(upstream.pending))).collect();
        gauges(out, "upstream_pending_records", "Records waiting, those in flight included", pending)?;
        let connected = |upstream: &Upstream| truth(upstream.state == UpstreamState::Connected);
        let up = upstreams.iter().map(|upstream| (upstream_labels(upstream), connected(upstream))).collect();
        gauges(out, "upstream_up", "1 while connected", up)
    }
}

impl Exposition {
    fn uplinks(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of = |read: fn(&Uplink) -> f64| {
            self.0.uplinks.iter().map(|uplink| (uplink_labels(uplink), read(uplink))).collect()
        };
        let ever = self.0.uplinks.iter().map(|uplink| (uplink_labels(uplink), uplink.octets_ever)).collect();
        counters(out, "uplink_traffic_bytes", "Octets in both directions, with IP and TLS", ever)?;
        let month = of(|uplink| whole(uplink.octets));
        gauges_in(out, "uplink_month", "Octets of the month that is counted", Unit::Bytes, month)?;
        let budgets = self.0.uplinks.iter().filter_map(|u| Some((uplink_labels(u), whole(u.budget?))));
        gauges_in(out, "uplink_budget", "Octets that a month may have", Unit::Bytes, budgets.collect())?;
        let up = of(|uplink| truth(matches!(uplink.state, UplinkState::Up | UplinkState::Unproven)));
        gauges(out, "uplink_up", "1 while its interface is up and nothing says that it fails", up)?;
        gauges(out, "uplink_in_use", "1 while connections are made over it", of(|u| truth(u.in_use)))?;
        let changes = self.0.uplinks.iter().take(1).map(|uplink| (vec![], uplink.changes)).collect();
        counters(out, "uplink_changes", "How often another uplink was taken", changes)
    }
}

fn uplink_labels(uplink: &Uplink) -> Labels<'_> {
    vec![("uplink", uplink.name.as_str())]
}

fn line_labels(line: &Line) -> Labels<'_> {
    vec![("line", line.name.as_str())]
}

fn device_labels(device: &Device) -> Labels<'_> {
    vec![("line", device.line.as_str()), ("device", device.name.as_str())]
}

fn found<'a>(mut labels: Labels<'a>, finding: &'a Finding) -> Labels<'a> {
    labels.push(("finding", finding.kind));
    labels
}

fn upstream_labels(upstream: &Upstream) -> Labels<'_> {
    vec![("upstream", upstream.name.as_str())]
}

fn truth(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float by definition; counts stay far below 2^53"
)]
fn whole(n: u64) -> f64 {
    n as f64
}

fn seconds(milliseconds: u64) -> f64 {
    whole(milliseconds) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 stay below 2^53 for 280 000 years")]
fn stamp(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn counters(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: Samples<'_, u64>,
) -> fmt::Result {
    if samples.is_empty() {
        return Ok(());
    }
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in samples {
        metric.encode_family(&labels)?.encode_counter::<Labels<'_>, _, u64>(&value, None)?;
    }
    Ok(())
}

fn gauges(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, samples: Samples<'_, f64>) -> fmt::Result {
    encode_gauges(out, name, help, None, samples)
}

fn gauges_in(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Unit,
    samples: Samples<'_, f64>,
) -> fmt::Result {
    encode_gauges(out, name, help, Some(&unit), samples)
}

fn encode_gauges(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    samples: Samples<'_, f64>,
) -> fmt::Result {
    if samples.is_empty() {
        return Ok(());
    }
    let mut metric = out.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in samples {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::status::{Snapshot, Spool};
    use std::collections::BTreeMap;

    fn device(name: &str, state: DeviceState, reason: Option<&str>) -> Device {
        Device {
            name: name.to_owned(),
            line: "l".to_owned(),
            unit: 1,
            state,
            reason: reason.map(str::to_owned),
            last_ok: None,
            lateness_ms: 0,
            latency_ms: None,
            refused: BTreeMap::new(),
            identity: None,
            findings: Vec::new(),
            counters: BusCounters::default(),
        }
    }

    #[test]
    fn a_device_whose_values_are_held_back_is_up_and_degraded_with_the_reason() {
        let devices = vec![
            device("a", DeviceState::Ok, None),
            device("b", DeviceState::Degraded, Some("identity")),
            device("c", DeviceState::Quarantined, Some("no-reply")),
        ];
        let spool =
            Spool { records: 0, octets: 0, oldest_ts: None, healthy: true, detail: None, appended: 0 };
        let (gateway, config, epoch) = ("g".to_owned(), String::new(), String::new());
        let (lines, upstreams) = (Vec::new(), Vec::new());
        let snapshot = Snapshot {
            gateway,
            version: "1",
            config,
            epoch,
            clock: "known",
            lines,
            devices,
            spool,
            upstreams,
            uplinks: vec![Uplink {
                name: "lte".to_owned(),
                interface: "wwan0".to_owned(),
                metered: true,
                in_use: true,
                state: UplinkState::Up,
                detail: None,
                since: Some(0),
                octets: 40,
                history_octets: 0,
                octets_ever: 70,
                budget: Some(100),
                stage: "free",
                changes: 2,
            }],
        };
        let text = text(&snapshot).unwrap();
        let degraded: Vec<_> =
            text.lines().filter(|line| line.starts_with("linesman_device_degraded{")).collect();
        assert_eq!(degraded, [r#"linesman_device_degraded{line="l",device="b",reason="identity"} 1.0"#]);
        assert!(text.contains(r#"linesman_device_up{line="l",device="b"} 1.0"#), "{text}");
        for line in [
            r#"linesman_uplink_traffic_bytes_total{uplink="lte"} 70"#,
            r#"linesman_uplink_month_bytes{uplink="lte"} 40.0"#,
            r#"linesman_uplink_budget_bytes{uplink="lte"} 100.0"#,
            r#"linesman_uplink_in_use{uplink="lte"} 1.0"#,
            "linesman_uplink_changes_total{} 2",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
