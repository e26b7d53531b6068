//! `GET /api/ops`: what the operations page draws, for who may see it.
//! Invariant: an answer copies what was sampled anyway; however many pages ask, replicas are asked who they
//! are at most once in [`ASK_EVERY`], and never while nobody looks.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tower_http::compression::CompressionLayer;

use crate::{
    clock::epoch_ms,
    observe::{History, STEP, Sample},
};

/// The least time between two questions to the other replicas.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Whether a request carries the admin grant. Without authentication everybody has it.
pub type AdminGrant = Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

/// Asks all replicas, this one included, who they are; ends in bounded time.
pub type AskReplicas = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Replicas> + Send>> + Send + Sync>;

/// Who is there.
#[derive(Debug, Clone, Default)]
pub struct Replicas {
    /// Those that said who they are.
    pub known: Vec<Replica>,
    /// How many did not: Node servers, which have no answer, or those that were too slow.
    pub silent: usize,
}

/// One replica, of whatever kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its name.
    #[serde(alias = "id")]
    pub name: String,
    /// Its version.
    pub version: String,
    /// Viewers connected to it.
    #[serde(default)]
    pub viewers: i64,
    /// Since it started.
    #[serde(default)]
    pub uptime_s: u64,
}

/// What `/api/ops` answers from.
#[derive(Clone)]
pub struct Ops {
    /// The name of this replica.
    pub replica: String,
    /// Its last minutes.
    pub history: History,
    /// Who may ask.
    pub may_see: AdminGrant,
    /// The cluster.
    pub ask_replicas: AskReplicas,
}

#[derive(Clone)]
struct Page {
    ops: Ops,
    /// Held for a copy, never across an await.
    last: Arc<Mutex<Asked>>,
}

#[derive(Debug, Clone, Default)]
struct Asked {
    replicas: Replicas,
    answered_at: Option<Instant>,
    /// One question at a time; with a Node server among the members it takes its whole deadline.
    is_asking: bool,
}

#[derive(Debug, Deserialize)]
struct Since {
    #[serde(default)]
    since: i64,
}

#[derive(Serialize)]
struct Answer<'a> {
    now: i64,
    step_ms: u128,
    replica: &'a str,
    replicas: Vec<Row<'a>>,
    silent_replicas: usize,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    replica: &'a Replica,
    /// Since it was heard of.
    seen_ms: u128,
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ops").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl Ops {
    /// The route.
    pub fn router(self) -> Router {
        let page = Page { ops: self, last: Arc::default() };
        Router::new().route("/api/ops", get(answer)).with_state(page).layer(CompressionLayer::new())
    }
}

async fn answer(
    State(page): State<Page>,
    Query(Since { since }): Query<Since>,
    headers: HeaderMap,
) -> Response {
    if !(page.ops.may_see)(&headers) {
        return (StatusCode::FORBIDDEN, "the admin grant is required\n").into_response();
    }
    let Asked { replicas, answered_at, .. } = page.replicas();
    let seen_ms = answered_at.map_or(0, |at| at.elapsed().as_millis());
    let answer = Answer {
        now: epoch_ms(),
        step_ms: STEP.as_millis(),
        replica: &page.ops.replica,
        replicas: replicas.known.iter().map(|replica| Row { replica, seen_ms }).collect(),
        silent_replicas: replicas.silent,
        samples: page.ops.history.after(since),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

impl Page {
    /// Who was there when they were asked last; asks again if that is some time ago. The page does not wait.
    fn replicas(&self) -> Asked {
        let mut last = self.last();
        let is_fresh = last.answered_at.is_some_and(|at| at.elapsed() < ASK_EVERY);
        if !is_fresh && !last.is_asking {
            last.is_asking = true;
            let (page, replicas) = (self.clone(), (self.ops.ask_replicas)());
            tokio::spawn(async move {
                let replicas = replicas.await;
                *page.last() = Asked { replicas, answered_at: Some(Instant::now()), is_asking: false };
            });
        }
        last.clone()
    }

    fn last(&self) -> MutexGuard<'_, Asked> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    fn ops(may_see: bool) -> (Arc<AtomicUsize>, Router) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let ask_replicas: AskReplicas = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let one = Replica { name: "gw-1".to_owned(), version: "1".to_owned(), viewers: 3, uptime_s: 9 };
            Box::pin(async { Replicas { known: vec![one], silent: 1 } })
        });
        let history = History::default();
        let ops =
            Ops { replica: "gw-1".to_owned(), history, may_see: Arc::new(move |_| may_see), ask_replicas };
        (asked, ops.router())
    }

    async fn get(router: &Router, path: &str) -> (StatusCode, serde_json::Value) {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn without_the_admin_grant_there_is_nothing_to_see() {
        let (asked, router) = ops(false);
        assert_eq!(get(&router, "/api/ops").await.0, StatusCode::FORBIDDEN);
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn many_pages_cost_the_cluster_one_question() {
        let (asked, router) = ops(true);
        let told = async || {
            let (status, answer) = get(&router, "/api/ops?since=0").await;
            assert_eq!(status, StatusCode::OK);
            (answer["replicas"].as_array().unwrap().len(), answer["silent_replicas"].as_u64().unwrap())
        };
        assert_eq!(told().await, (0, 0), "nobody waits for the first answer");
        for _ in 0..20 {
            tokio::task::yield_now().await;
            assert_eq!(told().await, (1, 1));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(ASK_EVERY).await;
        told().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
