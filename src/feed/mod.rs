//! How updates of *watched* fleets reach this replica: interest becomes SUBSCRIBE and UNSUBSCRIBE on
//! one Redis connection, messages become batches. Knows neither viewers nor JSON.
//!
//! [`interest`] is the pure core and generic over channel names: whoever needs interest-driven
//! subscriptions on a connection of its own (the cluster's bus) uses it too.

pub mod interest;
