// Starts the page: configuration, worker, map, panels. Wires them and does nothing else.

import '@fontsource-variable/inter/wght.css';
import 'maplibre-gl/dist/maplibre-gl.css';
import './style.css';
import { render } from 'preact';
import { App } from './app';
import { MapView } from './map/map_view';
import { Shell } from './panel/shell';
import { loadConfig } from './view/config';
import * as view from './view/state';
import { activeTheme, followTheme } from './view/theme';

const app = new App();
const root = document.getElementById('app') as HTMLElement;
render(<Shell app={app} />, root);

// The socket does not wait for the configuration, nor the map for the socket.
app.link.say({
  kind: 'connect',
  url: new URL('.', location.href).href,
  token: null,
  scope: view.scope.peek(),
  intervalMs: view.intervalMs.peek(),
});
void loadConfig();

const place = view.place.peek() ?? { lon: 12, lat: 30, zoom: 1.5 };
const container = document.getElementById('map') as HTMLElement;
const map = new MapView(container, app.store, place, activeTheme.peek(), null);
app.attachMap(map);
followTheme((theme) => map.setTheme(theme, view.config.peek().basemap));
