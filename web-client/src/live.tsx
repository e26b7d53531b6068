// The live map: worker, store, map and panels, in the order in which they are needed.

import 'maplibre-gl/dist/maplibre-gl.css';
import './style/frame.css';
import './style/sidebar.css';
import './style/map.css';
import './style/panels.css';
import './style/dialogs.css';
import './style/small.css';
import { effect } from '@preact/signals';
import { render } from 'preact';
import { App } from './app';
import type { EarlyGateway } from './gateway/early';
import { FirstSight } from './map/first_sight';
import { PALETTES } from './map/palette';
import { t } from './messages';
import { Shell } from './panel/shell';
import { loadConfig } from './view/config';
import { listenToKeys } from './view/keys';
import { keepView } from './view/persist';
import * as view from './view/state';
import { activeTheme, followTheme } from './view/theme';

/** Where a first visit looks: all continents, the busiest in the middle. */
const FIRST_PLACE = { lon: 12, lat: 30, zoom: 1.5 };

export function startLive(root: HTMLElement, gateway: EarlyGateway): void {
  const app = new App(gateway);
  render(<Shell app={app} />, root);
  listenToKeys(app);
  // For tests, and for whoever opens the console.
  Object.assign(globalThis, { fleetcast: app });

  keepView();
  followTheme((theme) => {
    const { basemap } = view.config.value;
    app.map?.setTheme(theme, basemap);
  });
  void loadConfig();
  void showMap(app);
}

/** True once it is known that no asset comes: refused, down, failed, or live and empty. */
function nothingToWaitFor(): boolean {
  const connection = view.connection.value.kind;
  if (connection === 'refused' || connection === 'reconnecting') return true;
  const feed = view.feed.value.kind;
  return feed === 'failed' || (feed === 'live' && view.summary.value.total === 0);
}

/** The map's code loads while the first assets are drawn without it; its start then blocks nothing. */
async function showMap(app: App): Promise<void> {
  const code = import('./map/map_view');
  const container = document.getElementById('map') as HTMLElement;
  const place = view.place.peek() ?? FIRST_PLACE;
  const colors = PALETTES[activeTheme.peek()];
  const first = new FirstSight(container, app.store, place, colors, view.grouping.peek());
  const stopWatching = effect(() => {
    if (nothingToWaitFor()) first.giveUp();
  });
  await first.shown;
  stopWatching();
  performance.mark('map-start');
  try {
    const { MapView } = await code;
    const map = new MapView(container, app.store, place, activeTheme.peek());
    app.attachMap(map);
    map.setTheme(activeTheme.peek(), view.config.peek().basemap);
    await map.assetsDrawn;
    performance.mark('map-drawn');
    first.remove();
  } catch (error) {
    // No WebGL 2: what is drawn without it stays, and the list works.
    console.warn(`the map did not start: ${(error as Error).message}`);
    view.notice.value = { text: t.noWebgl, until: Number.POSITIVE_INFINITY };
  }
}
