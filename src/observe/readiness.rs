//! Whether this replica should be sent viewers: named conditions, each ready or not for a reason.
//! Invariant: the replica is ready only while every condition is, and never before there is one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// All conditions; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// Held for a map access, never across an await.
    conditions: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// One part's handle on its condition; clones share it.
#[derive(Debug, Clone)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReadinessReport {
    /// Whether every condition is ready.
    pub ready: bool,
    /// Why those are not that are not.
    pub reasons: BTreeMap<&'static str, String>,
    /// All conditions there are.
    pub conditions: Vec<&'static str>,
}

impl Readiness {
    /// The condition of that name; it is not ready until it says so.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        self.lock().entry(name).or_insert_with(|| Some("starting".to_owned()));
        Condition { name, readiness: self.clone() }
    }

    /// The state of all conditions.
    #[must_use]
    pub fn report(&self) -> ReadinessReport {
        let conditions = self.lock();
        let unready = conditions.iter().filter_map(|(name, why)| why.clone().map(|why| (*name, why)));
        let mut reasons: BTreeMap<_, _> = unready.collect();
        if conditions.is_empty() {
            reasons.insert("process", "starting".to_owned());
        }
        ReadinessReport {
            ready: reasons.is_empty(),
            reasons,
            conditions: conditions.keys().copied().collect(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// All is well here.
    pub fn set_ready(&self) {
        if self.set(None).is_some() {
            tracing::info!(condition = self.name, "ready");
        }
    }

    /// This replica should get no viewers, because of `reason`.
    pub fn set_unready(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let before = self.set(Some(reason.clone()));
        // A reason that only changes its wording (an age, say) is not news.
        if before.is_none() {
            tracing::warn!(condition = self.name, reason, "not ready");
        }
    }

    fn set(&self, state: Option<String>) -> Option<String> {
        self.readiness.lock().insert(self.name, state).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_condition_is() {
        let readiness = Readiness::default();
        assert!(!readiness.report().ready, "nothing has started");
        let (redis, kafka) = (readiness.condition("redis"), readiness.condition("kafka"));
        redis.set_ready();
        let report = readiness.report();
        assert!(!report.ready && report.reasons.get("kafka").is_some_and(|why| why == "starting"));
        kafka.set_ready();
        assert!(readiness.report().ready);
        redis.clone().set_unready("connection refused");
        let report = readiness.report();
        assert_eq!((report.ready, report.reasons["redis"].as_str()), (false, "connection refused"));
        assert_eq!(report.conditions, ["kafka", "redis"]);
        // Asking for a condition again changes nothing.
        drop(readiness.condition("kafka"));
        redis.set_ready();
        assert!(readiness.report().ready);
    }
}
