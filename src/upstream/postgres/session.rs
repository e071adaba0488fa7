//! One connection to the database: opened, secured, set up, and bodies written by it.

use super::table::{COLUMNS, COPY, COPY_GAPS, Column, Of, STAGED, STAGED_GAPS, Table};
use super::{Config, rows, said};
use crate::uplink::{Connection, Dialler, Validity};
use crate::upstream::bodies::Refusal;
use bytes::Bytes;
use futures_util::SinkExt;
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls, Statement, Transaction};

/// SSLRequest: its length, and the number that is none of a version ("Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A statement that takes longer is broken off by the server: somebody has locked the table, or its disk is at its end.
/// A session whose gateway is gone ends too, and with it what it has locked. The server asks whether we are still there,
/// which also keeps a firewall's memory awake. What is acknowledged is to be on its disk.
const SETTINGS: &str = "set statement_timeout = '60s'; set idle_in_transaction_session_timeout = '60s'; \
     set tcp_keepalives_idle = 60; set tcp_keepalives_interval = 15; set tcp_keepalives_count = 4; \
     select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'";

pub(super) struct Session {
    client: Client,
    /// Carries what is said to and fro; ends with the session.
    carrier: JoinHandle<()>,
    table: Table,
    readings: Way,
    gaps: Way,
    pub(super) validity: Validity,
    /// What is not as it was asked for, and stops nothing.
    pub(super) doubts: Vec<String>,
}

/// Into the session's own table, and from there into the one that stays.
struct Way {
    copy: Statement,
    insert: Statement,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Session {
    /// Whatever goes wrong here goes wrong for every record: in words.
    pub(super) async fn open(config: &Config, dialler: Dialler) -> Result<Session, String> {
        let wire = wire(config, dialler).await?;
        let validity = wire.validity();
        let mut login = tokio_postgres::Config::new();
        login.user(&config.user).dbname(&config.database).application_name("linesman");
        if let Some(secret) = &config.password {
            let secret = secret.clone();
            let password = tokio::task::spawn_blocking(move || secret.read()).await;
            login.password(password.map_err(|error| error.to_string())??);
        }
        let words = |error: Error| format!("{}: {}", config.to, said::words(&error, &config.table));
        // TLS is done, or not wanted.
        let (client, connection) = login.connect_raw(wire, NoTls).await.map_err(words)?;
        let carrier = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the database's connection has ended");
            }
        });
        let guard = Guard(Some(carrier));
        client.batch_execute(SETTINGS).await.map_err(words)?;
        let mut doubts = Vec::new();
        for (of, table) in [(Of::Readings, config.table.clone()), (Of::Gaps, config.table.gaps())] {
            see_to(&client, config, of, &table, &mut doubts).await?;
        }
        client.batch_execute(&format!("{STAGED}; {STAGED_GAPS}")).await.map_err(words)?;
        let readings = Way {
            copy: client.prepare(COPY).await.map_err(words)?,
            insert: client.prepare(&Of::Readings.insert(&config.table)).await.map_err(words)?,
        };
        let gaps = Way {
            copy: client.prepare(COPY_GAPS).await.map_err(words)?,
            insert: client.prepare(&Of::Gaps.insert(&config.table.gaps())).await.map_err(words)?,
        };
        let carrier = guard.release().ok_or("the connection is gone")?;
        Ok(Session { client, carrier, table: config.table.clone(), readings, gaps, validity, doubts })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// All of it, or nothing.
    pub(super) async fn write(&mut self, body: &[u8]) -> Result<(), Refusal> {
        self.transact(body).await.map_err(|error| said::refusal(&error, &self.table))
    }

    async fn transact(&mut self, body: &[u8]) -> Result<(), Error> {
        let (readings, gaps) = rows::split(body);
        // Rolled back where it is dropped.
        let transaction = self.client.transaction().await?;
        for (way, rows) in [(&self.gaps, gaps), (&self.readings, readings)] {
            if !rows.is_empty() {
                way.put(&transaction, rows).await?;
            }
        }
        transaction.commit().await
    }
}

impl Way {
    async fn put(&self, transaction: &Transaction<'_>, rows: Vec<u8>) -> Result<(), Error> {
        let mut sink = pin!(transaction.copy_in::<_, Bytes>(&self.copy).await?);
        sink.send(Bytes::from(rows)).await?;
        sink.finish().await?;
        transaction.execute(&self.insert, &[]).await?;
        Ok(())
    }
}

/// Ends the task where the session does not come about.
struct Guard(Option<JoinHandle<()>>);

impl Guard {
    fn release(mut self) -> Option<JoinHandle<()>> {
        self.0.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// TCP, and TLS where it is wanted: asked for in plain text, with nothing of ours in it.
async fn wire(config: &Config, dialler: Dialler) -> Result<Connection, String> {
    let mut wire = dialler.dial(&config.to, None).await.map_err(|error| error.to_string())?;
    let Some(tls) = &config.tls else { return Ok(wire) };
    let mut answer = [0];
    let asked = async {
        wire.write_all(&SSL_REQUEST).await?;
        wire.flush().await?;
        // This octet and no other: what somebody has put behind it in plain text goes into the handshake, and breaks it.
        wire.read_exact(&mut answer).await
    };
    asked.await.map_err(|error| format!("{}: {error}", config.to))?;
    match answer {
        [b'S'] => wire.secure(&config.to, tls).await.map_err(|error| error.to_string()),
        [b'N'] => Err(format!(
            "{}: the server does no TLS, so nothing is sent: set `ssl = on` and a certificate in its postgresql.conf, \
             or say `insecure: true` where nobody else is on the way",
            config.to
        )),
        _ => Err(format!("{}: it does not answer as PostgreSQL does", config.to)),
    }
}

/// Looks at a table, and makes it where it is to be made.
async fn see_to(
    client: &Client,
    config: &Config,
    of: Of,
    table: &Table,
    doubts: &mut Vec<String>,
) -> Result<(), String> {
    let words = |error: Error| format!("{}: {}", config.to, said::words(&error, &config.table));
    let mut there = columns(client, table).await.map_err(words)?;
    if there.is_empty() {
        if !config.create {
            return Err(format!(
                "{}: there is no table {table}, and `create: false` leaves it to you",
                config.to
            ));
        }
        client.batch_execute(&of.create(table)).await.map_err(words)?;
        tracing::info!(%table, "table made");
        there = columns(client, table).await.map_err(words)?;
    }
    of.check(table, &there).map_err(|why| format!("{}: {why}", config.to))?;
    if of == Of::Readings && config.timescale {
        doubts.extend(hypertable(client, config, table).await.map_err(words)?);
    }
    Ok(())
}

async fn columns(client: &Client, table: &Table) -> Result<Vec<Column>, Error> {
    let rows = client.query(COLUMNS, &[&table.sql()]).await?;
    let column = |row: &tokio_postgres::Row| {
        Ok(Column { name: row.try_get(0)?, kind: row.try_get(1)?, must_be_given: row.try_get(2)? })
    };
    rows.iter().map(column).collect()
}

/// Makes a hypertable of it; what keeps it from becoming one. A plain table takes the same rows.
async fn hypertable(client: &Client, config: &Config, table: &Table) -> Result<Option<String>, Error> {
    let known = "select 1 from pg_extension where extname = 'timescaledb'";
    if client.query_opt(known, &[]).await?.is_none() {
        return Ok(Some(format!(
            "`timescale: true`, and the database {} has no extension timescaledb: {table} is a plain table",
            config.database
        )));
    }
    let make = format!("select create_hypertable('{}'::regclass, 'ts', if_not_exists => true)", table.sql());
    let made = client.batch_execute(&make).await;
    Ok(made.err().map(|error| format!("{table} is no hypertable: {}", said::words(&error, table))))
}
