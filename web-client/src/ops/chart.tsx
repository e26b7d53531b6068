// One chart over time, by uPlot, in the colours of the theme.
// Invariant: a new theme or width rebuilds the chart; new data only redraws it.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { activeTheme } from '../view/theme';

export interface Line {
  label: string;
  /** Name of a CSS variable. */
  color: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  times: number[];
  lines: Line[];
  format(value: number): string;
}

const HEIGHT = 150;

export function Chart({ title, times, lines, format }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = activeTheme.value;
  const shape = lines.map((line) => line.label).join('\n');
  const data = [times, ...lines.map((line) => line.values)] as uPlot.AlignedData;

  useEffect(() => {
    const element = box.current!;
    const made = new uPlot(options(element.clientWidth, lines, format), data, element);
    plot.current = made;
    const observer = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [theme, shape]);
  useEffect(() => plot.current?.setData(data));

  return (
    <figure class="chart">
      <figcaption>
        <h2>{title}</h2>
        <ul class="chart-legend">
          {lines.map((line) => (
            <li key={line.label}>
              <span class="swatch" style={{ background: `var(${line.color})` }} />
              {line.label} <strong>{latest(line, format)}</strong>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={box} aria-hidden="true" />
    </figure>
  );
}

function latest(line: Line, format: (value: number) => string): string {
  const value = line.values.at(-1);
  return value === null || value === undefined ? '–' : format(value);
}

/** Of neighbours that read the same, the first. */
function labels(splits: number[], format: (value: number) => string): string[] {
  return splits.map(format).map((text, i, all) => (text === all[i - 1] ? '' : text));
}

function options(width: number, lines: Line[], format: (value: number) => string): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: color('--text-soft'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false },
    font: '11px "Inter Variable", sans-serif',
  };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, low, high) => [Math.min(0, low), Math.max(1, high * 1.15)] } },
    axes: [axis, { ...axis, size: 62, values: (_, splits) => labels(splits, format) }],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.label,
        stroke: color(line.color),
        width: 1.75,
        points: { show: false },
        ...(lines.length === 1 && { fill: color('--accent-soft') }),
      })),
    ],
  };
}
