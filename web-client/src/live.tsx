// The live map: worker, store, map and panels, in the order in which they are needed.

import 'maplibre-gl/dist/maplibre-gl.css';
import './style/frame.css';
import './style/sidebar.css';
import './style/map.css';
import './style/panels.css';
import './style/dialogs.css';
import './style/small.css';
import { render } from 'preact';
import { App } from './app';
import type { EarlyGateway } from './gateway/early';
import { MapView } from './map/map_view';
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
  const container = document.getElementById('map') as HTMLElement;
  const map = new MapView(
    container,
    app.store,
    view.place.peek() ?? FIRST_PLACE,
    activeTheme.peek(),
  );
  app.attachMap(map);
  followTheme((theme) => map.setTheme(theme, view.config.value.basemap));
  void loadConfig();
}
