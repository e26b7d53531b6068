// Which of a source's own fields mean speed, heading and so on.
// Invariant: a missing or unusable value is NaN (or -1, or ''), never a guess.

const NAMES = {
  speedKmh: ['speed_kmh', 'speedKmh', 'speed'],
  headingDeg: ['heading_deg', 'headingDeg', 'heading', 'course', 'bearing'],
  temperatureC: ['temperature_c', 'temperatureC', 'temperature', 'temp_c', 'temp'],
  fuelPct: ['fuel_pct', 'fuelPct', 'fuel_percent', 'fuelLevel', 'fuel'],
  name: ['name', 'label', 'plate', 'callsign'],
  kind: ['kind', 'type', 'vehicle_type', 'vehicleType'],
} as const;

type Data = Record<string, unknown>;

export function number(data: Data, field: 'speedKmh' | 'temperatureC' | 'fuelPct'): number {
  for (const name of NAMES[field]) {
    const value = data[name];
    if (typeof value === 'number') return value;
  }
  return Number.NaN;
}

export function heading(data: Data): number {
  for (const name of NAMES.headingDeg) {
    const value = data[name];
    if (typeof value === 'number' && Number.isFinite(value)) {
      return ((Math.round(value) % 360) + 360) % 360;
    }
  }
  return -1;
}

/** What the source itself calls an alarm: its name, or '' for none. */
export function alarm(data: Data): string {
  const value = data.alarm;
  if (typeof value === 'string') return value;
  return value === true ? 'alarm' : '';
}

export function text(data: Data, field: 'name' | 'kind'): string {
  for (const name of NAMES[field]) {
    const value = data[name];
    if (typeof value === 'string') return value;
  }
  return '';
}

/** The names that the detail panel shows by other means, so it need not repeat them. */
export const KNOWN_FIELDS: ReadonlySet<string> = new Set<string>([
  ...Object.values(NAMES).flat(),
  ...['assetId', 'fleetId', 'id', 'fleet', 'ts', 'lat', 'lon', 'alarm'],
]);
