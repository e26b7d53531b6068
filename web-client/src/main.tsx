// Starts the page: configuration, worker, map, panels. Wires them and does nothing else.

import '@fontsource-variable/inter/wght.css';
import 'maplibre-gl/dist/maplibre-gl.css';
import './style.css';
import { render } from 'preact';
import { App } from './app';
import { MapView } from './map/map_view';
import { Shell } from './panel/shell';
import { loadConfig } from './view/config';
import { listenToKeys } from './view/keys';
import { keepView, restoreView, takeToken } from './view/persist';
import * as view from './view/state';
import { activeTheme, followTheme } from './view/theme';

restoreView();
const app = new App();
render(<Shell app={app} />, document.getElementById('app') as HTMLElement);
listenToKeys(app);

// The socket does not wait for the configuration, nor the map for the socket.
app.connect(takeToken());
keepView();
const container = document.getElementById('map') as HTMLElement;
const start = view.place.peek() ?? { lon: 12, lat: 30, zoom: 1.5 };
const map = new MapView(container, app.store, start, activeTheme.peek());
app.attachMap(map);
followTheme((theme) => map.setTheme(theme, view.config.value.basemap));
void loadConfig();
