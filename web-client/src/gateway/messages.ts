// What the page and its gateway worker say to each other.
// Invariant: per-asset values travel in transferred typed arrays, never as objects, so that the
// page pays per tick and not per asset.

import type {
  Asset,
  ConnectionState,
  FleetSummary,
  ProtocolError,
  Shape,
  TrackPoint,
} from 'fleetcast-client';

/** What is subscribed to: all of it, or cut by fleets, or by a shape, or both. */
export interface Scope {
  fleets: string[];
  shape: Shape | null;
}

export const WORLD: Shape = { bbox: [-180, -90, 180, 90] };

export type ToWorker =
  | { kind: 'connect'; url: string; token: string | null; scope: Scope; intervalMs: number }
  | { kind: 'scope'; scope: Scope }
  | { kind: 'interval'; intervalMs: number }
  | { kind: 'token'; token: string }
  | { kind: 'select'; row: number | null }
  | { kind: 'history'; row: number; fromTs: number }
  | { kind: 'fleets' }
  | { kind: 'visible'; visible: boolean };

/** Changed rows as parallel columns; `row` is the asset's stable place in every column. */
export interface Delta {
  row: Uint32Array;
  /** Web Mercator as 32-bit fractions of the world, so that x wraps by plain integer overflow. */
  x: Uint32Array;
  y: Uint32Array;
  ts: Float64Array;
  speedKmh: Float32Array;
  temperatureC: Float32Array;
  fuelPct: Float32Array;
  /** Degrees, or -1 where the source says nothing. */
  headingDeg: Int16Array;
  /** Index into the alarm names told so far; 0 is none. */
  alarm: Uint8Array;
}

/** Assets that were given a row in this message. */
export interface Added {
  row: Uint32Array;
  id: string[];
  name: string[];
  fleet: string[];
  assetKind: string[];
}

export interface Rates {
  updatesPerS: number;
  /** Median age of what arrived in the last second; null when nothing did. */
  lagMs: number | null;
  transport: string;
}

export type Feed =
  | { kind: 'waiting' }
  | { kind: 'loading'; part: number; parts: number }
  | { kind: 'live' }
  | { kind: 'failed'; error: ProtocolError };

export type FromWorker =
  | { kind: 'connection'; state: ConnectionState }
  | { kind: 'feed'; feed: Feed }
  | { kind: 'rows'; delta: Delta; added: Added; removed: Uint32Array; alarms: string[] }
  | { kind: 'rates'; rates: Rates }
  | { kind: 'detail'; row: number; asset: Asset }
  | { kind: 'history'; row: number; track: TrackPoint[]; error: string | null }
  | { kind: 'fleets'; fleets: FleetSummary[]; error: string | null }
  | { kind: 'resync'; reason: string }
  | { kind: 'interval'; intervalMs: number; slowed: boolean }
  | { kind: 'expiring'; inMs: number };
