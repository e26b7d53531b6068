// What the operator chose and what the panels show, as signals.
// Invariant: no logic; whoever needs to react subscribes.

import { signal } from '@preact/signals';
import type { Asset, ConnectionState, FleetSummary, TrackPoint } from 'fleetcast-client';
import type { SortBy } from '../fleet/order';
import { ALL_STATES, type Summary } from '../fleet/refresh';
import type { Feed, Rates, Scope } from '../gateway/messages';

export type ThemeChoice = 'auto' | 'light' | 'dark' | 'contrast';
export type Units = 'metric' | 'imperial';
export type Sheet = 'none' | 'alerts' | 'settings' | 'help' | 'scope';
export type DrawTool = 'box' | 'polygon' | 'circle';

export interface MapPlace {
  lon: number;
  lat: number;
  zoom: number;
}

export interface ServerConfig {
  version: string;
  replica: string;
  auth: 'none' | 'jwt';
  basemap: { tiles?: string; style?: string; attribution?: string | null } | null;
  stale_after_ms: number;
  offline_after_ms: number;
}

export const DEFAULT_CONFIG: ServerConfig = {
  version: '',
  replica: '',
  auth: 'none',
  basemap: null,
  stale_after_ms: 30_000,
  offline_after_ms: 300_000,
};

// Chosen by the operator; all of it is in the URL or in local storage.
export const theme = signal<ThemeChoice>('auto');
export const units = signal<Units>('metric');
export const grouping = signal(true);
export const scope = signal<Scope>({ fleets: [], shape: null });
export const query = signal('');
export const states = signal(ALL_STATES);
export const assetKind = signal('');
export const alertsOnly = signal(false);
export const inViewOnly = signal(false);
export const sortBy = signal<SortBy>('name');
export const selectedKey = signal<string | null>(null);
export const follow = signal(false);
export const temperatureMaxC = signal(16);
export const fuelMinPct = signal(10);
export const place = signal<MapPlace | null>(null);

// Of the page alone.
export const sheet = signal<Sheet>('none');
export const drawing = signal<DrawTool | null>(null);
/** On small screens the list is a sheet, closed at first: the map is what one came for. */
export const listOpen = signal(globalThis.innerWidth > 760);
export const notice = signal<{ text: string; until: number } | null>(null);

// From the gateway.
export const config = signal<ServerConfig>(DEFAULT_CONFIG);
export const connection = signal<ConnectionState>({ kind: 'connecting' });
export const feed = signal<Feed>({ kind: 'waiting' });
export const rates = signal<Rates>({ updatesPerS: 0, lagMs: null, transport: '' });
export const intervalMs = signal(1_000);
export const slowed = signal(false);
export const expiresAt = signal<number | null>(null);
export const fleets = signal<FleetSummary[] | null>(null);
/** The gateway's clock minus this machine's. */
export const clockSkewMs = signal(0);

// Derived from the store, a few times a second.
export const summary = signal<Summary>({ counts: [0, 0, 0, 0], alerts: 0, total: 0, shown: 0 });
export const listRows = signal<Uint32Array>(new Uint32Array(0));
/** Rises whenever the values behind the rows may have changed. */
export const tick = signal(0);
export const detail = signal<{ row: number; asset: Asset } | null>(null);
export const track = signal<TrackPoint[]>([]);
export const hoverRow = signal<number | null>(null);
