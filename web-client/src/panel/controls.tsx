// The buttons on the map: zoom, areas, alerts, settings, help.
// Invariant: each has a key, and says so.

import { useSignal } from '@preact/signals';
import {
  Bell,
  Box,
  Circle,
  CircleHelp,
  Eye,
  Hexagon,
  Maximize,
  Minus,
  Plus,
  Settings,
  Shapes,
  Spline,
  X,
} from 'lucide';
import type { App } from '../app';
import * as format from '../format';
import { t } from '../messages';
import * as view from '../view/state';
import { Icon } from './icon';

type Node = Parameters<typeof Icon>[0]['node'];

export function Controls({ app }: { app: App }) {
  const alerts = view.summary.value.alerts;
  return (
    <div class="controls" role="toolbar" aria-orientation="vertical" aria-label={t.mapTools}>
      <div class="control-group">
        <Control icon={Plus} label={t.zoomIn} keys="+" onClick={() => app.map?.zoomBy(1)} />
        <Control icon={Minus} label={t.zoomOut} keys="-" onClick={() => app.map?.zoomBy(-1)} />
        <Control icon={Maximize} label={t.fitAll} keys="0" onClick={() => app.fitAll()} />
      </div>
      <div class="control-group">
        <AreaMenu app={app} />
        <Control
          icon={Hexagon}
          label={t.grouping}
          keys="G"
          pressed={view.grouping.value}
          onClick={() => app.set(view.grouping, !view.grouping.peek())}
        />
      </div>
      <div class="control-group">
        <Control
          icon={Bell}
          label={`${t.alerts}: ${format.count(alerts)}`}
          keys="A"
          pressed={view.sheet.value === 'alerts'}
          badge={alerts}
          onClick={() => toggle('alerts')}
        />
        <Control icon={Settings} label={t.settings} keys="S" onClick={() => toggle('settings')} />
        <Control icon={CircleHelp} label={t.help} keys="?" onClick={() => toggle('help')} />
      </div>
    </div>
  );
}

function toggle(sheet: view.Sheet): void {
  view.sheet.value = view.sheet.peek() === sheet ? 'none' : sheet;
}

interface ControlProps {
  icon: Node;
  label: string;
  keys: string;
  pressed?: boolean;
  expanded?: boolean;
  badge?: number;
  onClick(): void;
}

function Control({ icon, label, keys, pressed, expanded, badge = 0, onClick }: ControlProps) {
  return (
    <button
      type="button"
      class="control"
      aria-label={label}
      title={`${label} (${keys})`}
      aria-pressed={pressed}
      aria-expanded={expanded}
      onClick={onClick}
    >
      <Icon node={icon} />
      {badge > 0 && <span class="badge">{badge > 999 ? '999+' : badge}</span>}
    </button>
  );
}

function AreaMenu({ app }: { app: App }) {
  const open = useSignal(false);
  const watching = view.scope.value.shape !== null;
  const choose = (act: () => void) => {
    open.value = false;
    act();
  };
  const items: [Node, string, string, () => void][] = [
    [Box, t.drawBox, 'B', () => app.draw('box')],
    [Circle, t.drawCircle, 'O', () => app.draw('circle')],
    [Spline, t.drawPolygon, 'P', () => app.draw('polygon')],
    [Eye, t.drawView, 'V', () => app.watchView()],
  ];
  if (watching) items.push([X, t.stopRegion, 'X', () => app.watchShape(null)]);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Escape bubbles up from the items
    <div
      class="menu-anchor"
      onKeyDown={(event) => {
        if (event.key !== 'Escape' || !open.value) return;
        event.stopPropagation();
        open.value = false;
      }}
    >
      <Control
        icon={Shapes}
        label={t.draw}
        keys="B P O V"
        pressed={watching}
        expanded={open.value}
        onClick={() => {
          open.value = !open.value;
        }}
      />
      {open.value && (
        <div class="menu" role="menu" aria-label={t.draw}>
          {items.map(([icon, label, keys, act]) => (
            <button
              type="button"
              role="menuitem"
              key={label}
              class="menu-item"
              onClick={() => choose(act)}
            >
              <Icon node={icon} size={16} />
              <span>{label}</span>
              <kbd>{keys}</kbd>
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

const HINTS = { box: t.drawHintBox, polygon: t.drawHintPolygon, circle: t.drawHintCircle };

/** What the drawing tool waits for, and a way out by mouse. */
export function DrawHint({ app }: { app: App }) {
  const tool = view.drawing.value;
  if (tool === null) return null;
  return (
    <p class="draw-hint" role="status" data-testid="draw-hint">
      {HINTS[tool]}
      <button type="button" class="link" onClick={() => app.escape()}>
        {t.cancel}
      </button>
    </p>
  );
}
