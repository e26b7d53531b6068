//! How updates of *watched* fleets reach this replica: interest becomes SUBSCRIBE and UNSUBSCRIBE on
//! one Redis connection, messages become batches. Knows neither viewers nor JSON.
//!
//! [`interest`], [`subscriptions`] and [`subscriber`] know no fleets: whoever needs interest-driven
//! subscriptions on a connection of its own (the cluster's bus) uses them with its own channel names;
//! `subscriber` tells how.

pub mod interest;
pub mod subscriber;
pub mod subscriptions;

mod backoff;
mod connection;
