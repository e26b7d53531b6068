// The frame of the page: which panel stands where.

import type { App } from '../app';
import { t } from '../messages';
import { ConnectionPill } from './connection';
import { Sidebar } from './sidebar';

export function Shell({ app }: { app: App }) {
  return (
    <div class="shell">
      <Sidebar app={app} />
      <main class="stage">
        <section id="map" class="map" aria-label={t.mapLabel} />
        <ConnectionPill />
      </main>
    </div>
  );
}
