import { expect, it } from 'vitest';
import { OpsHistory, type OpsSample } from './samples';

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
  runtime_lag_ms: 1,
  slow_viewers: 0,
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
