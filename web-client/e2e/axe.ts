// axe-core in the page, without the wrapper package (which wants a newer Node).

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from '@playwright/test';

const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export class AxeBuilder {
  readonly #page: Page;

  constructor(page: Page) {
    this.#page = page;
  }

  async run(): Promise<string[]> {
    await this.#page.evaluate(source);
    return this.#page.evaluate(async () => {
      // biome-ignore lint/suspicious/noExplicitAny: axe puts itself on the window
      const result = await (globalThis as any).axe.run(document, {
        resultTypes: ['violations'],
      });
      return result.violations.flatMap(
        (violation: { id: string; nodes: { html: string; failureSummary: string }[] }) =>
          violation.nodes.map(
            (node) => `${violation.id}: ${node.html.slice(0, 160)} ${node.failureSummary}`,
          ),
      );
    });
  }
}
