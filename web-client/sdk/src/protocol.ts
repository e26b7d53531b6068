// The events of the gateway that are not in the legacy contract, as types.
// Invariant: this file has no code, only what crosses the wire.

/** The newest known state of one tracked vehicle or container. */
export interface Asset {
  id: string;
  fleet: string;
  /** Epoch milliseconds, as the source said. */
  ts: number;
  lat?: number;
  lon?: number;
  /** The source's own fields, newest value of each. */
  data: Record<string, unknown>;
}

export interface AssetRef {
  id: string;
  fleet: string;
}

/** `[west, south, east, north]` in degrees; west > east crosses the antimeridian. */
export type Bbox = [number, number, number, number];

export type Shape =
  | { bbox: Bbox }
  | { polygon: [number, number][] }
  | { circle: { lon: number; lat: number; radius_m: number } }
  | { geohash: string[] };

export type ErrorCode = 'bad_request' | 'forbidden' | 'too_many' | 'too_large' | 'unavailable';

export interface ProtocolError {
  code: ErrorCode;
  message: string;
}

export type Ack<T = object> = ({ ok: true } & T) | { ok: false; error: ProtocolError };

export interface FleetSubscribe {
  fleet: string;
  mode: 'latest';
  interval_ms?: number;
  since?: string;
}

export type RegionSubscribe = Shape & {
  region: string;
  interval_ms?: number;
  fleets?: string[];
};

/** Acknowledges both subscriptions; `resumed` says that only changes since the cursor follow. */
export type SubscribeAck = Ack<{ resumed?: boolean; cursor?: string }>;

export interface FleetSnapshot {
  fleet: string;
  cursor: string;
  part: number;
  parts: number;
  assets: Asset[];
}

export interface FleetUpdates {
  fleet: string;
  cursor: string;
  assets: Asset[];
}

export interface RegionSnapshot {
  region: string;
  part: number;
  parts: number;
  assets: Asset[];
}

export interface RegionUpdates {
  region: string;
  entered: Asset[];
  moved: Asset[];
  left: AssetRef[];
}

export interface Resync {
  fleet?: string;
  region?: string;
  reason: 'slow' | 'gap' | 'failover';
}

export interface AuthExpiring {
  in_ms: number;
}

export interface TrackPoint {
  ts: number;
  lat?: number;
  lon?: number;
  [field: string]: unknown;
}

export interface FleetSummary {
  fleet: string;
  assets: number;
}
