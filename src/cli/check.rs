//! `fleetcast check`: would `serve` start, and reach what it needs? One line per answer.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use tokio::time::timeout;

use super::{FAILED, runtime, say};
use crate::{config::Config, source::kafka, store::Redis, transport::TlsFiles};

/// An answer that takes longer would be no good to a running gateway either.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(config: &Config) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    say(&format_args!(
        "ok      configuration: source {}, store {}, public {}, admin {}",
        name(&config.source),
        name(&config.store),
        config.shared.ports.listen,
        config.shared.ports.admin_listen
    ));
    let mut healthy = true;
    if let Some(tls) = config.shared.ports.tls() {
        healthy &= report(&format!("certificate {}", tls.certificate.display()), &certificate(&tls));
    }
    if let Some(redis) = &config.redis {
        healthy &= report(&format!("redis {redis}"), &runtime.block_on(ping(redis)));
    }
    if let Some(kafka) = &config.kafka {
        healthy &= ask_for_topics(kafka);
    }
    ExitCode::from(if healthy { 0 } else { FAILED })
}

/// Whether it can be shown, and until when.
fn certificate(files: &TlsFiles) -> Result<String, String> {
    let pair = files.load().map_err(|error| error.to_string())?;
    let Some(until) = pair.holds_until().and_then(|until| jiff::Timestamp::from_second(until).ok()) else {
        return Ok("fits its key".to_owned());
    };
    if until < jiff::Timestamp::now() {
        return Err(format!("expired at {until}"));
    }
    Ok(format!("fits its key, holds until {until}"))
}

/// As it is written on the command line.
fn name(kind: &impl ValueEnum) -> String {
    kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn report(what: &str, outcome: &Result<String, String>) -> bool {
    match outcome {
        Ok(fact) => say(&format_args!("ok      {what}: {fact}")),
        Err(reason) => say(&format_args!("failed  {what}: {reason}")),
    }
    outcome.is_ok()
}

fn ask_for_topics(kafka: &kafka::Settings) -> bool {
    let cluster = format!("kafka {}", kafka.brokers());
    match kafka.ask_for_topics(ANSWER_MAX) {
        Err(error) => report(&cluster, &Err(error.to_string())),
        Ok(answer) => {
            let mut healthy = report(&cluster, &Ok(format!("{} brokers", answer.brokers)));
            for (topic, partitions) in answer.topics {
                let partitions = partitions.map(|count| format!("{count} partitions"));
                healthy &= report(&format!("topic {topic}"), &partitions);
            }
            healthy
        }
    }
}

async fn ping(redis: &Redis) -> Result<String, String> {
    let started = Instant::now();
    let answer = timeout(ANSWER_MAX, async {
        let mut link = redis.connect().await?;
        redis::cmd("PING").query_async::<String>(&mut link).await
    });
    match answer.await {
        Ok(Ok(_)) => Ok(format!("answered in {} ms", started.elapsed().as_millis())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}
