// How large an asset is drawn.
// Invariant: grows with the zoom, within bounds that neither hide an asset nor cover its street.

/** Diameter in CSS pixels. */
export function pointSize(zoom: number): number {
  return Math.min(15, Math.max(3, 3 + (zoom - 2.5) * 1.25));
}
