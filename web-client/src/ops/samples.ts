// What `GET /api/ops` answers, and the last minutes of it.
// Invariant: bounded and in order of time, however often the page asks and whatever overlaps.

/** One moment of one replica. A field that does not apply (no Kafka, say) is null. */
export interface OpsSample {
  /** Epoch ms. */
  ts: number;
  websocket: number;
  polling: number;
  updates_per_s: number;
  deliveries_per_s: number;
  bytes_per_s: number;
  conflated_per_s: number;
  age_p50_ms: number | null;
  age_p99_ms: number | null;
  region_age_p50_ms: number | null;
  region_age_p99_ms: number | null;
  runtime_lag_p99_ms: number | null;
  kafka_lag: number | null;
  lagging_per_s: number;
  resyncs_per_s: number;
  /** Bytes by class. */
  memory: Record<string, number>;
}

export interface OpsReplica {
  name: string;
  version: string;
  viewers: number;
  uptime_s: number;
  /** Since it last said so. */
  seen_ms: number;
}

export interface OpsAnswer {
  now: number;
  step_ms: number;
  replica: string;
  replicas: OpsReplica[];
  /** Members of the cluster that did not say who they are: Node servers, say. */
  silent_replicas: number;
  /** Those after `since`, oldest first. */
  samples: OpsSample[];
}

/** Ten minutes at one sample in two seconds. */
const SAMPLES_MAX = 300;

export class OpsHistory {
  samples: OpsSample[] = [];

  get newest(): number {
    return this.samples.at(-1)?.ts ?? 0;
  }

  add(samples: OpsSample[]): void {
    const fresh = samples.filter((sample) => sample.ts > this.newest);
    fresh.sort((a, b) => a.ts - b.ts);
    this.samples = [...this.samples, ...fresh].slice(-SAMPLES_MAX);
  }

  column(pick: (sample: OpsSample) => number | null | undefined): (number | null)[] {
    return this.samples.map((sample) => pick(sample) ?? null);
  }

  /** In seconds, as the charts want it. */
  times(): number[] {
    return this.samples.map((sample) => sample.ts / 1000);
  }

  /** The largest classes of memory, the largest first. */
  memoryClasses(max: number): string[] {
    const newest = this.samples.at(-1)?.memory ?? {};
    return Object.keys(newest)
      .sort((a, b) => newest[b]! - newest[a]! || (a < b ? -1 : 1))
      .slice(0, max);
  }
}

/**
 * Behind a load balancer any replica may answer: each has a history of its own.
 * Bounded, for replicas that come and go with every deployment.
 */
export class OpsHistories {
  readonly #histories = new Map<string, OpsHistory>();

  /** What any of them may be asked for next without missing a sample of itself. */
  get since(): number {
    const newest = [...this.#histories.values()].map((history) => history.newest);
    return newest.length === 0 ? 0 : Math.min(...newest);
  }

  get names(): string[] {
    return [...this.#histories.keys()].sort();
  }

  of(name: string): OpsHistory | undefined {
    return this.#histories.get(name);
  }

  add(answer: OpsAnswer): void {
    const history = this.#histories.get(answer.replica) ?? new OpsHistory();
    history.add(answer.samples);
    this.#histories.set(answer.replica, history);
    const oldest = answer.now - SAMPLES_MAX * answer.step_ms;
    for (const [name, { newest }] of this.#histories) {
      if (newest < oldest && name !== answer.replica) this.#histories.delete(name);
    }
  }
}
