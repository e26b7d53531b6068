// What `GET /api/ops` answers, and the last minutes of it.
// Invariant: bounded and in order of time, however often the page asks and whatever overlaps.

/** One moment of one replica. A field that does not apply (no Kafka, say) is null or missing. */
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
  runtime_lag_ms: number | null;
  kafka_lag?: number | null;
  slow_viewers: number;
  resyncs_per_s: number;
  /** Bytes by class. */
  memory: Record<string, number>;
}

export interface OpsReplica {
  name: string;
  version: string;
  viewers: number;
  uptime_s: number;
  /** Since this replica last heard of it; 0 for itself. */
  seen_ms: number;
}

export interface OpsAnswer {
  now: number;
  step_ms: number;
  replica: string;
  replicas: OpsReplica[];
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
