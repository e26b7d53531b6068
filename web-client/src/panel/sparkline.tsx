// A small live chart of one value over time.
// Invariant: time runs to scale, so a gap in the reports is a gap in the line.

interface Props {
  values: { ts: number; value: number }[];
  label: string;
  format(value: number): string;
  /** Drawn as a dashed line when it is within or near the range. */
  threshold?: number;
  minSpan: number;
}

const WIDTH = 300;
const HEIGHT = 46;
const PAD = 4;
/** Longer silences break the line. */
const GAP_MS = 90_000;

export function Sparkline({ values, label, format, threshold, minSpan }: Props) {
  if (values.length < 2) return <div class="spark spark-empty" aria-hidden="true" />;
  const first = values[0]!.ts;
  const last = values.at(-1)!;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { value } of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const middle = (low + high) / 2;
  const half = Math.max(high - low, minSpan) / 2;
  const [bottom, top] = [middle - half, middle + half];
  const x = (ts: number) => ((ts - first) / Math.max(1, last.ts - first)) * (WIDTH - 8) + 4;
  const y = (value: number) =>
    HEIGHT - PAD - ((value - bottom) / (top - bottom)) * (HEIGHT - PAD * 2);
  let line = '';
  let before = Number.NEGATIVE_INFINITY;
  for (const { ts, value } of values) {
    line += `${ts - before > GAP_MS ? 'M' : 'L'}${x(ts).toFixed(1)} ${y(value).toFixed(1)}`;
    before = ts;
  }
  const area = `${line}L${x(last.ts).toFixed(1)} ${HEIGHT}L${x(first).toFixed(1)} ${HEIGHT}Z`;
  const limitShown = threshold !== undefined && threshold >= bottom && threshold <= top;
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${label}: ${format(last.value)}, between ${format(low)} and ${format(high)}`}
    >
      <path class="spark-area" d={area} />
      {limitShown && (
        <line class="spark-limit" x1="0" x2={WIDTH} y1={y(threshold)} y2={y(threshold)} />
      )}
      <path class="spark-line" d={line} vector-effect="non-scaling-stroke" />
    </svg>
  );
}
