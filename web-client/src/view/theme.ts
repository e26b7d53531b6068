// Which theme is in force: the operator's choice, else the system's.
// Invariant: the page's CSS and the map always agree, because both follow `activeTheme`.

import { computed, effect, signal } from '@preact/signals';
import type { Theme } from '../map/palette';
import { theme } from './state';

const dark = matchMedia('(prefers-color-scheme: dark)');
const contrast = matchMedia('(prefers-contrast: more)');
const systemDark = signal(dark.matches);
const systemContrast = signal(contrast.matches);
dark.addEventListener('change', () => {
  systemDark.value = dark.matches;
});
contrast.addEventListener('change', () => {
  systemContrast.value = contrast.matches;
});

export const activeTheme = computed<Theme>(() => {
  if (theme.value !== 'auto') return theme.value;
  if (systemContrast.value) return 'contrast';
  return systemDark.value ? 'dark' : 'light';
});

export function followTheme(apply: (theme: Theme) => void): void {
  effect(() => {
    document.documentElement.dataset.theme = activeTheme.value;
    apply(activeTheme.value);
  });
}
