// The recent past of the one selected asset: its trail and its sparklines.
// Invariant: bounded, ordered by time, and each report is in it once.

import type { Asset, TrackPoint } from 'fleetcast-client';
import { number } from '../gateway/fields';
import { fixedX, fixedY } from '../map/mercator';

const POINTS_MAX = 1_500;

export interface SeriesPoint {
  ts: number;
  x: number;
  y: number;
  speedKmh: number;
  temperatureC: number;
  fuelPct: number;
}

export type Metric = 'speedKmh' | 'temperatureC' | 'fuelPct';

export class Series {
  points: SeriesPoint[] = [];

  /** Earlier points than the ones held; overlaps are dropped. */
  prepend(track: TrackPoint[]): void {
    const first = this.points[0]?.ts ?? Number.POSITIVE_INFINITY;
    const older = track
      .filter((point) => point.ts < first)
      .map((point) => toPoint(point, {}))
      .filter((point) => point !== null)
      .sort((a, b) => a.ts - b.ts);
    this.points = [...older, ...this.points].slice(-POINTS_MAX);
  }

  append(asset: Asset): void {
    const point = toPoint(asset, asset.data);
    const last = this.points.at(-1);
    if (!point || (last && last.ts >= point.ts)) return;
    this.points.push(point);
    if (this.points.length > POINTS_MAX) this.points = this.points.slice(-POINTS_MAX);
  }

  values(metric: Metric): { ts: number; value: number }[] {
    return this.points
      .filter((point) => Number.isFinite(point[metric]))
      .map((point) => ({ ts: point.ts, value: point[metric] }));
  }
}

/** The gateway's tracks are positions alone; what an asset measures comes with its updates. */
function toPoint(
  { ts, lat, lon }: { ts: number; lat?: number; lon?: number },
  data: Record<string, unknown>,
): SeriesPoint | null {
  if (typeof lat !== 'number' || typeof lon !== 'number') return null;
  return {
    ts,
    x: fixedX(lon),
    y: fixedY(lat),
    speedKmh: number(data, 'speedKmh'),
    temperatureC: number(data, 'temperatureC'),
    fuelPct: number(data, 'fuelPct'),
  };
}
