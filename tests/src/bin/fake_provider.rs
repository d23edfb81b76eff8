//! The fakes of all providers in a process of their own, for tests that kill and restart what they
//! test. Prints one line of JSON with the addresses, then serves until it is killed.
//!
//! `GET /counts` of the control address gives what came to each fake, `GET /received` every
//! request; `POST /script/{smtp|twilio|meta}` adds steps, `POST /reset` forgets everything.

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use switchyard_tests::fakes::{FakeMeta, FakeSmtp, FakeTwilio};
use tokio::net::TcpListener;

struct Fakes {
    smtp: FakeSmtp,
    twilio: FakeTwilio,
    meta: FakeMeta,
}

#[tokio::main]
async fn main() -> Result<()> {
    let fakes = Arc::new(Fakes {
        smtp: FakeSmtp::start().await,
        twilio: FakeTwilio::start().await,
        meta: FakeMeta::start().await,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addresses = json!({
        "smtp": fakes.smtp.addr(),
        "twilio": fakes.twilio.url(),
        "meta": fakes.meta.url(),
        "control": format!("http://{}", listener.local_addr()?),
    });
    let app = Router::new()
        .route("/counts", get(counts))
        .route("/received", get(received))
        .route("/script/{fake}", post(script))
        .route("/reset", post(reset))
        .with_state(fakes);
    let mut out = std::io::stdout();
    writeln!(out, "{addresses}")?;
    out.flush()?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn counts(State(fakes): State<Arc<Fakes>>) -> Json<Value> {
    Json(json!({
        "smtp": fakes.smtp.record().counts(),
        "twilio": fakes.twilio.record().counts(),
        "meta": fakes.meta.record().counts(),
    }))
}

async fn received(State(fakes): State<Arc<Fakes>>) -> Json<Value> {
    Json(json!({
        "smtp": fakes.smtp.record().all(),
        "twilio": fakes.twilio.record().all(),
        "meta": fakes.meta.record().all(),
    }))
}

async fn script(
    State(fakes): State<Arc<Fakes>>,
    Path(fake): Path<String>,
    Json(steps): Json<Value>,
) -> Result<StatusCode, (StatusCode, String)> {
    let bad = |e: serde_json::Error| (StatusCode::BAD_REQUEST, format!("{e}\n"));
    match fake.as_str() {
        "smtp" => fakes.smtp.script().push(steps_of(steps).map_err(bad)?),
        "twilio" => fakes.twilio.script().push(steps_of(steps).map_err(bad)?),
        "meta" => fakes.meta.script().push(steps_of(steps).map_err(bad)?),
        _ => return Err((StatusCode::NOT_FOUND, "there are smtp, twilio and meta\n".to_owned())),
    }
    Ok(StatusCode::NO_CONTENT)
}

fn steps_of<T: serde::de::DeserializeOwned>(steps: Value) -> Result<Vec<T>, serde_json::Error> {
    serde_json::from_value(steps)
}

async fn reset(State(fakes): State<Arc<Fakes>>) -> StatusCode {
    for record in [fakes.smtp.record(), fakes.twilio.record(), fakes.meta.record()] {
        record.clear();
    }
    fakes.smtp.script().clear();
    fakes.twilio.script().clear();
    fakes.meta.script().clear();
    StatusCode::NO_CONTENT
}
