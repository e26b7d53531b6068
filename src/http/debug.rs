//! `/debug/…`: memory by class with marks to compare, open connections, heap profiles.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::Admin;
use crate::observe::{Mark, MemoryClasses, MemoryFigures, NoProfile, heap_profile};

#[derive(Debug, Deserialize)]
pub(super) struct MemoryQuery {
    mark: Option<Mark>,
}

#[derive(Debug, Serialize)]
struct MemoryAnswer {
    #[serde(flatten)]
    now: MemoryFigures,
    marks: BTreeMap<Mark, MemoryFigures>,
    /// Growth of each figure between two marks, `B-A` say.
    differences: BTreeMap<String, BTreeMap<&'static str, i64>>,
}

/// `?mark=A` returns freed memory to the system and remembers the figures, so that three requests are a
/// leak hunt: A before the load, B under it, C after everybody left.
pub(super) async fn memory(State(admin): State<Admin>, Query(query): Query<MemoryQuery>) -> Response {
    let memory = admin.memory;
    // Purging blocks, and so may parts that are asked.
    match spawn_blocking(move || answer(&memory, query.mark)).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => failed(&error),
    }
}

fn answer(memory: &MemoryClasses, mark: Option<Mark>) -> MemoryAnswer {
    if let Some(mark) = mark {
        memory.mark(mark);
    }
    let marks = memory.marks();
    let pairs = [(Mark::B, Mark::A), (Mark::C, Mark::A), (Mark::C, Mark::B)];
    let differences = pairs.into_iter().filter_map(|(to, from)| {
        Some((format!("{to:?}-{from:?}"), marks.get(&to)?.since(marks.get(&from)?)))
    });
    MemoryAnswer { now: memory.read(), differences: differences.collect(), marks }
}

/// Connections listed when nothing is said.
const CONNECTIONS_SHOWN: usize = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct ConnectionsQuery {
    limit: Option<usize>,
}

pub(super) async fn connections(
    State(admin): State<Admin>,
    Query(query): Query<ConnectionsQuery>,
) -> Json<serde_json::Value> {
    Json((admin.connections)(query.limit.unwrap_or(CONNECTIONS_SHOWN)))
}

pub(super) async fn heap() -> Response {
    match spawn_blocking(heap_profile).await {
        Ok(Ok(profile)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"fleetcast.heap\""),
            ];
            (headers, profile).into_response()
        }
        Ok(Err(error @ NoProfile::Off)) => {
            (StatusCode::NOT_IMPLEMENTED, format!("{error}\n")).into_response()
        }
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a debug request failed");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
