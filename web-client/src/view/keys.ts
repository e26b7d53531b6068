// Every keyboard command, in one table that the help sheet shows.
// Invariant: no command fires while text is typed, and none needs a modifier.

import type { App } from '../app';
import * as view from './state';

export interface Command {
  keys: string[];
  label: string;
  group: 'Find' | 'Asset' | 'Map' | 'Areas' | 'Page';
  run(app: App): void;
}

const focus = (id: string) => document.getElementById(id)?.focus();
const toggleSheet = (sheet: view.Sheet) => {
  view.sheet.value = view.sheet.value === sheet ? 'none' : sheet;
};

export const COMMANDS: Command[] = [
  { keys: ['/'], label: 'Search', group: 'Find', run: () => focus('search') },
  { keys: ['j'], label: 'Next asset', group: 'Find', run: (app) => app.selection.step(1) },
  { keys: ['k'], label: 'Previous asset', group: 'Find', run: (app) => app.selection.step(-1) },
  { keys: ['l'], label: 'Go to the list', group: 'Find', run: () => focus('asset-list') },
  ...(['Moving', 'Stopped', 'Stale', 'Offline'] as const).map(
    (name, state): Command => ({
      keys: [String(state + 1)],
      label: `Only ${name.toLowerCase()}, or all again`,
      group: 'Find',
      run: (app) => app.toggleState(state),
    }),
  ),
  {
    keys: ['!'],
    label: 'Only assets with alerts',
    group: 'Find',
    run: (app) => app.set(view.alertsOnly, !view.alertsOnly.peek()),
  },
  {
    keys: ['i'],
    label: 'List only what the map shows',
    group: 'Find',
    run: (app) => app.set(view.inViewOnly, !view.inViewOnly.peek()),
  },
  { keys: ['f'], label: 'Follow the asset', group: 'Asset', run: (app) => app.toggleFollow() },
  { keys: ['c'], label: 'Centre on the asset', group: 'Asset', run: (app) => app.centre() },
  { keys: ['y'], label: 'Copy a link to this view', group: 'Asset', run: (app) => app.copyLink() },
  { keys: ['+', '='], label: 'Zoom in', group: 'Map', run: (app) => app.map?.zoomBy(1) },
  { keys: ['-'], label: 'Zoom out', group: 'Map', run: (app) => app.map?.zoomBy(-1) },
  { keys: ['0'], label: 'Show all assets', group: 'Map', run: (app) => app.fitAll() },
  {
    keys: ['m'],
    label: 'Go to the map (arrows pan)',
    group: 'Map',
    run: (app) => app.map?.map.getCanvas().focus(),
  },
  {
    keys: ['g'],
    label: 'Counts when zoomed out, on or off',
    group: 'Map',
    run: (app) => app.set(view.grouping, !view.grouping.peek()),
  },
  { keys: ['v'], label: 'Watch what I see now', group: 'Areas', run: (app) => app.watchView() },
  { keys: ['b'], label: 'Draw a box to watch', group: 'Areas', run: (app) => app.draw('box') },
  { keys: ['p'], label: 'Draw a polygon', group: 'Areas', run: (app) => app.draw('polygon') },
  { keys: ['o'], label: 'Draw a circle', group: 'Areas', run: (app) => app.draw('circle') },
  { keys: ['x'], label: 'Watch everything again', group: 'Areas', run: (app) => app.watchAll() },
  { keys: ['w'], label: 'Choose fleets', group: 'Areas', run: () => toggleSheet('scope') },
  { keys: ['a'], label: 'Alerts', group: 'Page', run: () => toggleSheet('alerts') },
  { keys: ['s'], label: 'Settings', group: 'Page', run: () => toggleSheet('settings') },
  {
    keys: ['t'],
    label: 'Light or dark',
    group: 'Page',
    run: () => {
      const dark = document.documentElement.dataset.theme !== 'light';
      view.theme.value = dark ? 'light' : 'dark';
    },
  },
  {
    keys: ['u'],
    label: 'Metric or imperial',
    group: 'Page',
    run: () => {
      view.units.value = view.units.peek() === 'metric' ? 'imperial' : 'metric';
    },
  },
  { keys: ['?'], label: 'This help', group: 'Page', run: () => toggleSheet('help') },
  { keys: ['Escape'], label: 'Close or cancel', group: 'Page', run: (app) => app.escape() },
];

const BY_KEY = new Map(COMMANDS.flatMap((command) => command.keys.map((key) => [key, command])));

export function listenToKeys(app: App): void {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target as HTMLElement;
    const typing = target.matches('input, select, textarea, [contenteditable]');
    if (typing && event.key === 'Escape') {
      target.blur();
      return;
    }
    // An open dialog handles Escape itself, and everything behind it is out of reach.
    if (typing || document.querySelector('dialog[open]')) return;
    if (event.key === 'Enter' && app.drawer?.finish()) {
      event.preventDefault();
      return;
    }
    const command = BY_KEY.get(event.key);
    if (!command) return;
    event.preventDefault();
    command.run(app);
  });
}
