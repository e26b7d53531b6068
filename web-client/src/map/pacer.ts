// Decides when the points may be drawn again, so that input always comes first.
// Invariant: drawing takes at most one part in SHARE of the time, however slow the renderer.

/** On a GPU a draw takes a millisecond or two and this never binds; in software it does. */
const SHARE = 3;
const FRAME_MS = 1000 / 60;
/** Movement smaller than this many pixels is not worth a frame. */
const STEP_PX = 0.35;
const IDLE_MS = 1_000;

export class Pacer {
  #costMs = 0;
  #startedAt = Number.NEGATIVE_INFINITY;
  #inFlight = false;
  #dirty = true;

  /** Something other than time changed: data, camera, filter, theme. */
  invalidate(): void {
    this.#dirty = true;
  }

  get costMs(): number {
    return this.#costMs;
  }

  /** May the points be drawn now? `pxPerMs` is the fastest movement on screen. */
  due(nowMs: number, pxPerMs: number): boolean {
    if (this.#inFlight) return false;
    const since = nowMs - this.#startedAt;
    if (since < this.#costMs * SHARE) return false;
    if (this.#dirty) return since >= FRAME_MS / 2;
    const motionMs = pxPerMs > 0 ? STEP_PX / pxPerMs : IDLE_MS;
    return since >= Math.min(IDLE_MS, Math.max(FRAME_MS / 2, motionMs));
  }

  started(nowMs: number): void {
    this.#startedAt = nowMs;
    this.#inFlight = true;
    this.#dirty = false;
  }

  finished(nowMs: number): void {
    if (!this.#inFlight) return;
    this.#inFlight = false;
    // The result is noticed at the next frame, so a frame of waiting is no cost.
    const tookMs = Math.max(0, nowMs - this.#startedAt - FRAME_MS);
    this.#costMs = this.#costMs * 0.7 + tookMs * 0.3;
  }

  get waiting(): boolean {
    return this.#inFlight;
  }
}
