//! What a survey means for a migration: what fits, what must be configured, what will not work. Pure.

use serde::Serialize;

use super::survey::Survey;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How much it matters.
    pub(super) level: Level,
    /// What it is.
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// To be known.
    Note,
    /// Something that will not work, or not as before.
    Problem,
}

/// What is to be told, and the variables that Fleetcast needs.
pub(super) fn findings(survey: &Survey, key: &str) -> (Vec<Finding>, Vec<String>) {
    let mut found = Vec::new();
    let mut note = |level, text: String| found.push(Finding { level, text });
    let classic = survey.members.get("/").copied().unwrap_or(0);
    let sharded = survey.sharded.get("/").copied().unwrap_or(0);
    match (classic, sharded) {
        (0, 0) => note(
            Level::Problem,
            format!("no member of a cluster with the key {key:?}: is it another key or another Redis?"),
        ),
        (_, 0) => {
            note(Level::Ok, format!("{classic} members of the classic adapter: {}", survey.uids.join(" ")));
        }
        (0, _) => note(
            Level::Ok,
            format!("{sharded} members of the sharded adapter: {}", survey.shard_uids.join(" ")),
        ),
        _ => note(
            Level::Problem,
            format!(
                "{classic} members of the classic adapter and {sharded} of the sharded one: these can not hear each other"
            ),
        ),
    }
    for key in &survey.other_keys {
        note(Level::Note, format!("another cluster has members under the key {key:?}"));
    }
    let namespaces = survey
        .members
        .keys()
        .chain(survey.sharded.keys())
        .chain(&survey.traffic.namespaces)
        .filter(|name| *name != "/");
    let namespaces: std::collections::BTreeSet<&String> = namespaces.collect();
    for namespace in namespaces {
        note(
            Level::Problem,
            format!("namespace {namespace} is in use: Fleetcast serves / alone, keep its Node replicas"),
        );
    }
    if classic + sharded == 0 {
        traffic(survey, false, &mut note);
        return (found, Vec::new());
    }
    let is_sharded = classic == 0 && sharded > 0;
    clients(survey, is_sharded, &mut note);
    traffic(survey, is_sharded, &mut note);
    let adapter = if is_sharded { "sharded" } else { "classic" };
    let mut variables = vec![format!("FLEETCAST_ADAPTER={adapter}"), format!("FLEETCAST_ADAPTER_KEY={key}")];
    let subscribe = match is_sharded {
        true if survey.shard_sockets > 0 => "dynamic-private",
        false if survey.traffic.remote_joins > 0 => "pattern",
        _ => "interest",
    };
    variables.push(format!("FLEETCAST_ADAPTER_SUBSCRIBE={subscribe}"));
    (found, variables)
}

fn clients(survey: &Survey, is_sharded: bool, note: &mut impl FnMut(Level, String)) {
    match survey.pattern_connections {
        Some(_) if is_sharded => {}
        None => note(Level::Note, "CLIENT LIST is not allowed: libraries are not known".to_owned()),
        Some(count) => {
            note(Level::Ok, format!("{count} connections subscribe to patterns; each Node replica has one"))
        }
    }
    for (library, count) in &survey.libraries {
        note(Level::Ok, format!("{count} subscribed connections of {library}"));
    }
    for answer in &survey.answers {
        note(Level::Ok, format!("answer to cluster_ping: {answer}"));
    }
    let members: usize = survey.members.get("/").into_iter().chain(survey.sharded.get("/")).sum();
    if survey.asked && members > survey.answers.len() {
        let text = "members did not answer cluster_ping: Node replicas do not by themselves";
        note(Level::Note, format!("{} {text}", members - survey.answers.len()));
    }
    if is_sharded {
        shards(survey, note);
    }
    let rooms = survey.subscribed_rooms + survey.shard_rooms;
    note(Level::Ok, format!("{rooms} rooms subscribed by name, {} fleets", survey.subscribed_fleets));
}

fn shards(survey: &Survey, note: &mut impl FnMut(Level, String)) {
    if survey.shard_sockets > 0 {
        let text = "sockets have channels of their own: subscriptionMode is \"dynamic-private\"";
        note(Level::Ok, format!("{} {text}", survey.shard_sockets));
    } else if survey.shard_rooms == 0 {
        let text = "no room has a channel: no dashboard is in one, or subscriptionMode is \"static\", for which it is FLEETCAST_ADAPTER_SUBSCRIBE=static";
        note(Level::Note, text.to_owned());
    }
    let text = "requests, and events to everybody or to several rooms, are not listened to: who listens there is counted as a member";
    note(Level::Note, text.to_owned());
}

fn traffic(survey: &Survey, is_sharded: bool, note: &mut impl FnMut(Level, String)) {
    let heard = &survey.traffic;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = |count: u64| count as f64 / survey.seconds.max(1) as f64;
    note(
        Level::Ok,
        format!(
            "per second: {:.1} updates, {:.1} events to {} rooms ({} by emitters), {:.1} requests, {:.1} answers",
            rate(heard.updates),
            rate(heard.broadcasts),
            heard.rooms.len(),
            heard.by_emitter,
            rate(heard.requests),
            rate(heard.responses)
        ),
    );
    if heard.unreadable > 0 {
        let text = "events that are not MessagePack as Node writes it: a `parser` option, or damage";
        note(Level::Problem, format!("{} {text}", heard.unreadable));
    }
    if heard.unreadable_requests > 0 {
        note(Level::Problem, format!("{} requests that can not be read", heard.unreadable_requests));
    }
    if heard.remote_joins > 0 {
        let text = "sockets are put into rooms from other processes: with FLEETCAST_ADAPTER_SUBSCRIBE=pattern what is emitted right behind that is not missed";
        note(Level::Note, format!("{} times {text}", heard.remote_joins));
    }
    if heard.old_requests > 0 {
        note(
            Level::Note,
            format!("{} requests in the form of adapters before version 8", heard.old_requests),
        );
    }
    if heard.own_channel_responses > 0 && !is_sharded {
        note(
            Level::Note,
            "answers go to members' own channels (publishOnSpecificResponseChannel)".to_owned(),
        );
    }
    if heard.updates == 0 {
        note(
            Level::Note,
            "nothing was published on updates:<fleet>: FLEETCAST_SOURCE=redis would have nothing to send"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(survey: &Survey) -> Vec<String> {
        let (found, _) = findings(survey, "socket.io");
        found.into_iter().filter(|found| found.level == Level::Problem).map(|found| found.text).collect()
    }

    fn healthy() -> Survey {
        let mut survey = Survey { seconds: 5, ..Survey::default() };
        survey.members.insert("/".to_owned(), 3);
        survey.traffic.updates = 10;
        survey
    }

    #[test]
    fn a_plain_cluster_has_no_problems() {
        assert_eq!(problems(&healthy()), Vec::<String>::new());
        let (_, variables) = findings(&healthy(), "fleet");
        let expected = [
            "FLEETCAST_ADAPTER=classic",
            "FLEETCAST_ADAPTER_KEY=fleet",
            "FLEETCAST_ADAPTER_SUBSCRIBE=interest",
        ];
        assert_eq!(variables, expected);
    }

    #[test]
    fn what_will_not_work_is_a_problem() {
        assert!(problems(&Survey::default())[0].contains("no member"));
        assert!(findings(&Survey::default(), "wrong").1.is_empty(), "nothing to go by");
        let mut survey = healthy();
        survey.members.insert("/admin".to_owned(), 1);
        survey.traffic.unreadable = 2;
        survey.sharded.insert("/".to_owned(), 1);
        let problems = problems(&survey).join("\n");
        for word in ["/admin", "not MessagePack", "can not hear each other"] {
            assert!(problems.contains(word), "{problems}");
        }
    }

    #[test]
    fn a_sharded_cluster_needs_the_sharded_adapter() {
        let mut survey = healthy();
        survey.members.clear();
        survey.sharded.insert("/".to_owned(), 2);
        assert_eq!(problems(&survey), Vec::<String>::new());
        let (found, variables) = findings(&survey, "k");
        assert!(found.iter().any(|found| found.text.contains("FLEETCAST_ADAPTER_SUBSCRIBE=static")));
        assert_eq!(variables[0], "FLEETCAST_ADAPTER=sharded");
        assert_eq!(variables[2], "FLEETCAST_ADAPTER_SUBSCRIBE=interest");
        survey.shard_sockets = 1;
        assert_eq!(findings(&survey, "k").1[2], "FLEETCAST_ADAPTER_SUBSCRIBE=dynamic-private");
    }

    #[test]
    fn remote_joins_ask_for_the_pattern() {
        let mut survey = healthy();
        survey.traffic.remote_joins = 1;
        assert!(findings(&survey, "k").1.contains(&"FLEETCAST_ADAPTER_SUBSCRIBE=pattern".to_owned()));
    }
}
