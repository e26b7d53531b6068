// Which rows changed since somebody last took them, as runs of rows.
// Invariant: a marked row is in exactly one run of the next `take`, and never in two takes.

/** Rows are remembered by the block: finer runs would cost more calls than they save bytes. */
const BLOCK_ROWS = 64;
/** Unchanged blocks between two changed ones that are taken along rather than starting a new run. */
const GAP_BLOCKS = 2;

export class DirtyRows {
  #blocks = new Uint8Array(16);
  #any = false;

  mark(row: number): void {
    const block = Math.floor(row / BLOCK_ROWS);
    if (block >= this.#blocks.length) this.#grow(block + 1);
    this.#blocks[block] = 1;
    this.#any = true;
  }

  /** Calls `run` with each run's first row and the one after its last, all below `size`. */
  take(size: number, run: (first: number, end: number) => void): void {
    if (!this.#any) return;
    this.#any = false;
    const blocks = this.#blocks;
    let first = -1;
    let last = -1;
    const close = () => {
      const start = first * BLOCK_ROWS;
      if (first >= 0 && start < size) run(start, Math.min(size, (last + 1) * BLOCK_ROWS));
    };
    for (let block = 0; block < blocks.length; block++) {
      if (blocks[block] === 0) continue;
      blocks[block] = 0;
      if (first < 0 || block - last > GAP_BLOCKS + 1) {
        close();
        first = block;
      }
      last = block;
    }
    close();
  }

  #grow(blocks: number): void {
    const larger = new Uint8Array(Math.max(blocks, this.#blocks.length * 2));
    larger.set(this.#blocks);
    this.#blocks = larger;
  }
}
