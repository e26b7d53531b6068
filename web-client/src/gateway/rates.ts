// How much arrived in the last second, and how old it was.
// Invariant: memory is bounded, whatever the rate: ages are sampled once the reservoir is full.

const SAMPLES_MAX = 512;

export class RateMeter {
  #updates = 0;
  #ages: number[] = [];
  #seen = 0;

  count(updates: number): void {
    this.#updates += updates;
  }

  age(ageMs: number): void {
    this.#seen += 1;
    if (this.#ages.length < SAMPLES_MAX) {
      this.#ages.push(ageMs);
    } else {
      const slot = Math.floor(Math.random() * this.#seen);
      if (slot < SAMPLES_MAX) this.#ages[slot] = ageMs;
    }
  }

  /** Since the last call; to be called once a second. */
  take(): { updatesPerS: number; lagMs: number | null } {
    const ages = this.#ages.sort((a, b) => a - b);
    const middle = ages[Math.floor(ages.length / 2)];
    const taken = { updatesPerS: this.#updates, lagMs: middle ?? null };
    this.#updates = 0;
    this.#ages = [];
    this.#seen = 0;
    return taken;
  }
}
