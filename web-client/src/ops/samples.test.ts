import { expect, it } from 'vitest';
import { type OpsAnswer, OpsHistories, OpsHistory, type OpsSample } from './samples';

const sample = (ts: number, memory = {}): OpsSample => ({
  ts,
  websocket: ts,
  polling: 0,
  updates_per_s: 0,
  deliveries_per_s: 0,
  bytes_per_s: 0,
  conflated_per_s: 0,
  age_p50_ms: null,
  age_p99_ms: null,
  region_age_p50_ms: null,
  region_age_p99_ms: null,
  runtime_lag_p99_ms: 1,
  kafka_lag: null,
  lagging_per_s: 0,
  resyncs_per_s: 0,
  memory,
});

it('overlapping answers make one history in order', () => {
  const history = new OpsHistory();
  history.add([sample(1), sample(2)]);
  history.add([sample(3), sample(2)]);
  expect(history.column((s) => s.websocket)).toEqual([1, 2, 3]);
  expect(history.newest).toBe(3);
});

it('the history is bounded', () => {
  const history = new OpsHistory();
  for (let ts = 1; ts <= 1_000; ts++) history.add([sample(ts)]);
  expect(history.samples).toHaveLength(300);
  expect(history.samples[0]!.ts).toBe(701);
});

it('what does not apply is a gap, not a zero', () => {
  const history = new OpsHistory();
  history.add([sample(1)]);
  expect(history.column((s) => s.kafka_lag)).toEqual([null]);
});

it('the largest classes of memory come first', () => {
  const history = new OpsHistory();
  history.add([sample(1, { state: 5, sessions: 50, other: 1 })]);
  expect(history.memoryClasses(2)).toEqual(['sessions', 'state']);
});

it('replicas that answer in turn do not mix, and those long gone are forgotten', () => {
  const all = new OpsHistories();
  const answer = (replica: string, ...samples: number[]): OpsAnswer => ({
    now: samples.at(-1)!,
    step_ms: 2_000,
    replica,
    replicas: [],
    silent_replicas: 0,
    samples: samples.map((ts) => sample(ts)),
  });
  all.add(answer('a', 1, 3));
  all.add(answer('b', 2, 4));
  expect(all.names).toEqual(['a', 'b']);
  expect(all.since).toBe(3);
  all.add(answer('a', 5));
  expect(all.of('a')!.column((s) => s.websocket)).toEqual([1, 3, 5]);
  expect(all.of('b')!.column((s) => s.websocket)).toEqual([2, 4]);
  all.add(answer('c', 700_000));
  expect(all.names).toEqual(['c']);
});
