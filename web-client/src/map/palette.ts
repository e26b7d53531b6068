// The map's colours, by theme.
// Invariant: states differ in lightness as well as hue (Okabe-Ito), so colour vision does not matter.

import type { PointColors, Rgb } from './points';

export type Theme = 'light' | 'dark' | 'contrast';

export interface MapColors {
  water: string;
  waterLine: string;
  land: string;
  coast: string;
  border: string;
  state: string;
  grid: string;
  country: string;
  city: string;
  cityDot: string;
  halo: string;
  states: [string, string, string, string];
  outline: string;
  alert: string;
  accent: string;
  bubble: string;
  bubbleText: string;
  label: string;
}

export const PALETTES: Record<Theme, MapColors> = {
  dark: {
    water: '#0b121c',
    waterLine: '#13202f',
    land: '#17212f',
    coast: '#26364b',
    border: '#31435a',
    state: '#223043',
    grid: '#111b28',
    country: '#7388a3',
    city: '#93a5bb',
    cityDot: '#5d7089',
    halo: '#131c29',
    states: ['#34d1a4', '#62a8f5', '#f2b84b', '#8a97a8'],
    outline: '#0b121c',
    alert: '#ff5d5d',
    accent: '#5b9dff',
    bubble: 'rgba(16, 25, 37, 0.86)',
    bubbleText: '#e8eef6',
    label: '#dfe7f1',
  },
  light: {
    water: '#cfdfea',
    waterLine: '#bcd2e1',
    land: '#f5f4f0',
    coast: '#b3c6d4',
    border: '#cdc8bd',
    state: '#e2ded5',
    grid: '#c6d8e5',
    country: '#8a8577',
    city: '#55534c',
    cityDot: '#98938a',
    halo: '#f8f7f4',
    states: ['#00916b', '#1f6fd6', '#cf8300', '#7b8592'],
    outline: '#ffffff',
    alert: '#d92d2d',
    accent: '#1b63d8',
    bubble: 'rgba(255, 255, 255, 0.94)',
    bubbleText: '#1b2430',
    label: '#28303b',
  },
  contrast: {
    water: '#000000',
    waterLine: '#3a3a3a',
    land: '#1c1c1c',
    coast: '#8c8c8c',
    border: '#9a9a9a',
    state: '#444444',
    grid: '#0c0c0c',
    country: '#d0d0d0',
    city: '#ffffff',
    cityDot: '#ffffff',
    halo: '#000000',
    states: ['#3dffc0', '#7cc0ff', '#ffd23d', '#d9d9d9'],
    outline: '#000000',
    alert: '#ff6b6b',
    accent: '#ffe14d',
    bubble: 'rgba(0, 0, 0, 0.95)',
    bubbleText: '#ffffff',
    label: '#ffffff',
  },
};

export function pointColors(colors: MapColors): PointColors {
  return {
    states: colors.states.map(rgb) as PointColors['states'],
    outline: rgb(colors.outline),
    alert: rgb(colors.alert),
  };
}

function rgb(hex: string): Rgb {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}
