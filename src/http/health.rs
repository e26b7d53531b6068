//! `/livez`: does the process still turn? `/readyz`: should it be sent viewers, and if not, why?

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};

use super::Admin;

/// An answer is all there is to say: a runtime that hangs gives none.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let report = admin.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}
