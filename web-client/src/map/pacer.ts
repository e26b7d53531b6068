// Decides when the points may be drawn again, so that input always comes first.
// Invariant: drawing takes at most one part in SHARE of the time, however slow the renderer.

/** On a GPU a draw takes a millisecond or two and this never binds; in software it does. */
const SHARE = 3;
const FRAME_MS = 1000 / 60;
/** Movement smaller than this many pixels is not worth a frame. */
const STEP_PX = 0.35;
const IDLE_MS = 1_000;
/** What arrived is drawn this often, when it makes nothing on screen move visibly. */
const DATA_MS = 250;
/** A draw that takes this long is no GPU's. */
const SLOW_MS = 25;

export class Pacer {
  #costMs = 0;
  #isSlow = false;
  #startedAt = Number.NEGATIVE_INFINITY;
  #inFlight = false;
  #dirty = true;
  #hasData = false;

  /** The operator did something: camera, filter, theme, pointer. It shows at the next frame. */
  invalidate(): void {
    this.#dirty = true;
  }

  /** Something arrived, or grew older. It shows within DATA_MS, or as fast as it moves. */
  dataChanged(): void {
    this.#hasData = true;
  }

  get costMs(): number {
    return this.#costMs;
  }

  /** Whether this renderer was ever slow: it stays so, however cheap the draws are that follow from it. */
  get isSlow(): boolean {
    return this.#isSlow;
  }

  /** May the points be drawn now? `pxPerMs` is the fastest movement on screen. */
  due(nowMs: number, pxPerMs: number): boolean {
    return !this.#inFlight && this.waitMs(nowMs, pxPerMs) <= 0;
  }

  /** How long until the next draw, if nothing happens meanwhile. */
  waitMs(nowMs: number, pxPerMs: number): number {
    const motionMs = pxPerMs > 0 ? STEP_PX / pxPerMs : IDLE_MS;
    const wantedMs = this.#dirty ? 0 : Math.min(this.#hasData ? DATA_MS : IDLE_MS, motionMs);
    const pauseMs = Math.max(this.#costMs * SHARE, FRAME_MS / 2, wantedMs);
    return this.#startedAt + pauseMs - nowMs;
  }

  started(nowMs: number): void {
    this.#startedAt = nowMs;
    this.#inFlight = true;
    this.#dirty = false;
    this.#hasData = false;
  }

  finished(nowMs: number): void {
    if (!this.#inFlight) return;
    this.#inFlight = false;
    // The result is noticed at the next frame, so a frame of waiting is no cost.
    const tookMs = Math.max(0, nowMs - this.#startedAt - FRAME_MS);
    this.#costMs = this.#costMs * 0.7 + tookMs * 0.3;
    this.#isSlow ||= this.#costMs > SLOW_MS;
  }

  get waiting(): boolean {
    return this.#inFlight;
  }
}
