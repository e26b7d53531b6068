// Starts the page: the map, or the operations page. Wires the parts and does nothing else.

import '@fontsource-variable/inter/wght.css';
import './style/base.css';
import { render } from 'preact';
import { EarlyGateway } from './gateway/early';
import { restoreView, takeToken } from './view/persist';
import * as view from './view/state';
import { followTheme } from './view/theme';

const root = document.getElementById('app') as HTMLElement;
restoreView();

if (location.pathname.replace(/\/$/, '').endsWith('/ops')) {
  void import('./ops/page').then(({ OpsPage, startOps }) => {
    followTheme(() => {});
    startOps(takeToken());
    render(<OpsPage />, root);
  });
} else {
  const gateway = new EarlyGateway(takeToken(), view.scope.peek(), view.intervalMs.peek());
  void import('./live').then(({ startLive }) => startLive(root, gateway));
}
