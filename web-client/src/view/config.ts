// What the gateway says about itself to every page.
// Invariant: the page works without it, on defaults.

import * as view from './state';

/** A skew below this is within the resolution of HTTP's Date header. */
const SKEW_MIN_MS = 2_000;

export async function loadConfig(): Promise<void> {
  try {
    const response = await fetch('api/config', { cache: 'no-store' });
    if (!response.ok) return;
    const date = Date.parse(response.headers.get('date') ?? '');
    if (Number.isFinite(date)) {
      const skew = date + 500 - Date.now();
      view.clockSkewMs.value = Math.abs(skew) < SKEW_MIN_MS ? 0 : skew;
    }
    view.config.value = { ...view.DEFAULT_CONFIG, ...(await response.json()) };
  } catch {
    // The connection state on screen already says that the gateway is away.
  }
}
