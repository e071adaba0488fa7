//! `linesman spool`: the log as history, and a backlog that moves to another box.

use linesman::model::{Bad, Reading, Sample, Timestamp, Value};
use linesman::record;
use linesman::spool::{Config, start};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// 2026-01-01 00:00 UTC.
const START: i64 = 1_767_225_600_000;

/// Two meters, each read every ten seconds for an hour; `u` has had the first minute.
async fn spool(dir: &Path) {
    let spool = start(Config { dir: dir.to_owned(), ..Config::default() }, &["u".to_owned()]).unwrap();
    for n in 0..720i64 {
        let number = |text: String| -> Sample { Ok(Value::Number(text.parse().unwrap())) };
        let current = if n == 7 { Err(Bad::NoReply) } else { number(format!("{}", n % 5)) };
        let reading = Reading {
            device: (if n % 2 == 0 { "boiler" } else { "incomer" }).parse().unwrap(),
            ts: Timestamp(START + n / 2 * 10_000),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: vec![
                ("voltage".parse().unwrap(), number(format!("23{}.{}", n % 7, n % 10))),
                ("current".parse().unwrap(), current),
                ("state".parse().unwrap(), Ok(Value::Text("on, \"warm\"".into()))),
            ],
        };
        spool.writer().append(reading.ts.0, record::encode(&reading)).await.unwrap();
    }
    spool.commit().await.unwrap();
    spool.reader("u").unwrap().ack(12).await.unwrap();
    spool.close().await.unwrap();
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_linesman")).arg("spool").args(arguments).output().unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
}

fn lines(arguments: &[&str]) -> Vec<String> {
    let (code, out, said) = run(arguments);
    assert_eq!(code, Some(0), "{said}");
    out.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_log_is_read_by_device_point_and_time() {
    let dir = tempfile::tempdir().unwrap();
    spool(dir.path()).await;
    let path = dir.path().to_str().unwrap();
    assert_eq!(lines(&["dump", path]).len(), 720);
    let found = lines(&[
        "dump",
        path,
        "--device",
        "incomer",
        "--point",
        "current",
        "--from",
        "2026-01-01T00:00:20Z",
        "--to",
        "2026-01-01T00:00:40Z",
    ]);
    let seen: Vec<serde_json::Value> = found.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (&seen[0]["device"], &seen[0]["ts"], &seen[0]["values"]),
        (&"incomer".into(), &(START + 20_000).into(), &serde_json::json!({"current": 0}))
    );
    assert_eq!(
        (&seen[1]["values"], &seen[1]["bad"]),
        (&serde_json::json!({}), &serde_json::json!({"current": "no-reply"}))
    );
    let csv = lines(&["dump", path, "--device", "incomer", "--format", "csv", "--limit", "4"]);
    assert_eq!(csv[0], "ts,device,point,value,bad");
    assert_eq!(csv[1], format!("{START},incomer,voltage,231.1,"));
    assert_eq!(csv[3], format!("{START},incomer,state,\"on, \"\"warm\"\"\","));
    assert_eq!(csv[11], format!("{},incomer,current,,no-reply", START + 30_000));
    let (code, _, said) = run(&["dump", path, "--from", "yesterday"]);
    assert!(code == Some(64) && said.contains("YYYY-MM-DD"), "{said}");
}

#[tokio::test]
async fn a_chart_takes_least_most_and_mean_for_each_step() {
    let dir = tempfile::tempdir().unwrap();
    spool(dir.path()).await;
    let path = dir.path().to_str().unwrap();
    let found = lines(&["dump", path, "--device", "boiler", "--point", "current", "--step", "20m"]);
    let steps: Vec<serde_json::Value> =
        found.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        steps.iter().map(|step| step["ts"].as_i64().unwrap() - START).collect::<Vec<_>>(),
        [0, 1_200_000, 2_400_000]
    );
    for step in &steps {
        assert_eq!(
            (&step["min"], &step["max"], &step["mean"], &step["count"]),
            (&0.into(), &4.into(), &2.into(), &120.into())
        );
    }
    let csv = lines(&["dump", path, "--point", "current", "--step", "1h", "--format", "csv"]);
    assert_eq!(
        csv[..2],
        ["ts,device,point,min,max,mean,count".to_owned(), format!("{START},boiler,current,0,4,2,360")]
    );
}

#[tokio::test]
async fn a_backlog_moves_to_another_box() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    spool(from.path()).await;
    let file = to.path().join("backlog");
    let (source, target, file) =
        (from.path().to_str().unwrap(), to.path().join("spool"), file.to_str().unwrap());
    let target = target.to_str().unwrap();
    let (code, _, said) = run(&["export", source, file, "--upstream", "u"]);
    assert_eq!((code, said.trim()), (Some(0), "708 records exported"));
    assert_eq!(lines(&["import", target, file]), ["708 records imported, 0 were there already"]);
    assert_eq!(lines(&["import", target, file]), ["0 records imported, 708 were there already"]);
    let values = |path: &str| lines(&["dump", path, "--format", "csv"]);
    assert_eq!(values(target)[1..], values(source)[1 + 36..]);
    assert_eq!(run(&["check", target]).0, Some(0));
    let (code, _, said) = run(&["export", source, file, "--upstream", "v"]);
    assert!(
        code == Some(64) && said.contains("no upstream v has a cursor here; those that have: u"),
        "{said}"
    );
    let running = start(Config { dir: to.path().join("spool"), ..Config::default() }, &[]).unwrap();
    let (code, _, said) = run(&["import", target, file]);
    assert!(code == Some(74) && said.contains("in use by process"), "{said}");
    running.close().await.unwrap();
}

#[tokio::test]
async fn a_loss_that_is_not_announced_yet_is_told_by_status() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dir: dir.path().to_owned(), ..Config::default() };
    let spool = start(config, &["u".to_owned()]).unwrap();
    for (n, size) in [(1, 10), (2, 1 << 20), (3, 10)] {
        spool.writer().append(n, vec![7; size]).await.unwrap();
    }
    spool.commit().await.unwrap();
    let path = dir.path().to_str().unwrap();
    let said = lines(&["status", path]).join("\n");
    assert!(said.contains("still to be announced: 1 records lost (too-large), sampled 2 to 2"), "{said}");
    let status: serde_json::Value =
        serde_json::from_str(&lines(&["status", path, "--json"]).concat()).unwrap();
    assert_eq!(
        status["cursors"][0]["gaps"],
        serde_json::json!([{"from": 2, "to": 2, "count": 1, "reason": "too-large"}])
    );
    let reader = spool.reader("u").unwrap();
    let gap = reader.gaps().await.unwrap().remove(0);
    assert_eq!(reader.account().borrow().gaps[0].id, gap.id);
    reader.announced(gap.id).await.unwrap();
    spool.commit().await.unwrap();
    assert!(reader.account().borrow().gaps.is_empty());
}
