// The frame of the page: which panel stands where.

import type { App } from '../app';
import { t } from '../messages';
import * as view from '../view/state';
import { Alerts } from './alerts';
import { ConnectionPill } from './connection';
import { Controls, DrawHint } from './controls';
import { Detail } from './detail';
import { Dialogs } from './dialogs';
import { HoverCard } from './hover';
import { Sidebar } from './sidebar';
import { Banner, Progress, StateCard, Toast } from './state_card';

export function Shell({ app }: { app: App }) {
  return (
    <div
      class="shell"
      data-list={view.listOpen.value ? 'open' : 'closed'}
      data-detail={view.selectedKey.value === null ? 'closed' : 'open'}
    >
      <a class="skip" href="#asset-list">
        {t.skipToList}
      </a>
      <Sidebar app={app} />
      <main class="stage">
        <section id="map" class="map" aria-label={t.mapLabel} />
        <Progress />
        <Banner />
        <StateCard app={app} />
        <DrawHint app={app} />
        <HoverCard app={app} />
        <ConnectionPill />
        <Controls app={app} />
        <Alerts app={app} />
        <Detail app={app} />
        <Toast />
      </main>
      <Dialogs app={app} />
    </div>
  );
}
